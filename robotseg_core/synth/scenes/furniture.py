# SPDX-License-Identifier: Apache-2.0
"""Smooth furniture: carts and columns under robots, cabinets, shelves, machines' housings.  None of it is robot."""

from __future__ import annotations

import mujoco
import numpy as np

from robotseg_core.synth.robots.shapes import Builder, lathe, solid

X, Y, Z = np.eye(3)


def add_stand(b: Builder, body: mujoco.MjsBody, floor: float) -> None:
    """What a robot at the origin stands on, from ``floor`` (below 0) up to 0: block, column, cart or frame."""
    kind, half = b.rng.integers(4), b.between(0.1, 0.22)
    if kind == 0:
        b.block(body, (0, 0, 0.5 * floor - 0.001), (half, half, -0.5 * floor), "primary", b.between(5, 10), 0.1)
    elif kind == 1:
        foot, r = 1.4 * half, b.between(0.06, 0.12)
        b.mesh(body, lathe((0, 0, floor), Z, [(0, foot), (0.02, foot), (0.03, r), (-floor - 0.02, r)]), "primary")
        b.mesh(body, lathe((0, 0, -0.02), Z, [(0, 1.2 * half), (0.019, 1.2 * half)]), "metal")
    elif kind == 2:
        wide, deep = b.between(0.25, 0.45), b.between(0.22, 0.35)
        at = b.between(-0.3, 0.3) * wide
        low = floor + 0.08
        b.block(body, (at, 0, 0.5 * low - 0.01), (wide, deep, -0.5 * low), "primary", b.between(6, 10), 0.08)
        b.box(body, (at, 0, -0.008), (1.03 * wide, 1.03 * deep, 0.007), "second" if b.chance(0.5) else "metal")
        for sx in (-1, 1):
            for sy in (-1, 1):
                wheel = np.array([at + sx * 0.85 * wide, sy * 0.85 * deep, floor + 0.04])
                b.rod(body, wheel - 0.015 * Y, wheel + 0.015 * Y, 0.04, "dark")
        for k in range(int(b.rng.integers(0, 4))):  # drawers
            z = -0.12 - 0.14 * k
            if z > low + 0.05:
                b.box(body, (at, -1.005 * deep, z), (0.85 * wide, 0.004, 0.055), "second")
                b.rod(body, (at - 0.08, -1.03 * deep, z), (at + 0.08, -1.03 * deep, z), 0.006, "metal")
        if b.chance(0.4):
            grip = at - 1.15 * wide
            b.rod(body, (grip, -0.8 * deep, -0.05), (grip, 0.8 * deep, -0.05), 0.012, "metal")
    else:
        for sx in (-1, 1):
            for sy in (-1, 1):
                b.box(body, (sx * half, sy * half, 0.5 * floor - 0.01), (0.02, 0.02, -0.5 * floor - 0.01), "metal")
            for z in (floor + 0.15, -0.04):
                b.box(body, (sx * half, 0, z), (0.02, half, 0.02), "metal")
                b.box(body, (0, sx * half, z), (half, 0.02, 0.02), "metal")
        b.box(body, (0, 0, -0.009), (1.2 * half, 1.2 * half, 0.008), "metal")


def add_furniture(b: Builder, body: mujoco.MjsBody) -> tuple[str, float, float]:
    """A cabinet, shelf, housing, bin or round table on z = 0; returns its name, radius and height."""
    kind = b.rng.integers(5)
    wide, deep, high = b.between(0.2, 0.5), b.between(0.18, 0.35), b.between(0.5, 1.7)
    if kind == 0:
        b.block(body, (0, 0, 0.5 * high), (wide, deep, 0.5 * high), "primary", 9.0, 0.05)
        for s in (-1, 1):
            b.box(body, (s * 0.49 * wide, -1.005 * deep, 0.52 * high), (0.47 * wide, 0.004, 0.45 * high), "second")
            b.rod(body, (s * 0.06, -1.06 * deep, 0.45 * high), (s * 0.06, -1.06 * deep, 0.6 * high), 0.007, "metal")
    elif kind == 1:
        for s in (-1, 1):
            b.box(body, (s * wide, 0, 0.5 * high), (0.012, deep, 0.5 * high), "primary")
        for z in np.linspace(0.05, high - 0.02, int(b.rng.integers(3, 6))):
            b.box(body, (0, 0, z), (wide, deep, 0.012), "primary")
            for _ in range(int(b.rng.integers(0, 4))):
                half = b.rng.uniform(0.03, 0.09, 3)
                role = str(b.rng.choice(["second", "accent", "dark", "cap"]))
                b.box(body, (b.between(-0.8, 0.8) * wide, 0, z + 0.012 + half[2]), half, role)
    elif kind == 2:  # a smooth bent housing, much like a robot's
        body_ = solid(
            (0, 0, 0),
            (0, 0, high),
            (wide, deep),
            (b.between(0.4, 1) * wide, b.between(0.4, 1) * deep),
            X,
            b.between(2, 5),
            0.06,
        )
        b.mesh(body, body_, "primary")
        b.block(body, (0, -0.8 * deep, 0.7 * high), (0.4 * wide, 0.3 * deep, 0.1 * high), "dark")
    elif kind == 3:
        r = b.between(0.15, 0.3)
        high = b.between(0.3, 0.8)
        b.mesh(body, lathe((0, 0, 0), Z, [(0, 0.8 * r), (high, r), (high + 0.02, 0.95 * r)]), "primary")
        wide = deep = r
    else:
        high, r = b.between(0.4, 1.0), b.between(0.2, 0.4)
        b.mesh(body, lathe((0, 0, 0), Z, [(0, 0.6 * r), (0.03, 0.1 * r), (high - 0.03, 0.1 * r)]), "metal")
        b.mesh(body, lathe((0, 0, high - 0.03), Z, [(0, r), (0.03, r)]), "primary")
        wide = deep = r
    return ("cabinet", "shelf", "housing", "bin", "round table")[kind], float(np.hypot(wide, deep)), high
