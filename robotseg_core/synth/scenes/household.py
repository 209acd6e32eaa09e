# SPDX-License-Identifier: Apache-2.0
"""More small things, of shapes that no package or can has; each stands on z = 0 and returns radius and height."""

from __future__ import annotations

import mujoco
import numpy as np

from robotseg_core.synth.robots.shapes import GEOM, bezier, lathe, solid, sweep
from robotseg_core.synth.scenes.small_things import Materials, Size

Z = (0.0, 0.0, 1.0)


def _between(m: Materials, low: float, high: float) -> float:
    return float(m.rng.uniform(low, high))


def _arc(m: Materials, body: mujoco.MjsBody, points: np.ndarray, radius: float, material: str) -> None:
    """Capsules from point to point."""
    for a, b in zip(points[:-1], points[1:], strict=True):
        body.add_geom(
            type=GEOM.mjGEOM_CAPSULE, size=[radius, 0, 0], fromto=[*a.tolist(), *b.tolist()], material=material
        )


def bowl(m: Materials, body: mujoco.MjsBody) -> Size:
    """A bowl."""
    r, h = _between(m, 0.04, 0.09), _between(m, 0.03, 0.06)
    wall = 0.9 * r
    profile = [(0, 0.5 * r), (0.5 * h, 0.85 * r), (h, r), (h, wall), (0.55 * h, 0.75 * r), (0.12 * h, 0.3 * r)]
    m.mesh(body, lathe((0, 0, 0), Z, profile), m.bright() if m.rng.random() < 0.5 else m.plain())
    return r, h


def plate(m: Materials, body: mujoco.MjsBody) -> Size:
    """A plate."""
    r, h = _between(m, 0.06, 0.12), _between(m, 0.012, 0.022)
    profile = [(0, 0.6 * r), (h, r), (h, 0.96 * r), (0.35 * h, 0.6 * r)]
    m.mesh(body, lathe((0, 0, 0), Z, profile), m.plain())
    return r, h


def cup(m: Materials, body: mujoco.MjsBody) -> Size:
    """A cup without a handle."""
    r, h = _between(m, 0.025, 0.045), _between(m, 0.06, 0.13)
    profile = [(0, 0.75 * r), (h, r), (h, 0.92 * r), (0.08 * h, 0.65 * r)]
    m.mesh(body, lathe((0, 0, 0), Z, profile), m.bright() if m.rng.random() < 0.6 else m.plain())
    return r, h


def ring(m: Materials, body: mujoco.MjsBody) -> Size:
    """A ring or a roll of tape."""
    r, thick = _between(m, 0.025, 0.06), _between(m, 0.006, 0.016)
    turn = np.linspace(0, 2 * np.pi, 15)
    circle = np.stack([r * np.cos(turn), r * np.sin(turn), np.full(15, thick)], axis=1)
    _arc(m, body, circle, thick, m.bright() if m.rng.random() < 0.6 else m.plain())
    return r + thick, 2 * thick


def brick(m: Materials, body: mujoco.MjsBody) -> Size:
    """A toy brick with studs."""
    unit, rows = _between(m, 0.008, 0.016), int(m.rng.integers(1, 5))
    half = np.array([unit * rows, 2 * unit, 1.2 * unit])
    material = m.bright()
    body.add_geom(type=GEOM.mjGEOM_BOX, size=half.tolist(), pos=[0, 0, float(half[2])], material=material)
    for x in (np.arange(rows) - (rows - 1) / 2) * 2 * unit:
        for y in (-unit, unit):
            pos = [float(x), float(y), float(2 * half[2] + 0.2 * unit)]
            body.add_geom(type=GEOM.mjGEOM_CYLINDER, size=[0.6 * unit, 0.22 * unit, 0], pos=pos, material=material)
    return float(np.hypot(half[0], half[1])), float(2.4 * half[2])


def cube(m: Materials, body: mujoco.MjsBody) -> Size:
    """A cube."""
    half = _between(m, 0.012, 0.035)
    body.add_geom(type=GEOM.mjGEOM_BOX, size=[half] * 3, pos=[0, 0, half], material=m.bright())
    return 1.42 * half, 2 * half


