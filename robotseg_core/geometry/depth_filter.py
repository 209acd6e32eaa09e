# SPDX-License-Identifier: Apache-2.0
"""Cut the robot out of a depth image that is aligned with the segmented camera image.

Depth is uint16 in millimetres, where 0 says nothing, or float32 in metres, where NaN, infinity and what is not above 0
say nothing (REP 118).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from robotseg_core.geometry.camera import Camera, CameraError

Depth = NDArray[np.uint16] | NDArray[np.float32]

MAX_STRETCH = 0.02
"""How much the two scale factors of a mask may differ before it is taken for one of another picture."""


@dataclass(frozen=True)
class FilteredDepth:
    """A depth image without the robot.

    Attributes:
        depth: [H, W], of the type given; 0 (uint16) or NaN (float32) where the robot was.
        unknown: [H, W] uint8, 255 where ``depth`` says nothing: the robot was there, or nothing was measured.
    """

    depth: Depth
    unknown: NDArray[np.uint8]


def measured(depth: Depth) -> NDArray[np.bool_]:
    """[H, W] bool: where a depth image says something."""
    if depth.dtype == np.uint16:
        return np.asarray(depth > 0)
    # NaN is not above 0.
    return np.asarray((depth > 0) & (depth < np.inf))


def fit_mask(mask: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Scale a mask [h, w] to [height, width] by the nearest pixel.

    Raises:
        ValueError: the mask is of another aspect ratio, so it cannot be of the same view.
    """
    if mask.shape == (height, width):
        return mask
    across, down = width / mask.shape[1], height / mask.shape[0]
    if abs(across / down - 1) > MAX_STRETCH:
        raise ValueError(
            f"mask is {mask.shape[1]} x {mask.shape[0]}, depth is {width} x {height}: not the same view, "
            "the depth must be aligned with the segmented camera"
        )
    return np.asarray(cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST_EXACT), dtype=np.uint8)


def grow(mask: NDArray[np.uint8], margin: int) -> NDArray[np.uint8]:
    """Grow a mask [H, W] by ``margin`` pixels in every direction (a disc)."""
    if margin == 0:
        return mask
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin + 1, 2 * margin + 1))
    return np.asarray(cv2.dilate(mask, disc), dtype=np.uint8)


def cut_out(depth: Depth, mask: NDArray[np.uint8] | None, margin: int = 0) -> FilteredDepth:
    """Take the robot out of a depth image.

    Args:
        depth: [H, W] uint16 (mm) or float32 (m), left unchanged.
        mask: [h, w] uint8 of the robot, not 0 on the robot; scaled to the depth where its size is another.  None says
            that it is not known where the robot is: then nothing is known of any pixel.
        margin: by how many pixels of the depth image the mask is grown.

    Raises:
        ValueError: the mask is of another aspect ratio.
    """
    nothing = np.uint16(0) if depth.dtype == np.uint16 else np.float32(np.nan)
    if mask is None:
        return FilteredDepth(np.full_like(depth, nothing), np.full(depth.shape, 255, np.uint8))
    robot = grow(fit_mask(mask, *depth.shape), margin) > 0
    filtered = depth.copy()
    filtered[robot] = nothing
    unknown = np.where(measured(filtered), np.uint8(0), np.uint8(255))
    return FilteredDepth(filtered, unknown)


def to_points(depth: Depth, camera: Camera) -> NDArray[np.float32]:
    """Points of a depth image in the camera's optical frame.

    Args:
        depth: [H, W] uint16 (mm) or float32 (m), along the optical axis.
        camera: of images of that size.

    Returns:
        [H, W, 3] float32 x, y, z in metres; all NaN where nothing was measured.

    Raises:
        CameraError: the camera's images are of another size.
    """
    if depth.shape != (camera.height, camera.width):
        raise CameraError(
            f"camera_info is of {camera.width} x {camera.height} images, depth is {depth.shape[1]} x {depth.shape[0]}"
        )
    z = depth.astype(np.float32)
    if depth.dtype == np.uint16:
        z *= np.float32(1e-3)
    z[~measured(depth)] = np.nan
    points = np.empty((*depth.shape, 3), np.float32)
    np.multiply(camera.rays, z[..., None], out=points[..., :2])
    points[..., 2] = z
    return points
