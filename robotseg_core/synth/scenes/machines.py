# SPDX-License-Identifier: Apache-2.0
"""Metal and jointed things that are not robots, painted like robots.

Each function puts a thing on ``body``, standing on z = 0, and returns the radius of what it covers and its height in
metres.
"""

from __future__ import annotations

from collections.abc import Callable

import mujoco
import numpy as np

from robotseg_core.synth.robots.livery import ROLE_ORDER, sample_livery
from robotseg_core.synth.robots.shapes import Builder, Vector, bezier, lathe, solid, sweep

X, Y, Z = np.eye(3)
Size = tuple[float, float]


def dressed_builder(spec: mujoco.MjSpec, rng: np.random.Generator, prefix: str) -> Builder:
    """A builder whose materials have the colours of a random livery, like a robot's."""
    b = Builder(spec, rng, prefix)
    livery = sample_livery(rng, gripper=bool(rng.random() < 0.5))
    for i, role in enumerate(ROLE_ORDER):
        material = spec.material(prefix + role)
        material.rgba = [*livery.colours[i].tolist(), 1.0]
        material.specular, material.shininess = float(livery.specular[i]), float(livery.shininess[i])
    return b


def _chain(b: Builder, body: mujoco.MjsBody, start: Vector, steps: int, length: float, thick: float) -> Vector:
    """Bars in one plane with round joints between; returns where the last ends."""
    at, turn = start, b.between(0, 2 * np.pi)
    plane, bend = np.array([np.cos(turn), np.sin(turn), 0.0]), b.between(-0.4, 0.4)
    square = b.chance(0.4)
    for _ in range(steps):
        to = at + length * b.between(0.7, 1.2) * (np.sin(bend) * plane + abs(np.cos(bend)) * Z)
        if square:
            b.mesh(body, solid(at, to, (thick, thick), (thick, 0.8 * thick), plane, 6.0), "primary")
        else:
            b.rod(body, at, to, 0.7 * thick, "metal" if b.chance(0.5) else "primary", round_=True)
        wide = np.cross(plane, Z) * 1.3 * thick
        b.rod(body, to - wide, to + wide, 1.4 * thick, "joint")
        at, bend = to, bend + b.between(0.5, 1.6) * (1 if bend < 0.5 else -1)
    return at


def lamp(b: Builder, body: mujoco.MjsBody) -> Size:
    """A desk lamp."""
    foot = b.between(0.06, 0.11)
    b.mesh(body, lathe((0, 0, 0), Z, [(0, foot), (0.012, foot), (0.025, 0.3 * foot)]), "dark")
    end = _chain(
        b, body, np.array([0, 0, 0.02]), int(b.rng.integers(2, 4)), b.between(0.12, 0.25), b.between(0.005, 0.012)
    )
    way = np.array([b.between(-1, 1), b.between(-1, 1), -1.0])
    r = b.between(0.04, 0.08)
    b.mesh(body, lathe(end, way, [(-0.02, 0.4 * r), (0.02, 0.5 * r), (0.1, r)]), "second")
    return float(np.hypot(end[0], end[1])) + 0.1, float(end[2]) + 0.1


def tripod(b: Builder, body: mujoco.MjsBody) -> Size:
    """A tripod with a camera."""
    high, spread, r = b.between(0.2, 0.6), b.between(0.1, 0.25), b.between(0.005, 0.012)
    for turn in np.arange(3) * 2 * np.pi / 3 + b.between(0, 2):
        out = np.array([np.cos(turn), np.sin(turn), 0.0])
        mid = 0.5 * (spread * out + high * Z) + 0.01 * out
        b.rod(body, spread * out, mid, 0.8 * r, "metal")
        b.rod(body, mid, 0.02 * out + high * Z, 1.2 * r, "primary")
    b.rod(body, (0, 0, 0.6 * high), (0, 0, high + 0.05), 1.4 * r, "metal")
    b.ball(body, (0, 0, high + 0.05), 2 * r, "joint")
    b.block(body, (0, 0, high + 0.1), (0.05, 0.03, 0.035), "dark")
    b.rod(body, (0, 0.03, high + 0.1), (0, 0.07, high + 0.1), 0.022, "dark")
    return spread, high + 0.14


