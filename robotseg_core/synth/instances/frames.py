# SPDX-License-Identifier: Apache-2.0
"""Where everything is in one frame: boxes of what is seen, positions, the camera, the grippers."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from robotseg_core.synth.instances.records import CameraRecord, FrameRecord, GripperState, Seen, Vec
from robotseg_core.synth.instances.registry import Registry
from robotseg_core.synth.scenes.scene import Scene

CORNERS = np.array([[i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)], np.float64)
NEAR = 0.01
"""Metres before the camera below which a point cannot be projected."""


def _vec(values: NDArray[np.floating], digits: int = 4) -> Vec:
    return tuple(round(float(v), digits) for v in values)


def describe_camera(scene: Scene, size: tuple[int, int]) -> CameraRecord:
    """The scene's camera as it is now; ``size`` (width, height) in pixels, whose middle is the principal point."""
    position = scene.data.cam_xpos[scene.camera]
    turn = scene.data.cam_xmat[scene.camera].reshape(3, 3) * np.array([1.0, -1.0, -1.0])  # y down, z forward
    fovy = float(scene.model.cam_fovy[scene.camera])
    focal = size[1] / 2 / np.tan(np.deg2rad(fovy) / 2)
    rows = (_vec(turn[0], 6), _vec(turn[1], 6), _vec(turn[2], 6))
    return CameraRecord(_vec(position), rows, round(fovy, 4), _vec(np.array([focal, focal, size[0] / 2, size[1] / 2])))


def find_boxes(ids: NDArray[np.uint16], count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """What is seen of the leaves 1 to ``count`` in ``ids`` [H, W].

    Returns:
        boxes [count, 4] in pixels (x0, y0, x1, y1, ends exclusive; all 0 where nothing is seen), areas [count].
    """
    area = np.bincount(ids.ravel(), minlength=count + 1)[1 : count + 1]
    boxes = np.zeros((count, 4), np.int64)
    for leaf in np.flatnonzero(area):
        x, y, w, h = cv2.boundingRect((ids == leaf + 1).view(np.uint8))
        boxes[leaf] = (x, y, x + w, y + h)
    return boxes, area


def describe_frame(scene: Scene, registry: Registry, ids: NDArray[np.uint16]) -> FrameRecord:
    """The frame just drawn; the scene must still be posed as it was.

    Args:
        ids: [H, W] the frame's leaves.
    """
    model, data = scene.model, scene.data
    height, width = ids.shape
    camera = describe_camera(scene, (width, height))
    count = len(registry.record.instances)
    grippers = tuple(_state(scene, registry, k) for k in range(len(registry.grippers)))
    if not count:
        return FrameRecord(camera, grippers, {})
    geoms, starts = registry.geoms, registry.starts
    box = model.geom_aabb[geoms]
    local = box[:, None, :3] + CORNERS[None] * box[:, None, 3:]
    turn = data.geom_xmat[geoms].reshape(-1, 3, 3)
    world = local @ turn.transpose(0, 2, 1) + data.geom_xpos[geoms][:, None]
    middle = world.mean(axis=1)
    middle = np.add.reduceat(middle, starts) / np.diff([*starts, len(geoms)])[:, None]
    rotation = scene.data.cam_xmat[scene.camera].reshape(3, 3) * np.array([1.0, -1.0, -1.0])
    origin = data.cam_xpos[scene.camera]
    seen = (world - origin) @ rotation
    fx, fy, cx, cy = camera.intrinsics
    depth = np.maximum(seen[..., 2], NEAR)
    u, v = fx * seen[..., 0] / depth + cx, fy * seen[..., 1] / depth + cy
    low = np.minimum.reduceat(np.stack([u.min(axis=1), v.min(axis=1)], axis=1), starts)
    high = np.maximum.reduceat(np.stack([u.max(axis=1), v.max(axis=1)], axis=1), starts)
    behind = np.minimum.reduceat(seen[..., 2].min(axis=1), starts) < NEAR
    in_camera = (middle - origin) @ rotation
    boxes, areas = find_boxes(ids, count)
    found = {}
    for k, instance in enumerate(registry.record.instances):
        x0, y0, x1, y1 = (float(b) for b in boxes[k])
        full = None
        if not behind[k]:
            a, b = _vec(low[k], 1), _vec(high[k], 1)
            full = (a[0], a[1], b[0], b[1])
        area = int(areas[k])
        found[instance.id] = Seen((x0, y0, x1, y1) if area else None, area, _vec(middle[k]), _vec(in_camera[k]), full)
    return FrameRecord(camera, grippers, found)


def _state(scene: Scene, registry: Registry, number: int) -> GripperState:
    robot, root = registry.grippers[number]
    own = robot.grip_group == robot.gripper_roots.index(root)
    way = (robot.grip_open - robot.grip_closed)[own]
    moving = np.abs(way) > 1e-4
    opening = None
    if moving.any():
        value = (scene.data.qpos[robot.grip_qadr[own]] - robot.grip_closed[own])[moving] / way[moving]
        opening = round(float(np.clip(value.mean(), 0, 1)), 3)
    return GripperState(number, _vec(scene.data.xpos[root]), opening)
