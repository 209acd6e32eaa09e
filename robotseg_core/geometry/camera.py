# SPDX-License-Identifier: Apache-2.0
"""A calibrated camera: from pixels to rays in its optical frame (x right, y down, z forward)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

DISTORTION_MODELS = {"": (0,), "plumb_bob": (0, 4, 5), "rational_polynomial": (0, 8)}
"""Models of ``sensor_msgs/CameraInfo`` that are understood, with how many coefficients each may have."""


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
        counts = DISTORTION_MODELS.get(model)
        if counts is None and any(distortion):
            known = ", ".join(name for name in DISTORTION_MODELS if name)
            raise CameraError(f"distortion model {model!r} is not one of {known}; rectify the images first")
        if len(k) != 9:
            raise CameraError(f"camera matrix has {len(k)} numbers, must have 9")
        if counts is not None and any(distortion) and len(distortion) not in counts:
            raise CameraError(
                f"{model or 'no'} distortion has {len(distortion)} coefficients, must have one of {counts}"
            )
        used = tuple(float(value) for value in distortion) if any(distortion) else ()
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
        """x / z and y / z of the rays through pixels [n, 2] (x, y) -> [n, 2]."""
        matrix = np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]])
        points = np.asarray(pixels, np.float64).reshape(-1, 1, 2)
        coefficients = np.array(self.distortion) if any(self.distortion) else None
        return np.asarray(cv2.undistortPoints(points, matrix, coefficients), np.float64).reshape(-1, 2)
