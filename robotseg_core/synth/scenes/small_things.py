# SPDX-License-Identifier: Apache-2.0
"""Small things on tables and in grippers, standing on z = 0 of their body; each returns radius and height in metres.

More of them are in :mod:`robotseg_core.synth.scenes.household`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import mujoco
import numpy as np

from robotseg_core.synth.robots.shapes import GEOM, Mesh
from robotseg_core.synth.scenes import textures

Size = tuple[float, float]


class Materials(Protocol):
    """Where colours and pictures come from."""

    rng: np.random.Generator

    def plain(self, metal: bool = False) -> str:
        """A new material of one colour."""

    def bright(self, hue: tuple[float, float] = (0.0, 1.0)) -> str:
        """A new material of one strong colour, its hue (0 to 1) within ``hue``."""

    def textured(self, kinds: tuple, repeat: float, size: int = 512, cube: bool = False) -> str:
        """A new material with a picture."""

    def mesh(self, body: mujoco.MjsBody, shape: Mesh, material: str) -> None:
        """Put a mesh on ``body``."""


def package(m: Materials, body: mujoco.MjsBody) -> Size:
    """A box, printed or plain."""
    half = m.rng.uniform(0.015, 0.07, 3)
    material = m.textured((textures.label_print,), 1, 128, cube=True) if m.rng.random() < 0.5 else m.plain()
    body.add_geom(type=GEOM.mjGEOM_BOX, size=half.tolist(), pos=[0, 0, half[2]], material=material)
    return float(np.hypot(half[0], half[1])), float(2 * half[2])


def can(m: Materials, body: mujoco.MjsBody) -> Size:
    """A can."""
    r, h = float(m.rng.uniform(0.012, 0.05)), float(m.rng.uniform(0.02, 0.1))
    material = m.plain(metal=m.rng.random() < 0.4)
    body.add_geom(type=GEOM.mjGEOM_CYLINDER, size=[r, h, 0], pos=[0, 0, h], material=material)
    return r, 2 * h


def bottle(m: Materials, body: mujoco.MjsBody) -> Size:
    """A bottle with its neck."""
    r, h = float(m.rng.uniform(0.012, 0.05)), float(m.rng.uniform(0.03, 0.1))
    material = m.plain(metal=m.rng.random() < 0.2)
    body.add_geom(type=GEOM.mjGEOM_CYLINDER, size=[r, h, 0], pos=[0, 0, h], material=material)
    neck = [r * 0.4, h * 0.2, 0]
    body.add_geom(type=GEOM.mjGEOM_CYLINDER, size=neck, pos=[0, 0, 2.2 * h], material=m.plain())
    return r, 2.4 * h


def ball(m: Materials, body: mujoco.MjsBody) -> Size:
    """A ball or an egg."""
    r = m.rng.uniform(0.015, 0.06) * np.exp(m.rng.normal(0, 0.15, 3))
    body.add_geom(type=GEOM.mjGEOM_ELLIPSOID, size=r.tolist(), pos=[0, 0, float(r[2])], material=m.plain())
    return float(r.max()), float(2 * r[2])


def mug(m: Materials, body: mujoco.MjsBody) -> Size:
    """A mug with its handle."""
    r, h = float(m.rng.uniform(0.03, 0.045)), float(m.rng.uniform(0.035, 0.055))
    material = m.plain()
    body.add_geom(type=GEOM.mjGEOM_CYLINDER, size=[r, h, 0], pos=[0, 0, h], material=material)
    body.add_geom(type=GEOM.mjGEOM_CYLINDER, size=[r * 0.88, 0.001, 0], pos=[0, 0, 2 * h], material=m.plain())
    turn = np.linspace(-1.2, 1.2, 6)
    arc = np.stack([r + 0.022 * np.cos(turn), np.zeros(6), h + 0.028 * np.sin(turn)], axis=1)
    for a, b in zip(arc[:-1], arc[1:], strict=True):
        body.add_geom(type=GEOM.mjGEOM_CAPSULE, size=[0.005, 0, 0], fromto=[*a, *b], material=material)
    return r + 0.03, 2 * h


def books(m: Materials, body: mujoco.MjsBody) -> Size:
    """Books or plates in a stack."""
    z = 0.0
    for _ in range(int(m.rng.integers(1, 5))):
        half = [*m.rng.uniform(0.06, 0.11, 2), float(m.rng.uniform(0.006, 0.02))]
        yaw = float(m.rng.normal(0, 0.2))
        quat = [np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)]
        body.add_geom(type=GEOM.mjGEOM_BOX, size=half, pos=[0, 0, z + half[2]], quat=quat, material=m.plain())
        z += 2 * half[2]
    return 0.15, z


def stick(m: Materials, body: mujoco.MjsBody) -> Size:
    """A pen, a rod or a tube lying down."""
    r, half = float(m.rng.uniform(0.004, 0.02)), float(m.rng.uniform(0.04, 0.14))
    kind = GEOM.mjGEOM_CYLINDER if m.rng.random() < 0.5 else GEOM.mjGEOM_CAPSULE
    body.add_geom(type=kind, size=[r, 0, 0], fromto=[-half, 0, r, half, 0, r], material=m.plain(m.rng.random() < 0.5))
    return half, 2 * r


Maker = Callable[[Materials, mujoco.MjsBody], Size]
