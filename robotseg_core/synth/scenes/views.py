# SPDX-License-Identifier: Apache-2.0
"""Where the robot stands and where the camera looks from."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

from robotseg_core.synth.robots.robot import GRIPPER, Robot
from robotseg_core.synth.robots.shapes import unit
from robotseg_core.synth.scenes.scene import Scene, update

Vector = NDArray[np.float64]


class View(enum.Enum):
    """Kinds of camera."""

    FAR = "far"
    NEAR = "near"
    SHOULDER = "shoulder"
    ABOVE = "above"
    CROPPED = "cropped"
    WRIST = "wrist"
    THINGS = "things"


VIEW_WEIGHTS: dict[View, float] = {
    View.FAR: 0.24,
    View.NEAR: 0.26,
    View.SHOULDER: 0.10,
    View.ABOVE: 0.08,
    View.CROPPED: 0.12,
    View.WRIST: 0.20,
}


@dataclass(frozen=True)
class CameraPose:
    """A camera: position in metres, orientation w x y z (looks along its -z, y up), vertical field of view, degrees."""

    pos: Vector
    quat: Vector
    fovy: float

    def apply(self, scene: Scene) -> None:
        """Put the scene's camera there."""
        scene.model.cam_pos[scene.camera] = self.pos
        scene.model.cam_quat[scene.camera] = self.quat
        scene.model.cam_fovy[scene.camera] = self.fovy
        mujoco.mj_camlight(scene.model, scene.data)


def look_at(pos: Vector, target: Vector, up: Vector, roll: float, fovy: float) -> CameraPose:
    """A camera at ``pos`` [3] that looks at ``target`` [3], both in metres in the world, turned by ``roll`` radians."""
    z = unit(pos - target)
    x = np.cross(up, z)
    if np.linalg.norm(x) < 1e-3:
        x = np.cross(np.array([1.0, 0.0, 0.0]) if abs(z[0]) < 0.9 else np.array([0.0, 1.0, 0.0]), z)
    x = unit(x)
    y = np.cross(z, x)
    c, s = np.cos(roll), np.sin(roll)
    matrix = np.stack([c * x + s * y, c * y - s * x, z], axis=1)
    quat = np.zeros(4)
    mujoco.mju_mat2Quat(quat, matrix.flatten())
    return CameraPose(np.asarray(pos, np.float64), quat, fovy)


@dataclass(frozen=True)
class Extent:
    """Where a posed robot is, metres in the world.

    Attributes:
        centre: [3] middle of its box.
        radius: half of its box's diagonal.
        base: [3] its mount.
        grips: per gripper (root position, tip position, sideways direction in which the fingers open).
    """

    centre: Vector
    radius: float
    base: Vector
    grips: tuple[tuple[Vector, Vector, Vector], ...]


def geom_points(scene: Scene, geoms: NDArray[np.int64], inner: bool = False) -> Vector:
    """Corners of the geoms' boxes in the world, [8 n, 3]; with ``inner`` a grid of 27 points in each box."""
    model, data = scene.model, scene.data
    side = (-1, 0, 1) if inner else (-1, 1)
    corner = np.array([[i, j, k] for i in side for j in side for k in side], np.float64)
    box = model.geom_aabb[geoms]
    local = box[:, None, :3] + corner[None] * box[:, None, 3:]
    rot = data.geom_xmat[geoms].reshape(-1, 3, 3)
    return np.asarray((local @ rot.transpose(0, 2, 1) + data.geom_xpos[geoms][:, None]).reshape(-1, 3))


def measure(scene: Scene, robot: Robot) -> Extent:
    """Measure the robot as posed now (positions must be up to date)."""
    model, data = scene.model, scene.data
    points = geom_points(scene, robot.geoms)
    low, high = points.min(axis=0), points.max(axis=0)
    grips = []
    for root in robot.gripper_roots:
        inside = []
        for g in robot.geoms:
            body = model.geom_bodyid[g]
            while body > 0 and body != root:
                body = model.body_parentid[body]
            if body == root:
                inside.append(int(g))
        corners = geom_points(scene, np.array(inside, np.int64))
        start = data.xpos[root].copy()
        parent = data.xpos[model.body_parentid[root]]
        axis = corners.mean(axis=0) - start
        axis = unit(axis if np.linalg.norm(axis) > 0.01 else start - parent)
        along = (corners - start) @ axis
        tip = start + axis * float(np.percentile(along, 90))
        flat = (corners - start) - along[:, None] * axis
        spread = np.linalg.svd(flat - flat.mean(axis=0), full_matrices=False)[2][0]
        grips.append((start, tip, unit(spread - (spread @ axis) * axis)))
    return Extent((low + high) / 2, float(np.linalg.norm(high - low) / 2), data.xpos[robot.mount].copy(), tuple(grips))


