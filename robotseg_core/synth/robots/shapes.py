# SPDX-License-Identifier: Apache-2.0
"""Solid shapes as triangle meshes, and a builder that puts them on bodies of a MuJoCo specification."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Points = Sequence[float] | NDArray[Any]
GEOM = mujoco.mjtGeom

ROLES: tuple[str, ...] = ("primary", "second", "joint", "cap", "metal", "dark", "accent")
"""Materials of a generated robot.  A livery gives each role its colour (:mod:`robotseg_core.synth.robots.livery`)."""


@dataclass(frozen=True)
class Mesh:
    """Vertices [n, 3] in metres and faces [m, 3] (indices, counter-clockwise from outside)."""

    vertices: Vector
    faces: NDArray[np.int32]


def unit(v: Points) -> Vector:
    """``v`` at length 1."""
    v = np.asarray(v, np.float64)
    return np.asarray(v / max(1e-12, float(np.linalg.norm(v))))


def across(axis: Points, hint: Points = (0.0, 0.0, 1.0)) -> Vector:
    """A unit vector at right angles to ``axis``, as near to ``hint`` as can be."""
    axis = unit(axis)
    side = np.asarray(hint, np.float64) - np.dot(hint, axis) * axis
    if np.linalg.norm(side) < 0.05:
        other = np.eye(3)[int(np.argmin(np.abs(axis)))]
        side = other - np.dot(other, axis) * axis
    return unit(side)


def section(half: Points, power: float, count: int) -> Vector:
    """Outline |x/a|^p + |y/b|^p = 1 with half widths ``half`` (a, b), [count, 2]: 2 an ellipse, 8 nearly a box."""
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False) + np.pi / count
    c, s = np.cos(angle), np.sin(angle)
    return np.stack([half[0] * np.sign(c) * abs(c) ** (2 / power), half[1] * np.sign(s) * abs(s) ** (2 / power)], 1)


def loft(rings: Vector) -> Mesh:
    """Skin over ``rings`` [k, n, 3] with flat ends; repeat a ring to make an edge there sharp."""
    k, n = rings.shape[:2]
    faces = []
    for i in range(k - 1):
        if np.allclose(rings[i], rings[i + 1]):
            continue
        a = i * n + np.arange(n)
        b = i * n + (np.arange(n) + 1) % n
        faces += [np.stack([a, b, b + n], 1), np.stack([a, b + n, a + n], 1)]
    vertices = [rings.reshape(-1, 3)]
    start = k * n
    for ring, flip in ((rings[0], True), (rings[-1], False)):
        vertices += [ring, ring.mean(axis=0, keepdims=True)]
        a, b = start + np.arange(n), start + (np.arange(n) + 1) % n
        middle = np.full(n, start + n)
        faces.append(np.stack([b, a, middle] if flip else [a, b, middle], 1))
        start += n + 1
    return Mesh(np.concatenate(vertices), np.concatenate(faces).astype(np.int32))


def sweep(path: Vector, half: Vector, power: float, up: Points, count: int = 20) -> Mesh:
    """A body along ``path`` [k, 3] with half widths ``half`` [k, 2] (towards ``up``, and at right angles to it)."""
    tangent: Vector = np.asarray(np.gradient(path, axis=0))
    first = next((t for t in tangent if np.linalg.norm(t) > 1e-9), np.array([0.0, 0.0, 1.0]))
    x, rings = across(first, up), []
    for i, point in enumerate(path):
        t = tangent[i] if np.linalg.norm(tangent[i]) > 1e-9 else first
        x = across(t, x)
        y = np.cross(unit(t), x)
        flat = section(half[i], power, count)
        rings.append(point + flat[:, :1] * x + flat[:, 1:] * y)
    return loft(np.array(rings))


def solid(
    start: Points,
    end: Points,
    half0: Points,
    half1: Points,
    up: Points = (0.0, 0.0, 1.0),
    power: float = 2.0,
    chamfer: float = 0.0,
    count: int = 20,
) -> Mesh:
    """A straight body from ``start`` to ``end``, tapering from ``half0`` to ``half1``; ``chamfer`` in metres."""
    start, end = np.asarray(start, np.float64), np.asarray(end, np.float64)
    length = float(np.linalg.norm(end - start))
    least = min(*half0, *half1)
    chamfer = min(chamfer, 0.45 * length, 0.7 * least)
    axis = unit(end - start)
    x = across(axis, up)
    y = np.cross(axis, x)
    h0, h1 = np.asarray(half0, np.float64), np.asarray(half1, np.float64)
    profile = [(0.0, h0 - chamfer), (chamfer, h0), (length - chamfer, h1), (length, h1 - chamfer)]
    if chamfer <= 0:
        profile = [(0.0, h0), (length, h1)]
    rings = []
    for along, half in profile:
        flat = section(half, power, count)
        rings.append(start + along * axis + flat[:, :1] * x + flat[:, 1:] * y)
    if chamfer > 0:
        rings = [rings[0], rings[1], rings[1], rings[2], rings[2], rings[3]]
    return loft(np.array(rings))


def lathe(start: Points, axis: Points, profile: Sequence[tuple[float, float]], count: int = 22) -> Mesh:
    """A body of revolution about ``axis`` through ``start``: ``profile`` holds (distance along it, radius)."""
    axis = unit(axis)
    x = across(axis, (0.3, 0.5, 0.7))
    y = np.cross(axis, x)
    flat = section((1.0, 1.0), 2.0, count)
    circle = flat[:, :1] * x + flat[:, 1:] * y
    rings = []
    for i, (along, radius) in enumerate(profile):
        ring = np.asarray(start, np.float64) + along * axis + max(radius, 1e-4) * circle
        rings.append(ring)
        if 0 < i < len(profile) - 1:
            before = np.subtract(profile[i], profile[i - 1])
            after = np.subtract(profile[i + 1], profile[i])
            if np.dot(unit([*before, 0]), unit([*after, 0])) < 0.8:
                rings.append(ring)
    return loft(np.array(rings))


def bezier(points: Sequence[Points], count: int) -> Vector:
    """Points [count, 3] on the Bezier curve with two to four control points."""
    level = np.repeat(np.asarray(points, np.float64)[None], count, axis=0)
    t = np.linspace(0, 1, count)[:, None, None]
    while level.shape[1] > 1:
        level = (1 - t) * level[:, :-1] + t * level[:, 1:]
    return np.asarray(level[:, 0])


class Builder:
    """Puts shapes on bodies of ``spec``.  Nothing collides; names of meshes and materials begin with ``prefix``."""

    def __init__(self, spec: mujoco.MjSpec, rng: np.random.Generator, prefix: str = "") -> None:
        self.spec, self.rng, self.prefix, self._count = spec, rng, prefix, 0
        for role in ROLES:
            spec.add_material(name=prefix + role, rgba=[0.6, 0.6, 0.6, 1], specular=0.4, shininess=0.5)

    def chance(self, share: float) -> bool:
        """True with this probability."""
        return bool(self.rng.random() < share)

    def between(self, low: float, high: float) -> float:
        """A uniform number."""
        return float(self.rng.uniform(low, high))

    def _geom(self, body: mujoco.MjsBody, role: str, **options: object) -> None:
        body.add_geom(material=self.prefix + role, contype=0, conaffinity=0, density=1.0, **options)

    def mesh(self, body: mujoco.MjsBody, shape: Mesh, role: str) -> None:
        """A mesh in the body's frame."""
        self._count += 1
        name = f"{self.prefix}made_{self._count}"
        self.spec.add_mesh(
            name=name,
            uservert=shape.vertices.ravel(),
            userface=shape.faces.ravel(),
            inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL,
        )
        self._geom(body, role, type=GEOM.mjGEOM_MESH, meshname=name)

    def rod(
        self, body: mujoco.MjsBody, start: Points, end: Points, radius: float, role: str, round_: bool = False
    ) -> None:
        """A cylinder, or a capsule."""
        if np.linalg.norm(np.subtract(end, start)) < 1e-4:
            return
        kind = GEOM.mjGEOM_CAPSULE if round_ else GEOM.mjGEOM_CYLINDER
        self._geom(body, role, type=kind, size=[radius, 0, 0], fromto=[*map(float, start), *map(float, end)])

    def ball(self, body: mujoco.MjsBody, centre: Points, radius: float, role: str) -> None:
        """A sphere."""
        self._geom(body, role, type=GEOM.mjGEOM_SPHERE, size=[radius, 0, 0], pos=[float(v) for v in centre])

    def box(self, body: mujoco.MjsBody, centre: Points, half: Points, role: str) -> None:
        """A sharp box along the body's axes."""
        size = [max(1e-4, float(v)) for v in half]
        self._geom(body, role, type=GEOM.mjGEOM_BOX, size=size, pos=[float(v) for v in centre])

    def block(
        self, body: mujoco.MjsBody, centre: Points, half: Points, role: str, power: float = 7.0, edge: float = 0.15
    ) -> None:
        """A box along the body's axes with rounded edges; ``edge`` is the chamfer as a share of the smallest half."""
        c, h = np.asarray(centre, np.float64), np.asarray(half, np.float64)
        top = np.array([0.0, 0.0, h[2]])
        shape = solid(c - top, c + top, h[:2], h[:2], (1.0, 0.0, 0.0), power, edge * float(h.min()))
        self.mesh(body, shape, role)
