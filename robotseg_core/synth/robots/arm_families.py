# SPDX-License-Identifier: Apache-2.0
"""Families of generated arms: how their joints follow each other, how far apart, and what their links look like."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robotseg_core.synth.robots.procedural_link import LinkStyle
from robotseg_core.synth.robots.shapes import Builder

X, Y, Z = np.eye(3)

FAMILIES: dict[str, float] = {
    "industrial": 0.28,
    "palletiser": 0.08,
    "cobot6": 0.22,
    "cobot7": 0.17,
    "hobby": 0.16,
    "scara": 0.07,
    "cartesian": 0.02,
}
"""Kinds of arms and how often each is built."""


@dataclass(frozen=True)
class Joint:
    """A joint and the link it moves: axis, way to the next joint (shares of the reach), home and spread (radians)."""

    axis: np.ndarray
    end: tuple[float, float, float]
    home: float
    spread: float
    side: float = 0.0
    slide: bool = False


def sample_style(family: str, b: Builder) -> LinkStyle:
    """What the links of an arm of ``family`` look like."""
    rng = b.rng
    if family in ("industrial", "palletiser"):
        body = rng.choice(["casting", "tube", "shell", "plates"], p=[0.75, 0.12, 0.08, 0.05])
        joint = rng.choice(["cylinder", "box"], p=[0.85, 0.15])
        power, width, flat = b.between(2.5, 8), b.between(0.65, 0.98), b.between(0.6, 1.0)
        return LinkStyle(body, joint, power, width, flat, b.between(-0.12, 0.12), b.chance(0.25), b.chance(0.6), 0.7)
    if family == "hobby":
        body = rng.choice(["plates", "casting", "bars", "tube"], p=[0.45, 0.33, 0.1, 0.12])
        joint = rng.choice(["servo", "cylinder", "box"], p=[0.65, 0.2, 0.15])
        return LinkStyle(
            body,
            joint,
            b.between(4, 9),
            b.between(0.5, 0.95),
            b.between(0.5, 0.9),
            0.0,
            b.chance(0.3),
            b.chance(0.3),
            0.4,
        )
    if family in ("scara", "cartesian"):
        return LinkStyle(
            "casting",
            "cylinder",
            b.between(3, 9),
            b.between(0.75, 1.0),
            b.between(0.45, 0.9),
            0.0,
            b.chance(0.4),
            b.chance(0.4),
            0.4,
        )
    body = rng.choice(["tube", "shell", "casting"], p=[0.5, 0.25, 0.25])
    joint = rng.choice(["cylinder", "sphere"], p=[0.65, 0.35])
    bow = b.between(-0.15, 0.15) if family == "cobot7" else b.between(0, 0.06)
    return LinkStyle(
        body,
        joint,
        b.between(2, 4),
        b.between(0.72, 0.97),
        b.between(0.85, 1.0),
        bow,
        b.chance(0.75),
        b.chance(0.25),
        0.25,
    )


def sample_chain(family: str, b: Builder) -> tuple[float, list[Joint]]:
    """Height of the first joint and the joints; lengths as shares of the reach."""
    u = b.between
    if family == "industrial":
        upper, fore, off = u(0.32, 0.45), u(0.3, 0.45), u(0.0, 0.1)
        chain = [
            Joint(Z, (u(0.0, 0.14), 0, u(0.1, 0.2)), 0, 1.2),
            Joint(Y, (0, 0, upper), u(-0.2, 0.4), 0.5, b.rng.choice([0.0, 1.0, -1.0])),
            Joint(Y, (u(0.04, 0.1), 0, off), 0.0, 0.6),
            Joint(X, (fore, 0, 0), 0, 1.2),
            Joint(Y, (u(0.05, 0.09), 0, 0), u(0.8, 1.5), 0.7),
            Joint(X, (u(0.01, 0.03), 0, 0), 0, 2.0),
        ]
        if b.chance(0.2):  # five axes: no roll of the forearm
            chain[2:4] = [Joint(Y, (fore, 0, off), 0.1, 0.6)]
        return u(0.12, 0.22), chain
    if family == "palletiser":
        chain = [
            Joint(Z, (u(0.05, 0.14), 0, u(0.14, 0.22)), 0, 1.2),
            Joint(Y, (0, 0, u(0.36, 0.48)), u(-0.2, 0.3), 0.4, b.rng.choice([0.0, 0.9])),
            Joint(Y, (u(0.36, 0.5), 0, 0), u(0.0, 0.5), 0.4),
            Joint(Y, (u(0.05, 0.1), 0, -0.02), 0.0, 0.3),
            Joint(Z, (0, 0, -u(0.04, 0.08)), 0, 2.0),
        ]
        return u(0.12, 0.25), chain
    if family == "cobot6":
        s = b.rng.choice([1.0, -1.0])
        first, second = u(0.1, 0.7), u(0.7, 1.7)
        r = 0.08
        chain = [
            Joint(Z, (0, 0, u(0.07, 0.12)), 0, 1.5),
            Joint(Y, (0, 0, u(0.36, 0.46)), first, 0.6, s),
            Joint(Y, (0, 0, u(0.3, 0.42)), second, 0.6, -s * b.rng.choice([0.0, 0.9])),
            Joint(Y, (0, s * r, 0.0), np.pi / 2 - first - second, 0.7),
            Joint(Z, (0, 0, r), -s * np.pi / 2, 0.7),
            Joint(Y, (0, s * u(0.05, 0.08), 0), 0, 2.0),
        ]
        return u(0.06, 0.12), chain
    if family == "cobot7":
        off = u(-0.07, 0.07) if b.chance(0.4) else 0.0
        chain = [
            Joint(Z, (0, 0, u(0.1, 0.16)), 0, 1.3),
            Joint(Y, (0, 0, u(0.16, 0.22)), u(0.1, 0.6), 0.5),
            Joint(Z, (off, 0, u(0.14, 0.2)), 0, 0.7),
            Joint(Y, (-off, 0, u(0.14, 0.2)), u(1.1, 1.8), 0.5),
            Joint(Z, (0, 0, u(0.16, 0.22)), 0, 0.8),
            Joint(Y, (u(0, 0.07), 0, u(0.05, 0.1)), u(0.7, 1.3), 0.6),
            Joint(Z, (0, 0, u(0.03, 0.06)), 0, 2.0),
        ]
        return u(0.1, 0.18), chain
    if family == "hobby":
        chain = [
            Joint(Z, (u(0, 0.06), 0, u(0.1, 0.2)), 0, 1.2),
            Joint(Y, (u(-0.03, 0.08), 0, u(0.32, 0.46)), u(-0.3, 0.6), 0.6, b.rng.choice([0.0, 0.0, 0.9])),
            Joint(Y, (u(0.28, 0.42), 0, 0.0), u(-0.2, 0.7), 0.6),
            Joint(Y, (u(0.1, 0.18), 0, 0), u(0.3, 1.2), 0.7),
        ]
        if b.chance(0.75):
            chain.append(Joint(X, (u(0.05, 0.12), 0, 0), 0, 1.5))
        return u(0.1, 0.25), chain
    if family == "scara":
        chain = [
            Joint(Z, (u(0.36, 0.5), 0, 0), 0, 1.0),
            Joint(Z, (u(0.3, 0.4), 0, u(-0.03, 0.05)), u(-0.8, 0.8), 1.0),
            Joint(Z, (0, 0, -0.3), 0.0, 0.1, slide=True),
            Joint(Z, (0, 0, -0.04), 0, 2.0),
        ]
        return u(0.4, 0.6), chain
    chain = [
        Joint(X, (0, u(0.08, 0.12), 0), 0, 0.35, slide=True),
        Joint(Z, (0, 0.06, -u(0.3, 0.4)), 0, 0.15, slide=True),
        Joint(Z, (0, 0, -u(0.06, 0.1)), 0, 2.0),
    ]
    if b.chance(0.5):
        chain.append(Joint(Y, (0, 0, -u(0.05, 0.1)), 0, 0.6))
    return u(0.7, 0.9), chain