def join_extents(extents: Sequence[Extent]) -> Extent:
    """Several robots as one: the box around all of them (a little closer), the first one's mount, all grippers."""
    if len(extents) == 1:
        return extents[0]
    reach = [np.full(3, e.radius / np.sqrt(3)) for e in extents]
    low = np.min([e.centre - r for e, r in zip(extents, reach, strict=True)], axis=0)
    high = np.max([e.centre + r for e, r in zip(extents, reach, strict=True)], axis=0)
    grips = tuple(grip for e in extents for grip in e.grips)
    return Extent((low + high) / 2, 0.4 * float(np.linalg.norm(high - low)), extents[0].base, grips)


def pose_robot(scene: Scene, robot: Robot, rng: np.random.Generator, tries: int = 12) -> Extent:
    """Sample joint positions that keep the gripper above the mount and away from the robot's base."""
    width = float(rng.choice([0.6, 1.0, 1.4], p=[0.3, 0.5, 0.2]))
    extent = None
    for _ in range(tries):
        robot.sample_qpos(rng, scene.data.qpos, width)
        update(scene)
        extent = measure(scene, robot)
        hand = geom_points(scene, robot.geoms[robot.labels == GRIPPER])
        if hand[:, 2].min() < extent.base[2] + 0.01:
            continue
        reach = min(float(np.linalg.norm((tip - extent.base)[:2])) for _, tip, _ in extent.grips)
        if robot.mobile or len(extent.grips) > 1 or reach > 0.25 * extent.radius:
            break
    assert extent is not None
    return extent


def lens(rng: np.random.Generator) -> float:
    """A vertical field of view, degrees: mostly ordinary, some long and wide lenses."""
    kind = rng.random()
    low, high = (14, 32) if kind < 0.12 else (68, 100) if kind < 0.28 else (32, 68)
    return float(rng.uniform(low, high))


def third_person(view: View, extent: Extent, rng: np.random.Generator) -> CameraPose:
    """A camera of kind ``view`` (not WRIST) somewhere around the robot."""
    root, tip, _ = extent.grips[int(rng.integers(len(extent.grips)))]
    hand = (root + tip) / 2
    fovy = lens(rng)
    roll = float(rng.normal(0, 0.06)) if rng.random() > 0.05 else float(rng.uniform(-np.pi, np.pi))
    azimuth = rng.uniform(0, 2 * np.pi)
    elevation = np.deg2rad(rng.uniform(-8, 55))
    size = extent.radius
    mix = 0.0
    if view is View.FAR:
        mix, dist = rng.uniform(0, 0.3), size * rng.uniform(0.85, 1.7)
    elif view is View.NEAR:
        mix, dist = rng.uniform(0.6, 1.0), size * rng.uniform(0.35, 0.9)
    elif view is View.CROPPED:
        mix, dist = rng.uniform(0.0, 1.0), size * rng.uniform(0.35, 1.1)
    elif view is View.ABOVE:
        mix, dist = rng.uniform(0.2, 1.0), size * rng.uniform(0.7, 1.5)
        elevation = np.deg2rad(rng.uniform(58, 89))
    else:
        mix, dist = rng.uniform(0.5, 1.0), size * rng.uniform(0.7, 1.3)
        ahead = hand - extent.base
        azimuth = np.arctan2(ahead[1], ahead[0]) + np.pi + rng.normal(0, 0.5)
        elevation = np.deg2rad(rng.uniform(20, 60))
    target = extent.centre * (1 - mix) + hand * mix
    dist = max(0.25, float(dist) / np.tan(np.deg2rad(fovy) / 2) * 0.8)
    side = 0.12 if view is not View.CROPPED else 0.45
    target = target + rng.normal(0, side, 3) * dist * np.tan(np.deg2rad(fovy) / 2)
    away = np.array(
        [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)], np.float64
    )
    return look_at(target + away * dist, target, np.array([0.0, 0.0, 1.0]), roll, fovy)


def wrist_view(extent: Extent, rng: np.random.Generator) -> CameraPose:
    """A camera fixed beside the gripper's root, which looks along the fingers."""
    root, tip, opening = extent.grips[int(rng.integers(len(extent.grips)))]
    axis = unit(tip - root)
    side = unit(np.cross(axis, opening))
    angle = rng.normal(0, 0.35) if rng.random() < 0.75 else rng.normal(np.pi / 2, 0.4)
    off = side * np.cos(angle) + opening * np.sin(angle)
    off = off * (1 if rng.random() < 0.5 else -1)
    length = max(0.08, float(np.linalg.norm(tip - root)))
    pos = root + off * rng.uniform(0.07, 0.14) + axis * rng.uniform(-0.6, 0.15) * length
    target = tip + axis * rng.uniform(-0.2, 1.2) * length + off * rng.uniform(-0.02, 0.05)
    target = target + rng.normal(0, 0.01, 3)
    up = off if rng.random() < 0.85 else -off
    return look_at(pos, target, up, float(rng.normal(0, 0.08)), float(rng.uniform(55, 95)))


def choose_view(rng: np.random.Generator) -> View:
    """A kind of camera, by VIEW_WEIGHTS."""
    kinds = list(VIEW_WEIGHTS)
    weight = np.array([VIEW_WEIGHTS[k] for k in kinds])
    return kinds[int(rng.choice(len(kinds), p=weight / weight.sum()))]