def monitor_arm(b: Builder, body: mujoco.MjsBody) -> Size:
    """A monitor on a jointed arm."""
    high, thick = b.between(0.2, 0.4), b.between(0.012, 0.022)
    b.block(body, (0, 0, 0.015), (0.06, 0.05, 0.015), "dark")
    b.rod(body, (0, 0, 0), (0, 0, high), thick, "metal")
    at = np.array([0, 0, high])
    for _ in range(2):
        turn = b.between(0, 2 * np.pi)
        to = at + b.between(0.12, 0.25) * np.array([np.cos(turn), np.sin(turn), b.between(-0.3, 0.5)])
        b.mesh(body, solid(at, to, (1.1 * thick, 1.4 * thick), (0.9 * thick, 1.2 * thick), Z, 4.0), "primary")
        for p in (at, to):
            b.rod(body, p - 1.5 * thick * Z, p + 1.5 * thick * Z, 1.5 * thick, "joint")
        at = to
    b.block(body, at + 0.03 * Y, (0.2, 0.015, 0.13), "dark", 9.0)
    return float(np.hypot(at[0], at[1])) + 0.2, float(at[2]) + 0.13


def chair(b: Builder, body: mujoco.MjsBody) -> Size:
    """An office chair."""
    seat = b.between(0.4, 0.52)
    for turn in np.arange(5) * 2 * np.pi / 5:
        out = np.array([np.cos(turn), np.sin(turn), 0.0])
        b.mesh(body, solid(0.09 * Z, 0.3 * out + 0.07 * Z, (0.02, 0.03), (0.012, 0.018), Z, 4.0), "dark")
        b.rod(body, 0.3 * out + 0.03 * Z - 0.015 * X, 0.3 * out + 0.03 * Z + 0.015 * X, 0.03, "joint")
    b.rod(body, (0, 0, 0.08), (0, 0, seat), 0.025, "metal")
    b.block(body, (0, 0, seat), (0.24, 0.23, 0.04), "primary", 4.0, 0.5)
    b.mesh(body, solid((-0.22, 0, seat), (-0.27, 0, seat + 0.25), (0.01, 0.03), (0.01, 0.03), X, 5.0), "metal")
    back = solid((-0.25, 0, seat + 0.12), (-0.3, 0, seat + 0.55), (0.025, 0.2), (0.02, 0.17), X, 4.0, 0.02)
    b.mesh(body, back, "second")
    for s in (-1, 1) if b.chance(0.6) else ():
        b.rod(body, (0, s * 0.25, seat), (-0.05, s * 0.27, seat + 0.2), 0.015, "dark")
        b.block(body, (-0.02, s * 0.27, seat + 0.21), (0.12, 0.03, 0.015), "dark")
    return 0.34, seat + 0.55


def vise(b: Builder, body: mujoco.MjsBody) -> Size:
    """A bench vise."""
    s = b.between(0.05, 0.1)
    b.mesh(body, solid((0, 0, 0), (0, 0, s), (1.2 * s, s), (0.7 * s, 0.6 * s), X, 5.0, 0.1 * s), "primary")
    b.block(body, (-0.5 * s, 0, 1.3 * s), (0.9 * s, 0.5 * s, 0.4 * s), "primary")
    gap = b.between(0.2, 1.2) * s
    b.block(body, (0.5 * s, 0, 1.5 * s), (0.2 * s, 0.9 * s, 0.55 * s), "metal")
    b.block(body, (0.8 * s + gap, 0, 1.5 * s), (0.25 * s, 0.9 * s, 0.55 * s), "primary")
    b.rod(body, (0, 0, 1.2 * s), (1.8 * s + gap, 0, 1.2 * s), 0.18 * s, "metal")
    b.rod(body, (1.7 * s + gap, -s, 1.2 * s), (1.7 * s + gap, s, 1.2 * s), 0.08 * s, "metal")
    return 3 * s, 2.1 * s


def microscope(b: Builder, body: mujoco.MjsBody) -> Size:
    """A microscope."""
    s = b.between(0.07, 0.13)
    b.block(body, (0, 0, 0.15 * s), (s, 0.7 * s, 0.15 * s), "primary", 4.0)
    spine = bezier([(-0.7 * s, 0, 0.2 * s), (-1.3 * s, 0, 1.5 * s), (-0.6 * s, 0, 2.8 * s), (0.3 * s, 0, 2.6 * s)], 10)
    half = np.repeat([[0.28 * s, 0.35 * s]], 10, axis=0)
    b.mesh(body, sweep(spine, half, 4.0, X), "primary")
    b.block(body, (0.1 * s, 0, 1.0 * s), (0.6 * s, 0.5 * s, 0.06 * s), "dark")
    b.mesh(
        body,
        lathe((0.25 * s, 0, 2.6 * s), -Z, [(0, 0.3 * s), (0.6 * s, 0.3 * s), (0.7 * s, 0.15 * s), (1.3 * s, 0.1 * s)]),
        "metal",
    )
    for side in (-1, 1):
        start = np.array([0.2 * s, 0.2 * side * s, 2.7 * s])
        b.rod(body, start, start + np.array([-0.8 * s, 0, 0.7 * s]), 0.16 * s, "dark")
        b.rod(body, (-0.8 * s, side * 0.3 * s, 0.8 * s), (-0.8 * s, side * 0.6 * s, 0.8 * s), 0.22 * s, "dark")
    return 1.3 * s, 3.6 * s


