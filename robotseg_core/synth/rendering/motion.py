# SPDX-License-Identifier: Apache-2.0
"""Smooth motion of joints and cameras, stated in frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robotseg_core.synth.robots.robot import GRIPPER
from robotseg_core.synth.scenes.scene import Scene, update
from robotseg_core.synth.scenes.views import geom_points, pose_robot

Path_ = NDArray[np.float64]


@dataclass(frozen=True)
class Mover:
    """A body fixed to the world whose place changes: a thing, or the mount of a robot that drives.

    Attributes:
        body: its id.
        pos: [frames, 3] metres in the world.
        quat: [frames, 4] w x y z.
    """

    body: int
    pos: NDArray[np.float64]
    quat: NDArray[np.float64]

    def apply(self, scene: Scene, time: float) -> None:
        """Put it where it is at ``time`` (in frames); update the scene afterwards."""
        low, high, part = _between(time, len(self.pos))
        scene.model.body_pos[self.body] = (1 - part) * self.pos[low] + part * self.pos[high]
        turn = self.quat[high] if self.quat[low] @ self.quat[high] >= 0 else -self.quat[high]
        quat = (1 - part) * self.quat[low] + part * turn
        scene.model.body_quat[self.body] = quat / np.linalg.norm(quat)


@dataclass(frozen=True)
class Motion:
    """All that moves in a video.

    Attributes:
        path: [frames, nq] joint positions.
        movers: bodies that move in the world.
    """

    path: NDArray[np.float64]
    movers: tuple[Mover, ...] = ()

    def __len__(self) -> int:
        return len(self.path)

    def apply(self, scene: Scene, time: float) -> None:
        """Pose the scene as it is at ``time`` (in frames, between frames too) and bring positions up to date."""
        low, high, part = _between(time, len(self.path))
        scene.data.qpos[:] = (1 - part) * self.path[low] + part * self.path[high]
        for mover in self.movers:
            mover.apply(scene, time)
        update(scene)


def _between(time: float, frames: int) -> tuple[int, int, float]:
    time = min(max(float(time), 0.0), frames - 1.0)
    low = min(int(time), max(0, frames - 2))
    return low, min(low + 1, frames - 1), time - low


def spline(points: Path_, at: NDArray[np.float64]) -> Path_:
    """A smooth curve through ``points`` [k, d] that rests at both ends, read at ``at`` [n] (0 to k - 1): [n, d]."""
    k = len(points)
    if k == 1:
        return np.repeat(points, len(at), axis=0)
    slope = np.zeros_like(points)
    slope[1:-1] = (points[2:] - points[:-2]) / 2
    at = np.clip(at, 0, k - 1)
    i = np.minimum(at.astype(int), k - 2)
    t = (at - i)[:, None]
    a, b, c, d = points[i], points[i + 1], slope[i], slope[i + 1]
    t2, t3 = t * t, t * t * t
    return np.asarray((2 * t3 - 3 * t2 + 1) * a + (t3 - 2 * t2 + t) * c + (3 * t2 - 2 * t3) * b + (t3 - t2) * d)


def joint_path(
    scene: Scene, rng: np.random.Generator, frames: int, segment: tuple[int, int] = (8, 40), tries: int = 8
) -> Path_:
    """Joint positions of all robots, [frames, nq]: from pose to pose, each move taking ``segment`` frames.

    Paths on which a gripper dips under its mount are drawn again, up to ``tries`` times.
    """
    path = np.zeros((frames, scene.model.nq))
    for _ in range(tries):
        step = int(rng.integers(segment[0], segment[1] + 1))
        stops = max(2, -(-frames // step) + 1)
        points = []
        for _ in range(stops):
            for robot in scene.robots:
                pose_robot(scene, robot, rng)
            points.append(scene.data.qpos.copy())
        shift = rng.uniform(0, 0.5) if stops > 2 else 0.0
        path = spline(np.array(points), np.arange(frames) / step + shift)
        if _clear(scene, path):
            break
    return path


def _clear(scene: Scene, path: Path_, every: int = 6) -> bool:
    for qpos in path[::every]:
        scene.data.qpos[:] = qpos
        update(scene)
        for robot in scene.robots:
            hand = geom_points(scene, robot.geoms[robot.labels == GRIPPER])
            if hand[:, 2].min() < scene.data.xpos[robot.mount][2]:
                return False
    return True


def swept_points(scene: Scene, motion: Motion, every: int = 6) -> Path_:
    """Points of all robots through ``motion``, metres in the world, [n, 3]."""
    out = [np.zeros((0, 3))]
    for frame in range(0, len(motion), every):
        motion.apply(scene, frame)
        out += [geom_points(scene, r.geoms, inner=True) for r in scene.robots]
    return np.concatenate(out)