def cone(m: Materials, body: mujoco.MjsBody) -> Size:
    """A cone on a square foot."""
    r, h = _between(m, 0.02, 0.05), _between(m, 0.05, 0.13)
    material = m.bright()
    body.add_geom(type=GEOM.mjGEOM_BOX, size=[1.2 * r, 1.2 * r, 0.004], pos=[0, 0, 0.004], material=material)
    m.mesh(body, lathe((0, 0, 0.006), Z, [(0, r), (h, 0.18 * r)]), material)
    return 1.7 * r, h


def banana(m: Materials, body: mujoco.MjsBody) -> Size:
    """A banana."""
    length, r = _between(m, 0.07, 0.1), _between(m, 0.014, 0.02)
    path = bezier(
        [(-length, 0, r), (-0.4 * length, 0.7 * length, r), (0.4 * length, 0.7 * length, r), (length, 0, r)], 12
    )
    taper = np.interp(np.linspace(0, 1, 12), [0, 0.2, 0.8, 0.93, 1], [0.35, 1, 1, 0.5, 0.3])
    m.mesh(body, sweep(path, r * np.stack([taper, taper], axis=1), 2.5, Z), m.bright(hue=(0.1, 0.19)))
    return 1.1 * length, 2 * r


def spoon(m: Materials, body: mujoco.MjsBody) -> Size:
    """A spoon lying down."""
    half, r = _between(m, 0.06, 0.1), _between(m, 0.012, 0.022)
    material = m.plain(metal=m.rng.random() < 0.5)
    body.add_geom(type=GEOM.mjGEOM_ELLIPSOID, size=[1.5 * r, r, 0.4 * r], pos=[half, 0, 0.4 * r], material=material)
    tail = [-half, 0, 0.012, half - r, 0, 0.006]
    body.add_geom(type=GEOM.mjGEOM_CAPSULE, size=[0.004, 0, 0], fromto=tail, material=material)
    return half + r, 0.03


def toy_car(m: Materials, body: mujoco.MjsBody) -> Size:
    """A toy car."""
    s = _between(m, 0.012, 0.022)
    paint, tyre = m.bright(), m.plain(metal=True)
    body.add_geom(type=GEOM.mjGEOM_BOX, size=[2.6 * s, 1.1 * s, 0.6 * s], pos=[0, 0, 1.3 * s], material=paint)
    cabin = [1.3 * s, 1.0 * s, 0.5 * s]
    body.add_geom(type=GEOM.mjGEOM_BOX, size=cabin, pos=[-0.3 * s, 0, 2.3 * s], material=m.plain())
    for x in (-1.6 * s, 1.6 * s):
        for y in (-1.0 * s, 1.0 * s):
            end = [x, y - 0.25 * s, 0.7 * s, x, y + 0.25 * s, 0.7 * s]
            body.add_geom(type=GEOM.mjGEOM_CYLINDER, size=[0.7 * s, 0, 0], fromto=end, material=tyre)
    return 2.9 * s, 2.8 * s


def jug(m: Materials, body: mujoco.MjsBody) -> Size:
    """A jug with a handle."""
    r, h = _between(m, 0.03, 0.05), _between(m, 0.09, 0.16)
    material = m.bright() if m.rng.random() < 0.5 else m.plain()
    profile = [(0, 0.8 * r), (0.35 * h, r), (0.75 * h, 0.62 * r), (h, 0.8 * r), (h, 0.7 * r), (0.8 * h, 0.5 * r)]
    m.mesh(body, lathe((0, 0, 0), Z, profile), material)
    turn = np.linspace(-1.25, 1.25, 7)
    arc = np.stack([0.6 * r + 0.7 * r * np.cos(turn), np.zeros(7), 0.55 * h + 0.3 * h * np.sin(turn)], axis=1)
    _arc(m, body, arc, 0.0055, material)
    return 1.4 * r, h


