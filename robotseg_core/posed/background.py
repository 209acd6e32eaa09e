# SPDX-License-Identifier: Apache-2.0
"""What a resting camera sees behind the robot: a picture without it, and surfaces from depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from robotseg_core.geometry.camera import Camera
from robotseg_core.geometry.depth_filter import Depth, measured
from robotseg_core.posed.robot import Pose

MARGIN = 5
"""Pixels by which masks are grown before what lies beside them is taken for background."""
COLUMNS = 200
"""Most columns of a surface's grid."""
TEAR = 0.05
"""Relative step of depth at which a surface is torn."""
INPAINT_WIDTH = 480
"""Where no frame shows the background it is painted in at this width: a guess needs no more."""


@dataclass(frozen=True)
class Surface:
    """A surface seen by the camera, with the place of each corner in the picture.

    Attributes:
        points: [n, 3] metres, in the world.
        texture: [n, 2] shares of the picture's width and height, (0, 0) at the lower left.
        faces: [m, 3] indices, facing the camera.
    """

    points: NDArray[np.float64]
    texture: NDArray[np.float64]
    faces: NDArray[np.int64]

    def obj(self) -> str:
        """As a Wavefront OBJ file."""
        lines = [f"v {x:.5f} {y:.5f} {z:.5f}" for x, y, z in self.points]
        lines += [f"vt {u:.5f} {v:.5f}" for u, v in self.texture]
        lines += [f"f {a}/{a} {b}/{b} {c}/{c}" for a, b, c in (self.faces + 1).tolist()]
        return "\n".join(lines) + "\n"


def empty_picture(
    pictures: Sequence[NDArray[np.uint8]], masks: Sequence[NDArray[np.bool_]]
) -> tuple[NDArray[np.uint8], float]:
    """The picture without the robot: of each pixel the median of the frames that do not show the robot there.

    Args:
        pictures: [H, W, 3] uint8 of one resting camera.
        masks: [H, W] bool of the robot.

    Returns:
        [H, W, 3] uint8, and the share of its pixels that no frame shows, which are painted in from beside them.
    """
    kernel = np.ones((2 * MARGIN + 1, 2 * MARGIN + 1), np.uint8)
    free = np.stack([cv2.dilate(m.astype(np.uint8), kernel) == 0 for m in masks])
    never = np.asarray(~free.any(axis=0), bool)
    height, width = masks[0].shape
    out: NDArray[np.uint8] = np.empty((height, width, 3), np.uint8)
    for row in range(height):  # Row by row: all frames at once as floats would fill the memory.
        line = np.stack([p[row] for p in pictures]).astype(np.float32)
        line[~free[:, row]] = np.nan
        line[:, never[row]] = 0
        out[row] = np.nanmedian(line, axis=0)
    if never.any():
        size = (min(width, INPAINT_WIDTH), max(1, round(height * min(width, INPAINT_WIDTH) / width)))
        small = cv2.resize(out, size, interpolation=cv2.INTER_AREA)
        hole = cv2.resize(never.astype(np.uint8) * np.uint8(255), size, interpolation=cv2.INTER_AREA) > 0
        guess = cv2.inpaint(small, hole.astype(np.uint8), 3, cv2.INPAINT_TELEA)
        out[never] = np.asarray(cv2.resize(guess, (width, height), interpolation=cv2.INTER_LINEAR))[never]
    return out, float(never.mean())


def empty_depth(depths: Sequence[Depth], masks: Sequence[NDArray[np.bool_]]) -> NDArray[np.float32]:
    """Metres to what is behind the robot, [H, W] float32: the median of the frames that measured it, 0 for none."""
    kernel = np.ones((2 * MARGIN + 1, 2 * MARGIN + 1), np.uint8)
    free = [(cv2.dilate(m.astype(np.uint8), kernel) == 0) & measured(d) for m, d in zip(masks, depths, strict=True)]
    height, width = masks[0].shape
    out: NDArray[np.float32] = np.zeros((height, width), np.float32)
    for row in range(height):
        line = np.stack([metres(d[row]) for d in depths])
        known = np.stack([f[row] for f in free])
        line[~known] = np.nan
        some = known.any(0)
        out[row, some] = np.nanmedian(line[:, some], axis=0)
    return out


