# SPDX-License-Identifier: Apache-2.0
"""Where a part is: in the image from its mask, in space from its mask and an aligned depth image.

Image pixels: x right, y down, (0, 0) is the centre of the first pixel.  Space: the camera's optical frame (x right,
y down, z forward), metres.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from robotseg_core.geometry.camera import Camera, CameraError
from robotseg_core.geometry.depth_filter import Depth, fit_mask, measured

PIXEL_VARIANCE = 1 / 12
"""Second moment of one pixel, a square: added, so that a line of pixels has a width."""
MAD_TO_SIGMA = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""


@dataclass(frozen=True)
class ImagePose:
    """A mask in numbers.

    Attributes:
        area: pixels.
        centroid: mean (x, y); NaN for an empty mask, as are the following numbers.
        roi: tight box (x, y, width, height); all 0 for an empty mask.
        axis_angle: of the principal axis, radians from x towards y, in (-pi/2, pi/2].  An axis has no direction.
        elongation: standard deviation along the axis over that across it, 1 or more; near 1 the angle means nothing.
        contour: [n, 2] int32 (x, y), outer contour of the largest piece, ends of straight runs only.
    """

    area: int
    centroid: tuple[float, float]
    roi: tuple[int, int, int, int]
    axis_angle: float
    elongation: float
    contour: NDArray[np.int32]

    @property
    def present(self) -> bool:
        """Whether the mask has any pixel."""
        return self.area > 0


NOWHERE = ImagePose(0, (math.nan, math.nan), (0, 0, 0, 0), math.nan, math.nan, np.empty((0, 2), np.int32))
"""Of an empty mask."""


def measure(mask: NDArray[np.uint8]) -> ImagePose:
    """Measure a mask [H, W] uint8, not 0 on the part."""
    moments = cv2.moments(mask, binaryImage=True)
    area = round(moments["m00"])
    if area == 0:
        return NOWHERE
    xx = moments["mu20"] / area + PIXEL_VARIANCE
    yy = moments["mu02"] / area + PIXEL_VARIANCE
    xy = moments["mu11"] / area
    angle = 0.5 * math.atan2(2 * xy, xx - yy)
    middle, half = (xx + yy) / 2, math.hypot((xx - yy) / 2, xy)
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    largest = max(contours, key=cv2.contourArea)
    x, y, width, height = cv2.boundingRect(mask)
    return ImagePose(
        area=area,
        centroid=(moments["m10"] / area, moments["m01"] / area),
        roi=(int(x), int(y), int(width), int(height)),
        axis_angle=angle if angle > -math.pi / 2 else math.pi / 2,
        elongation=math.sqrt((middle + half) / (middle - half)),
        contour=np.asarray(largest, np.int32).reshape(-1, 2),
    )


@dataclass(frozen=True)
class Uncertainty:
    """What is taken to be known of the errors.

    Attributes:
        depth_constant, depth_quadratic: standard deviation of a measured depth z is constant + quadratic * z * z, in
            metres; the second one in 1/m, as of a stereo camera.
        edge: standard deviation of the mask's edges, pixels: the whole mask may be off by so much at once.
        least_measured: share of the mask's pixels that must have a depth.
    """

    depth_constant: float = 0.001
    depth_quadratic: float = 0.002
    edge: float = 2.0
    least_measured: float = 0.2


@dataclass(frozen=True)
class Place:
    """Where a part is in the optical frame.

    Attributes:
        xyz: [3] metres: the ray through the mask's centroid, at the median depth of the mask.
        covariance: [3, 3] square metres.
    """

    xyz: NDArray[np.float64]
    covariance: NDArray[np.float64]


def locate(mask: NDArray[np.uint8], depth: Depth, camera: Camera, errors: Uncertainty) -> Place:
    """Find a part in space.

    The covariance is J diag(edge^2, edge^2, s^2) J^T, where J is the derivative of the point by the centroid's pixel
    and its depth, and s^2 the sum of two variances: the sensor's at that depth, and the robust spread of the depths on
    the mask (1.4826 x median absolute deviation, squared), because a point of a thick part is asked for and its
    front is all that is seen.  Neither is divided by the number of pixels: errors of neighbours are not independent.

    Args:
        mask: [h, w] uint8, not 0 on the part; scaled to the depth where its size is another.
        depth: [H, W] uint16 (mm) or float32 (m), aligned with the mask's camera.
        camera: of the depth image.
        errors: of depth and mask.

    Raises:
        ValueError: the mask is empty, of another aspect ratio, or has too little depth on it; the message says which.
        CameraError: the calibration is of another size.
    """
    if depth.shape != (camera.height, camera.width):
        raise CameraError(
            f"camera_info is of {camera.width} x {camera.height} images, depth is {depth.shape[1]} x {depth.shape[0]}"
        )
    part = fit_mask(mask, *depth.shape) > 0
    if not part.any():
        raise ValueError("the mask is empty")
    # Depth at the edge is the background's as often as not.
    reach = max(1, round(errors.edge))
    inner = cv2.erode(part.astype(np.uint8), np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)) > 0
    inner = inner if inner.any() else part
    values = depth[inner & measured(depth)].astype(np.float64) * (1e-3 if depth.dtype == np.uint16 else 1.0)
    least = errors.least_measured * np.count_nonzero(inner)
    if len(values) < max(1, least):
        raise ValueError(f"{len(values)} pixels inside the mask have a depth, {max(1, math.ceil(least))} are needed")
    z = float(np.median(values))
    spread = MAD_TO_SIGMA * float(np.median(np.abs(values - z)))
    noise = errors.depth_constant + errors.depth_quadratic * z * z
    rows, columns = np.nonzero(part)
    x, y = camera.normalise(np.array([[columns.mean(), rows.mean()]]))[0]
    jacobian = np.array([[z / camera.fx, 0, x], [0, z / camera.fy, y], [0, 0, 1]])
    scaled = jacobian * np.array([errors.edge, errors.edge, math.hypot(noise, spread)])
    return Place(np.array([x * z, y * z, z]), scaled @ scaled.T)
