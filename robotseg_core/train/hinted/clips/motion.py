# SPDX-License-Identifier: Apache-2.0
"""How things move through a clip: affine maps that change smoothly with time, and soft bends.

All coordinates are those of ``grid_sample``: -1 to 1 across the picture, x to the right, y down.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BEND = 4
"""Nodes of a bend's grid along each side."""

Matrices = NDArray[np.float32]
"""[T, 2, 3]: from a pixel of the composed frame to where it comes from in the source."""


def inverse(
    centre: NDArray[np.float64], scale: NDArray[np.float64], angle: float, anchor: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The map that is undone by ``out = centre + R(angle) diag(scale) (source - anchor)``, [2, 3]."""
    cos, sin = np.cos(angle), np.sin(angle)
    linear = np.diag(1 / scale) @ np.array([[cos, sin], [-sin, cos]])
    return np.hstack([linear, (anchor - linear @ centre)[:, None]])


def walk(rng: np.random.Generator, times: NDArray[np.float64], speed: float) -> NDArray[np.float64]:
    """A smooth way [T, 2] that is 0 at time 0: a constant velocity, and a swing."""
    velocity = rng.normal(0, speed, 2)
    swing = rng.normal(0, speed, 2)
    phase, rate = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 1.2)
    return times[:, None] * velocity + swing * (np.sin(phase + rate * times) - np.sin(phase))[:, None]


def camera(
    rng: np.random.Generator, times: NDArray[np.float64], aim: NDArray[np.float64], *, moving: float
) -> Matrices:
    """How the base is seen: a detail around ``aim`` (of the source), mirrored or not, and a hand-held camera."""
    zoom = float(np.exp(rng.uniform(np.log(0.85), np.log(1.9)))) if rng.random() < 0.8 else 1.0
    stretch = float(np.exp(rng.normal(0, 0.12)))
    flip = -1.0 if rng.random() < 0.5 else 1.0
    angle = rng.normal(0, 0.13)
    # The larger the detail, the nearer its centre has to be to the picture's.
    reach = max(0.0, 1 - 1 / zoom)
    anchor = np.clip(aim, -reach - 0.1, reach + 0.1)
    way = walk(rng, times, 0.035 * moving)
    turn, grow = rng.normal(0, 0.02 * moving), rng.normal(0, 0.02 * moving)
    out = [
        inverse(step, zoom * np.exp(grow * t) * np.array([flip * stretch, 1 / stretch]), angle + turn * t, anchor)
        for t, step in zip(times, way, strict=True)
    ]
    return np.asarray(out, np.float32)


def flight(
    rng: np.random.Generator,
    times: NDArray[np.float64],
    box: tuple[float, float, float, float],
    extent: tuple[float, float],
    kind: str,
) -> Matrices:
    """How a cut-out with this ``box`` in its source moves: its larger side takes ``extent`` of the picture (2 is all).

    ``kind``: ``still``, ``drift``, ``cross`` (through the picture), ``leave`` (out of it and back).  At time 0 it is in
    view.
    """
    x0, y0, x1, y1 = box
    anchor = np.array([x0 + x1, y0 + y1]) / 2
    side = max(x1 - x0, y1 - y0, 0.02)
    zoom = float(np.clip(np.exp(rng.uniform(np.log(extent[0]), np.log(extent[1]))) / side, 0.25, 4.0))
    stretch, flip = float(np.exp(rng.normal(0, 0.1))), -1.0 if rng.random() < 0.5 else 1.0
    angle = rng.normal(0, 0.25)
    centre = rng.uniform(-0.75, 0.75, 2)
    way = np.zeros((len(times), 2))
    if kind == "drift":
        way = walk(rng, times, 0.06)
    elif kind == "cross":
        velocity = -np.sign(centre) * rng.uniform(0.08, 0.35, 2) * rng.permutation([1.0, 0.3])
        way = times[:, None] * velocity
    elif kind == "leave":
        away = np.where(rng.random() < 0.5, [np.sign(centre[0]) * 2.2, 0], [0, np.sign(centre[1]) * 2.2])
        length = max(2.0, float(np.abs(times).max()))
        way = away * np.sin(np.pi * np.clip(times / length, 0, 1))[:, None] + walk(rng, times, 0.03)
    turn, grow = rng.normal(0, 0.05), rng.normal(0, 0.03)
    if kind == "still":
        turn = grow = 0.0
    out = [
        inverse(
            centre + step, zoom * np.exp(grow * t) * np.array([flip * stretch, 1 / stretch]), angle + turn * t, anchor
        )
        for t, step in zip(times, way, strict=True)
    ]
    return np.asarray(out, np.float32)


def bend(rng: np.random.Generator, times: NDArray[np.float64], strength: float) -> NDArray[np.float32]:
    """Displacements [T, 2, BEND, BEND] of a soft sheet: a bend that stays, and one that grows."""
    shape = (2, BEND, BEND)
    first, growing = rng.normal(0, strength, shape), rng.normal(0, 0.3 * strength, shape)
    return np.asarray(first + times[:, None, None, None] * growing, np.float32)
