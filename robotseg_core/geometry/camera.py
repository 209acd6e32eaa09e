# SPDX-License-Identifier: Apache-2.0
"""A calibrated camera: from pixels to rays in its optical frame (x right, y down, z forward)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

DISTORTION_MODELS = ("plumb_bob", "rational_polynomial")
"""Models of ``sensor_msgs/CameraInfo`` that are understood: both are OpenCV's, the second has more coefficients."""
LENGTHS = (4, 5, 8, 12, 14)
"""Numbers of coefficients that OpenCV takes; those that a shorter list leaves out are 0."""


class CameraError(ValueError):
    """A calibration that cannot be used; the message names the value."""


@dataclass(frozen=True)
class Camera:
    """Pinhole camera with radial and tangential distortion, as OpenCV and ROS define it.

    Attributes:
        width, height: of its images, pixels.
        fx, fy: focal lengths, pixels.
        cx, cy: principal point, pixels; (0, 0) is the centre of the first pixel.
        distortion: coefficients in OpenCV's order; empty or all 0 for a rectified image.

    Raises:
        CameraError: a size or focal length is not positive, or a number is not finite.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise CameraError(f"camera is {self.width} x {self.height} pixels, each side must be at least 1")
        numbers = (self.fx, self.fy, self.cx, self.cy, *self.distortion)
        if not np.all(np.isfinite(numbers)) or self.fx <= 0 or self.fy <= 0:
            raise CameraError(
                f"camera has focal lengths {self.fx}, {self.fy} (an uncalibrated one has 0), must be above 0; "
                "all numbers must be finite"
            )

    @classmethod
    def from_matrix(
        cls, width: int, height: int, k: Sequence[float], model: str, distortion: Sequence[float]
    ) -> Camera:
        """Read what ``sensor_msgs/CameraInfo`` holds: K row by row, and D by the name of its model.

        Raises:
            CameraError: the calibration cannot be used.
        """
        used = opencv_distortion(model, distortion)
        if len(k) != 9:
            raise CameraError(f"camera matrix has {len(k)} numbers, must have 9")
        return cls(width, height, float(k[0]), float(k[4]), float(k[2]), float(k[5]), used)

    @cached_property
    def rays(self) -> NDArray[np.float32]:
        """[height, width, 2] float32: x / z and y / z of the ray through each pixel.  Computed once."""
        if any(self.distortion):
            columns, rows = np.meshgrid(np.arange(self.width), np.arange(self.height))
            pixels = np.stack([columns, rows], axis=-1).astype(np.float64)
            return self.normalise(pixels.reshape(-1, 2)).reshape(self.height, self.width, 2).astype(np.float32)
        rays = np.empty((self.height, self.width, 2), np.float32)
        rays[..., 0] = (np.arange(self.width) - self.cx) / self.fx
        rays[..., 1] = ((np.arange(self.height) - self.cy) / self.fy)[:, None]
        return rays

    def normalise(self, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
        """x / z and y / z of the rays through pixels [n, 2] (x, y) -> [n, 2].

        Raises:
            CameraError: the distortion has no inverse there.
        """
        matrix = np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]])
        points = np.asarray(pixels, np.float64).reshape(-1, 1, 2)
        coefficients = np.array(self.distortion) if any(self.distortion) else None
        rays = np.asarray(cv2.undistortPoints(points, matrix, coefficients), np.float64).reshape(-1, 2)
        if not np.isfinite(rays).all():
            raise CameraError(f"distortion {self.distortion} gives rays that are not finite; calibrate anew")
        return rays


def opencv_distortion(model: str, distortion: Sequence[float]) -> tuple[float, ...]:
    """The coefficients of ``sensor_msgs/CameraInfo`` as OpenCV takes them; none where all are 0.

    Drivers send plumb_bob with 8 coefficients, the last ones 0, or rational_polynomial with 5 or 14: the order is the
    same in all, so zeros at the end say nothing and what is left out at the end is 0.

    Raises:
        CameraError: another model, or fewer or more coefficients than OpenCV has.
    """
    used = [float(value) for value in distortion]
    while used and used[-1] == 0:
        used.pop()
    if not used:
        return ()
    if model not in DISTORTION_MODELS:
        raise CameraError(
            f"distortion model {model!r} is not one of {', '.join(DISTORTION_MODELS)}; rectify the images first"
        )
    if len(distortion) < LENGTHS[0] or len(used) > LENGTHS[-1]:
        raise CameraError(f"{model} distortion has {len(distortion)} coefficients, must have one of {LENGTHS}")
    length = next(length for length in LENGTHS if length >= len(used))
    return tuple(used + [0.0] * (length - len(used)))
