# SPDX-License-Identifier: Apache-2.0
"""Smooth motion of joints and cameras, stated in frames."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robotseg_core.synth.robots.robot import GRIPPER
from robotseg_core.synth.scenes.scene import Scene, update
from robotseg_core.synth.scenes.views import geom_points, pose_robot

Path_ = NDArray[np.float64]


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


def swept_points(scene: Scene, path: Path_, every: int = 6) -> Path_:
    """Points of all robots along ``path``, metres in the world, [n, 3]."""
    out = [np.zeros((0, 3))]
    for qpos in path[::every]:
        scene.data.qpos[:] = qpos
        update(scene)
        out += [geom_points(scene, r.geoms, inner=True) for r in scene.robots]
    return np.concatenate(out)
