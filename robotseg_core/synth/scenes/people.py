# SPDX-License-Identifier: Apache-2.0
"""People who are not robots: a hand with its forearm, and somebody standing about."""

from __future__ import annotations

import mujoco
import numpy as np

from robotseg_core.synth.robots.shapes import Builder, Vector, bezier, lathe, solid, sweep, unit

X, Y, Z = np.eye(3)
SKIN: tuple[tuple[float, float, float], ...] = (
    (0.96, 0.8, 0.7),
    (0.9, 0.7, 0.57),
    (0.8, 0.58, 0.44),
    (0.66, 0.45, 0.32),
    (0.46, 0.3, 0.2),
    (0.28, 0.18, 0.13),
)


def people_builder(spec: mujoco.MjSpec, rng: np.random.Generator, prefix: str) -> Builder:
    """A builder whose primary is skin (or a glove), second a sleeve, joint trousers, cap hair, accent a shirt."""
    b = Builder(spec, rng, prefix)
    skin = np.array(SKIN[int(rng.integers(len(SKIN)))]) * rng.uniform(0.9, 1.08, 3)
    glove = rng.uniform(0.05, 0.9, 3)
    colours = {
        "primary": glove if rng.random() < 0.12 else skin,
        "second": rng.uniform(0.03, 0.95) * rng.uniform(0.6, 1.0, 3),
        "joint": rng.uniform(0.03, 0.5) * rng.uniform(0.7, 1.0, 3),
        "cap": rng.uniform(0.03, 0.5) * np.array([1.0, 0.75, 0.5]),
        "metal": np.full(3, 0.7),
        "dark": np.full(3, 0.08),
        "accent": skin,
    }
    for role, colour in colours.items():
        material = spec.material(prefix + role)
        material.rgba = [*np.clip(colour, 0.02, 1).tolist(), 1.0]
        material.specular, material.shininess = 0.1, 0.2
    return b


def add_hand(b: Builder, body: mujoco.MjsBody, right: bool) -> float:
    """A hand around the origin, fingers along x, palm down, its forearm running off along -x; returns its length."""
    s = b.between(0.038, 0.048)  # half width of the palm
    side, curl = (-1.0 if right else 1.0), b.between(0.0, 1.3)
    b.mesh(body, solid((-1.2 * s, 0, 0), (s, 0, 0), (0.28 * s, 0.75 * s), (0.26 * s, s), Z, 3.0, 0.15 * s), "primary")
    for i in range(4):
        at = np.array([0.95 * s, (i - 1.5) * 0.5 * s, 0.0])
        bend, long, r = 0.3 * curl, (1.0 - 0.1 * abs(i - 1.3)) * s, 0.21 * s
        for k in range(3):
            to = at + long * (0.95, 0.65, 0.5)[k] * np.array([np.cos(bend), 0, -np.sin(bend)])
            b.rod(body, at, to, r * (1 - 0.12 * k), "primary", round_=True)
            at, bend = to, bend + curl * b.between(0.6, 0.9)
    at = np.array([-0.6 * s, side * 0.75 * s, -0.1 * s])
    for part, way in ((1.0, (0.7, 0.75 * side, -0.4)), (0.8, (1.0, 0.25 * side, -0.3))):
        to = at + part * s * unit(way)
        b.rod(body, at, to, 0.25 * s, "primary", round_=True)
        at = to
    droop = np.array([0.0, b.between(-0.2, 0.2), b.between(-0.1, 0.25)])
    length = b.between(0.35, 0.6)
    wrist, elbow = np.array([-1.0 * s, 0.0, 0.0]), np.array([-length, 0.0, 0.0]) + length * droop
    path = bezier([wrist, 0.5 * (wrist + elbow), elbow], 7)
    t = np.linspace(0, 1, 7)[:, None]
    half = s * np.concatenate([0.5 + 0.6 * t**0.7, 0.68 + 0.5 * t**0.7], axis=1)
    b.mesh(body, sweep(path, half, 2.3, Z), "accent")
    cuff = b.between(0.0, 0.8)
    if cuff < 0.7:
        first = int(6 * cuff)
        sleeve = path[first:] if first < 5 else path[4:]
        wide = half[-len(sleeve) :] * b.between(1.1, 1.35)
        b.mesh(body, sweep(sleeve, wide, 2.3, Z), "second")
    return length


def add_person(b: Builder, body: mujoco.MjsBody) -> tuple[float, float]:
    """Somebody standing on z = 0, facing x; returns radius and height."""
    high = b.between(1.5, 1.9)
    hip, shoulder = 0.5 * high, 0.82 * high
    for s in (-1, 1):
        b.rod(body, (0, s * 0.09, 0.06), (0, s * 0.09, hip), 0.075, "joint", round_=True)
        b.block(body, (0.06, s * 0.09, 0.04), (0.13, 0.045, 0.04), "dark", 3.0)
    b.mesh(body, solid((0, 0, hip - 0.05), (0, 0, shoulder), (0.11, 0.17), (0.1, 0.2), X, 3.0, 0.05), "second")
    b.rod(body, (0, 0, shoulder), (0.01, 0, shoulder + 0.12), 0.05, "accent")
    head = np.array([0.02, 0.0, 0.93 * high])
    b.mesh(
        body, lathe(head - 0.11 * Z, Z, [(0, 0.05), (0.05, 0.08), (0.12, 0.09), (0.19, 0.07), (0.22, 0.02)]), "accent"
    )
    b.mesh(body, lathe(head - 0.02 * Z - 0.02 * X, Z, [(0, 0.095), (0.06, 0.1), (0.12, 0.07), (0.14, 0.02)]), "cap")
    for s in (-1, 1):
        top = np.array([0.0, s * 0.22, shoulder - 0.05])
        elbow = top + np.array([b.between(-0.05, 0.2), s * b.between(0.02, 0.12), -0.28])
        wrist = elbow + 0.26 * unit((b.between(0.3, 1.0), -s * b.between(-0.2, 0.5), b.between(-0.8, 0.4)))
        b.rod(body, top, elbow, 0.05, "second", round_=True)
        b.rod(body, elbow, wrist, 0.04, "second" if b.chance(0.6) else "accent", round_=True)
        _fist(b, body, wrist, unit(wrist - elbow))
    return 0.35, high


def _fist(b: Builder, body: mujoco.MjsBody, at: Vector, way: Vector) -> None:
    b.mesh(body, solid(at, at + 0.1 * way, (0.025, 0.04), (0.02, 0.035), Z, 3.0, 0.01), "primary")
    b.mesh(
        body, solid(at + 0.1 * way, at + 0.17 * way - 0.02 * Z, (0.015, 0.035), (0.01, 0.03), Z, 3.0, 0.005), "primary"
    )