def nut(m: Materials, body: mujoco.MjsBody) -> Size:
    """A big hexagonal nut."""
    r, h = _between(m, 0.015, 0.035), _between(m, 0.012, 0.03)
    m.mesh(body, solid((0, 0, 0), (0, 0, h), (r, r), (r, r), (1, 0, 0), 2.0, 0.1 * r, count=6), m.plain(metal=True))
    hole = [0.5 * r, 0.001, 0]
    body.add_geom(type=GEOM.mjGEOM_CYLINDER, size=hole, pos=[0, 0, h], material=m.plain())
    return r, h


def fruit(m: Materials, body: mujoco.MjsBody) -> Size:
    """A round fruit with its stalk."""
    r = _between(m, 0.028, 0.045)
    high = r * _between(m, 0.85, 1.15)
    skin = m.bright(hue=(0.0, 0.3))
    body.add_geom(type=GEOM.mjGEOM_ELLIPSOID, size=[r, r, high], pos=[0, 0, high], material=skin)
    stalk = [0, 0, 1.9 * high, 0.1 * r, 0, 2.35 * high]
    body.add_geom(type=GEOM.mjGEOM_CAPSULE, size=[0.0025, 0, 0], fromto=stalk, material=m.plain())
    return r, 2.3 * high


def torch(m: Materials, body: mujoco.MjsBody) -> Size:
    """A torch lying down."""
    r, half = _between(m, 0.012, 0.02), _between(m, 0.05, 0.08)
    profile = [(0, 0.9 * r), (1.1 * half, r), (1.3 * half, 1.7 * r), (2 * half, 1.8 * r), (2 * half, 1.4 * r)]
    m.mesh(body, lathe((-half, 0, 1.8 * r), (1.0, 0, 0), profile), m.plain(metal=m.rng.random() < 0.4))
    return 1.1 * half, 3.6 * r


def duck(m: Materials, body: mujoco.MjsBody) -> Size:
    """A toy duck."""
    s = _between(m, 0.02, 0.035)
    skin = m.bright(hue=(0.1, 0.2)) if m.rng.random() < 0.6 else m.bright()
    add = body.add_geom
    add(type=GEOM.mjGEOM_ELLIPSOID, size=[1.4 * s, s, 0.9 * s], pos=[0, 0, 0.9 * s], material=skin)
    add(type=GEOM.mjGEOM_SPHERE, size=[0.65 * s, 0, 0], pos=[0.9 * s, 0, 2.1 * s], material=skin)
    add(
        type=GEOM.mjGEOM_ELLIPSOID,
        size=[0.5 * s, 0.35 * s, 0.14 * s],
        pos=[1.6 * s, 0, 2.0 * s],
        material=m.bright(hue=(0.03, 0.09)),
    )
    add(type=GEOM.mjGEOM_ELLIPSOID, size=[0.6 * s, 0.3 * s, 0.3 * s], pos=[-1.3 * s, 0, 1.3 * s], material=skin)
    return 1.9 * s, 2.8 * s


def plant(m: Materials, body: mujoco.MjsBody) -> Size:
    """A plant in a pot."""
    r, h = _between(m, 0.03, 0.055), _between(m, 0.05, 0.09)
    m.mesh(body, lathe((0, 0, 0), Z, [(0, 0.75 * r), (h, r), (h, 0.9 * r), (0.9 * h, 0.85 * r)]), m.plain())
    leaf = m.bright(hue=(0.24, 0.38))
    for _ in range(int(m.rng.integers(5, 10))):
        turn, tilt = _between(m, 0, 2 * np.pi), _between(m, 0.1, 0.9)
        way = np.array([np.sin(tilt) * np.cos(turn), np.sin(tilt) * np.sin(turn), np.cos(tilt)])
        long = _between(m, 0.03, 0.06)
        start, end = np.array([0, 0, 0.9 * h]), np.array([0, 0, h]) + 2 * long * way
        m.mesh(body, solid(start, end, (0.002, 0.25 * long), (0.001, 0.1 * long), Z, 2.0), leaf)
    return r + 0.05, h + 0.1