def drill_press(b: Builder, body: mujoco.MjsBody) -> Size:
    """A drill press, or any machine on a column."""
    s = b.between(0.12, 0.22)
    b.block(body, (0, 0, 0.1 * s), (s, 0.7 * s, 0.1 * s), "metal" if b.chance(0.5) else "primary")
    b.rod(body, (-0.7 * s, 0, 0), (-0.7 * s, 0, 3 * s), 0.14 * s, "metal")
    b.mesh(
        body,
        solid((-1.0 * s, 0, 2.8 * s), (0.8 * s, 0, 2.8 * s), (0.45 * s, 0.4 * s), (0.35 * s, 0.3 * s), Z, 5.0, 0.1 * s),
        "primary",
    )
    b.rod(body, (0.4 * s, 0, 1.8 * s), (0.4 * s, 0, 2.5 * s), 0.16 * s, "metal")
    b.rod(body, (0.4 * s, 0, 1.4 * s), (0.4 * s, 0, 1.8 * s), 0.05 * s, "metal")
    b.block(body, (0.2 * s, 0, 1.0 * s), (0.6 * s, 0.5 * s, 0.06 * s), "metal")
    for turn in np.arange(3) * 2 * np.pi / 3:
        out = np.array([np.cos(turn), 0, np.sin(turn)])
        hub = np.array([0.4 * s, 0.4 * s, 2.6 * s])
        b.rod(body, hub, hub + 0.5 * s * out, 0.03 * s, "metal")
        b.ball(body, hub + 0.5 * s * out, 0.07 * s, "dark")
    return 1.2 * s, 3.3 * s


def pipes(b: Builder, body: mujoco.MjsBody) -> Size:
    """A run of pipe with bends, flanges and a valve."""
    r, at, far = b.between(0.012, 0.045), np.zeros(3), 0.0
    way = Z.copy()
    for _ in range(int(b.rng.integers(2, 5))):
        to = at + way * b.between(4, 10) * r
        b.rod(body, at, to, r, "primary")
        b.rod(body, at - 0.25 * r * way, at + 0.25 * r * way, 1.5 * r, "joint")
        turn = b.between(0, 2 * np.pi)
        new = np.array([np.cos(turn), np.sin(turn), 0.0]) if abs(way[2]) > 0.5 else Z
        path = bezier([to, to + 1.5 * r * way, to + 1.5 * r * way + 1.5 * r * new], 7)
        b.mesh(
            body,
            sweep(path, np.full((7, 2), 1.05 * r), 2.0, np.cross(way, new)),
            "second" if b.chance(0.3) else "primary",
        )
        at, way = path[-1], new
        far = max(far, float(np.hypot(at[0], at[1])))
    b.rod(body, at, at + way * 3 * r, r, "primary")
    b.rod(body, at + way * 2.6 * r, at + way * 3 * r, 1.6 * r, "accent")
    return far + 4 * r, float(at[2]) + 4 * r


def hand_drill(b: Builder, body: mujoco.MjsBody) -> Size:
    """A power drill lying on its side."""
    s = b.between(0.03, 0.05)
    profile = [(-2 * s, 0.8 * s), (-1.8 * s, s), (1.2 * s, s), (1.8 * s, 0.6 * s), (3 * s, 0.5 * s)]
    b.mesh(body, lathe((0, 0, s), X, profile), "primary")
    b.rod(body, (3 * s, 0, s), (5 * s, 0, s), 0.12 * s, "metal")
    b.mesh(
        body, solid((-0.8 * s, 0, s), (-1.4 * s, 3.5 * s, s), (0.6 * s, 0.5 * s), (0.5 * s, 0.45 * s), X, 3.0), "dark"
    )
    b.block(body, (-1.5 * s, 3.9 * s, s), (1.1 * s, 0.6 * s, 0.8 * s), "dark")
    return 5 * s, 2 * s


