# SPDX-License-Identifier: Apache-2.0
"""Parts that generated grippers share: adapters at the flange, a camera, the palm, a finger."""

from __future__ import annotations

import mujoco
import numpy as np

from robotseg_core.synth.robots.shapes import Builder, bezier, lathe, solid, sweep

X, Y, Z = np.eye(3)


def add_adapters(b: Builder, hand: mujoco.MjsBody, flange: float) -> float:
    """Tool changer, force sensor and their like; returns where the palm starts."""
    z = 0.0
    for _ in range(int(b.rng.integers(0, 3))):
        r, high = b.between(0.85, 1.15) * flange, b.between(0.15, 0.6) * flange
        b.mesh(
            hand,
            lathe((0, 0, z), Z, [(0, r), (0.85 * high, r), (high, 0.93 * r)]),
            str(b.rng.choice(["metal", "dark", "primary"])),
        )
        if b.chance(0.3):  # its plug
            b.rod(hand, (0, 0, z + 0.5 * high), (1.35 * r, 0, z + 0.5 * high), 0.3 * high, "dark")
        z += high
    return z


def add_camera(b: Builder, hand: mujoco.MjsBody, z: float, size: float) -> None:
    """A camera on a bracket beside the palm."""
    turn = b.between(0, 2 * np.pi)
    out = np.cos(turn) * X + np.sin(turn) * Y
    far, half = b.between(1.3, 1.9) * size, b.between(0.3, 0.55) * size
    z = max(z, 0.4 * size)
    b.mesh(
        hand,
        solid(0.6 * size * out + z * Z, far * out + z * Z, (0.05 * size, half), (0.05 * size, half), Z, 8.0),
        "metal",
    )
    wide = np.cross(Z, out)
    start, end = (
        far * out + (z + 0.04 * size) * Z - 1.2 * half * wide,
        far * out + (z + 0.04 * size) * Z + 1.2 * half * wide,
    )
    b.mesh(
        hand,
        solid(start, end, (0.45 * half, 0.5 * half), (0.45 * half, 0.5 * half), Z, 4.0, 0.1 * half),
        "dark" if b.chance(0.5) else "metal",
    )
    b.rod(hand, far * out + z * Z, far * out + (z + 0.6 * half) * Z, 0.3 * half, "joint")


def add_palm(b: Builder, hand: mujoco.MjsBody, z: float, size: float, wide: float) -> float:
    """The housing; returns where the fingers start."""
    high = b.between(0.9, 2.6) * size
    style = b.rng.choice(["box", "round", "taper"])
    deep = b.between(0.5, 0.95) * size
    if style == "box":
        b.block(hand, (0, 0, z + 0.5 * high), (wide, deep, 0.5 * high), "primary", b.between(4, 9))
    elif style == "round":
        b.mesh(
            hand,
            lathe((0, 0, z), Z, [(0, 0.8 * size), (0.15 * high, size), (0.9 * high, size), (high, 0.85 * size)]),
            "primary",
        )
    else:
        b.mesh(
            hand,
            solid((0, 0, z), (0, 0, z + high), (size, size), (wide, deep), X, b.between(2.5, 7), 0.1 * size),
            "primary",
        )
    if b.chance(0.5):
        b.block(
            hand,
            (0, 0, z + 0.93 * high),
            (1.03 * wide, 0.9 * deep, 0.1 * high),
            str(b.rng.choice(["second", "dark", "metal"])),
        )
    if b.chance(0.3):  # fittings for air
        for s in (-1, 1):
            at = np.array([s * 0.4 * size, deep, z + 0.5 * high])
            b.rod(hand, at, at + 0.4 * size * Y, 0.12 * size, "accent")
    return z + high


def add_finger(
    b: Builder, body: mujoco.MjsBody, length: float, half: float, inward: float, shape: str, deep: float
) -> None:
    """A finger along z whose gripping side looks along ``inward`` x."""
    role, tip = ("dark", "dark") if b.rng.random() < 0.4 else ("metal", "second")
    side = inward * X
    if shape == "straight":
        b.mesh(body, solid((0, 0, 0), (0, 0, length), (half, deep), (0.7 * half, 0.9 * deep), X, 7.0, 0.1 * half), role)
    elif shape == "taper":
        path = bezier([(0, 0, 0), -0.12 * length * side + 0.4 * length * Z, 0.1 * length * side + length * Z], 7)
        t = np.linspace(0, 1, 7)[:, None]
        b.mesh(body, sweep(path, np.concatenate([half * (1.2 - 0.8 * t), deep * (1 - 0.3 * t)], axis=1), 4.0, X), role)
    elif shape == "hook":
        knee = -0.8 * half * side + 0.5 * length * Z
        b.mesh(body, solid((0, 0, 0), knee, (half, deep), (half, deep), X, 7.0), role)
        b.mesh(
            body,
            solid(knee - 0.05 * length * Z, length * Z, (half, 0.95 * deep), (0.5 * half, 0.8 * deep), X, 7.0),
            role,
        )
    else:  # plate on a foot
        b.mesh(body, solid((0, 0, 0), 0.35 * length * Z, (1.4 * half, deep), (half, deep), X, 8.0), role)
        thin = max(0.0015, 0.3 * half)
        b.mesh(body, solid(0.3 * length * Z, length * Z, (thin, deep), (thin, 0.8 * deep), X, 8.0), tip)
    if b.rng.random() < 0.6:
        pad = 0.8 * half * side
        b.mesh(
            body,
            solid(
                pad + 0.62 * length * Z,
                pad + 0.97 * length * Z,
                (0.35 * half, 0.85 * deep),
                (0.35 * half, 0.7 * deep),
                X,
                8.0,
            ),
            str(b.rng.choice(["accent", "joint", "dark"])),
        )