def metres(depth: Depth) -> NDArray[np.float32]:
    """A depth image, or a part of it, in metres, float32."""
    scale = np.float32(1e-3 if depth.dtype == np.uint16 else 1)
    return np.asarray(depth.astype(np.float32) * scale)


def surface(depth: NDArray[np.float32], camera: Camera, pose: Pose, inside: NDArray[np.bool_] | None = None) -> Surface:
    """The surface that a depth image shows, torn where depth steps and open where nothing was measured.

    Args:
        depth: [H, W] float32 metres, 0 where nothing was measured.
        camera: rectified, of pictures of that size.
        pose: of its optical frame in the world.
        inside: [H, W] bool, the pixels that count; None for all.

    Returns:
        the surface; without faces where nothing was measured.
    """
    height, width = depth.shape
    step = max(1, -(-width // COLUMNS))
    rows, columns = np.arange(step // 2, height, step), np.arange(step // 2, width, step)
    z = depth[np.ix_(rows, columns)].astype(np.float64)
    good = np.isfinite(z) & (z > 0)
    if inside is not None:
        good &= inside[np.ix_(rows, columns)]
    z = np.where(good, z, 1.0)
    x = (columns[None] - camera.cx) / camera.fx * z
    y = (rows[:, None] - camera.cy) / camera.fy * z
    points = np.stack([x, y, z], axis=-1).reshape(-1, 3) @ pose[:3, :3].T + pose[:3, 3]
    u, v = np.meshgrid((columns + 0.5) / width, 1 - (rows + 0.5) / height)
    number = np.arange(z.size).reshape(z.shape)
    corners = [number[:-1, :-1], number[1:, :-1], number[1:, 1:], number[:-1, 1:]]
    depths = np.stack([z[:-1, :-1], z[1:, :-1], z[1:, 1:], z[:-1, 1:]])
    whole = good[:-1, :-1] & good[1:, :-1] & good[1:, 1:] & good[:-1, 1:]
    whole &= depths.max(0) - depths.min(0) < TEAR * depths.min(0)
    a, b, c, d = (corner[whole] for corner in corners)
    faces = np.concatenate([np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)]).astype(np.int64)
    used, renumbered = np.unique(faces, return_inverse=True)
    texture = np.stack([u.ravel(), v.ravel()], axis=1)
    return Surface(points[used], texture[used], renumbered.reshape(-1, 3))


def board(distance: float, camera: Camera, pose: Pose) -> Surface:
    """A flat picture that fills the camera's view at a distance along its axis, metres."""
    across = np.array([-0.5, camera.width - 0.5])
    down = np.array([-0.5, camera.height - 0.5])
    corners = [(across[i], down[j]) for j in (0, 1) for i in (0, 1)]
    flat = [
        ((x - camera.cx) / camera.fx * distance, (y - camera.cy) / camera.fy * distance, distance) for x, y in corners
    ]
    points = np.array(flat) @ pose[:3, :3].T + pose[:3, 3]
    texture = np.array([[0.0, 1.0], [1.0, 1.0], [0.0, 0.0], [1.0, 0.0]])
    return Surface(points, texture, np.array([[0, 2, 3], [0, 3, 1]], np.int64))


def cloud_ply(surface_points: NDArray[np.float64], colours: NDArray[np.uint8]) -> bytes:
    """Points [n, 3] in metres with colours [n, 3] RGB as a binary PLY file."""
    head = (
        f"ply\nformat binary_little_endian 1.0\nelement vertex {len(surface_points)}\n"
        "property float x\nproperty float y\nproperty float z\n"
        "property uchar red\nproperty uchar green\nproperty uchar blue\nend_header\n"
    )
    rows = np.empty(len(surface_points), [("xyz", "<f4", 3), ("rgb", "u1", 3)])
    rows["xyz"], rows["rgb"] = surface_points, colours
    return head.encode() + rows.tobytes()