def hand_tool(b: Builder, body: mujoco.MjsBody) -> Size:
    """A hammer, wrench, screwdriver or clamp lying down."""
    s, kind = b.between(0.08, 0.16), b.rng.integers(3)
    if kind == 0:
        b.rod(body, (-s, 0, 0.015), (s, 0, 0.015), 0.012, "second", round_=True)
        b.block(body, (s, 0, 0.018), (0.018, 0.05, 0.018), "metal")
    elif kind == 1:
        b.block(body, (0, 0, 0.006), (s, 0.012, 0.005), "metal", 4.0)
        for side in (-1, 1):
            b.rod(body, (side * s, 0, 0), (side * s, 0, 0.014), 0.025, "metal")
    else:
        b.mesh(body, lathe((-s, 0, 0.016), X, [(0, 0.012), (0.2 * s, 0.016), (0.9 * s, 0.013), (s, 0.006)]), "accent")
        b.rod(body, (0, 0, 0.016), (s, 0, 0.016), 0.004, "metal")
    return s, 0.035


def frame(b: Builder, body: mujoco.MjsBody) -> Size:
    """A frame of aluminium profiles, as around a 3-D printer."""
    w, h, r = b.between(0.1, 0.25), b.between(0.2, 0.5), b.between(0.008, 0.016)
    for sx in (-1, 1):
        for sy in (-1, 1):
            b.box(body, (sx * w, sy * w, 0.5 * h), (r, r, 0.5 * h), "metal")
        for z in (r, h - r):
            b.box(body, (sx * w, 0, z), (r, w, r), "metal")
            b.box(body, (0, sx * w, z), (w, r, r), "metal")
    z = b.between(0.3, 0.8) * h
    b.box(body, (0, 0, z), (w, 0.7 * r, 0.7 * r), "dark")
    b.block(body, (b.between(-0.6, 0.6) * w, 0, z), (0.03, 0.03, 0.04), "primary")
    b.box(body, (0, 0, 0.15 * h), (0.8 * w, 0.8 * w, 0.005), "second")
    return 1.5 * w, h


def appliance(b: Builder, body: mujoco.MjsBody) -> Size:
    """A smooth box with a panel: printer, controller, coffee machine."""
    half = np.array([b.between(0.06, 0.18), b.between(0.06, 0.16), b.between(0.05, 0.2)])
    b.block(body, (0, 0, half[2]), half, "primary", b.between(4, 9), b.between(0.05, 0.4))
    panel = (0.6 * half[0], 0.004, 0.3 * half[2])
    b.box(body, (0, -0.99 * half[1], 1.4 * half[2]), panel, "dark")
    for i in range(3):
        at = np.array([(i - 1) * 0.3 * half[0], -half[1], 0.8 * half[2]])
        b.rod(body, at, at - 0.01 * Y, 0.06 * half[0], "accent")
    return float(np.hypot(half[0], half[1])), float(2 * half[2])


def fan(b: Builder, body: mujoco.MjsBody) -> Size:
    """A fan on a pole."""
    high, r = b.between(0.2, 0.4), b.between(0.08, 0.15)
    b.mesh(body, lathe((0, 0, 0), Z, [(0, 0.7 * r), (0.015, 0.7 * r), (0.03, 0.1 * r)]), "primary")
    b.rod(body, (0, 0, 0), (0, 0, high), 0.012, "metal")
    b.mesh(body, lathe((0, 0.06, high), -Y, [(0, 0.2 * r), (0.02, 0.35 * r), (0.08, 0.35 * r)]), "primary")
    b.mesh(body, lathe((0, -0.03, high), -Y, [(0, r), (0.004, r)]), "second" if b.chance(0.5) else "dark")
    return r, high + r


def stand(b: Builder, body: mujoco.MjsBody) -> Size:
    """A foot, bars with joints, and something at the end."""
    foot = b.between(0.06, 0.11)
    b.mesh(
        body,
        lathe((0, 0, 0), Z, [(0, foot), (0.02, foot), (0.024, 0.9 * foot)]),
        "dark" if b.chance(0.5) else "primary",
    )
    end = _chain(b, body, 0.02 * Z, int(b.rng.integers(2, 5)), b.between(0.08, 0.25), b.between(0.008, 0.03))
    if b.chance(0.5):
        b.block(body, end, (0.02, b.between(0.05, 0.14), b.between(0.03, 0.1)), "second")
    else:
        b.ball(body, end, b.between(0.02, 0.06), "accent")
    return float(np.hypot(end[0], end[1])) + 0.1, float(end[2]) + 0.1


Maker = Callable[[Builder, mujoco.MjsBody], Size]
