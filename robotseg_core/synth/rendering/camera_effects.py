# SPDX-License-Identifier: Apache-2.0
"""What a camera does to a picture: exposure, colour cast, softness, noise, JPEG."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class CameraLook:
    """Settings that stay the same through a video.

    Attributes:
        gain: [3] factor on red, green and blue.
        gamma: exponent of the tone curve.
        blur: standard deviation of the lens' softness, pixels.
        noise: standard deviation of the grain, grey levels.
        coarse: the grain is this many pixels wide.
        vignette: how much darker the corners are, 0 to 1.
        detail: share of the pixels' rows and columns that the sensor has, 0 to 1.
        jpeg: quality, 1 to 100.
    """

    gain: tuple[float, float, float]
    gamma: float
    blur: float
    noise: float
    coarse: int
    vignette: float
    detail: float
    jpeg: int

    @staticmethod
    def sample(rng: np.random.Generator) -> CameraLook:
        """Random settings, mild most of the time."""
        warm, green = rng.normal(0, 0.05), rng.normal(0, 0.02)
        level = rng.uniform(0.85, 1.15)
        return CameraLook(
            gain=(float(level * (1 + warm)), float(level * (1 + green)), float(level * (1 - warm))),
            gamma=float(np.exp(rng.normal(0, 0.15))),
            blur=float(rng.uniform(0.4, 1.3)) if rng.random() < 0.35 else 0.0,
            noise=float(rng.exponential(3.0)),
            coarse=int(rng.integers(1, 3)),
            vignette=float(rng.uniform(0, 0.3)) if rng.random() < 0.4 else 0.0,
            detail=float(rng.uniform(0.35, 0.9)) if rng.random() < 0.25 else 1.0,
            jpeg=int(rng.integers(60, 97)) if rng.random() < 0.8 else int(rng.integers(25, 60)),
        )

    def apply(self, rgb: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """The picture [H, W, 3] uint8 as this camera would give it; ``rng`` draws the grain."""
        height, width = rgb.shape[:2]
        out: NDArray = (rgb.astype(np.float32) / 255) ** self.gamma * np.array(self.gain, np.float32)
        over = out > 0.85  # a soft shoulder, so that highlights do not clip to flat white
        out = np.where(over, 0.85 + 0.15 * np.tanh((out - 0.85) / 0.3), out)
        if self.detail < 1:
            few = (max(8, round(width * self.detail)), max(8, round(height * self.detail)))
            out = cv2.resize(cv2.resize(out, few, interpolation=cv2.INTER_AREA), (width, height))
        if self.blur > 0:
            out = cv2.GaussianBlur(out, (0, 0), self.blur)
        if self.vignette > 0:
            y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
            out = out * (1 - self.vignette * (x * x + y * y) / 2)[..., None]
        grain = rng.normal(0, self.noise / 255, (-(-height // self.coarse), -(-width // self.coarse), 3))
        wide = np.repeat(np.repeat(grain, self.coarse, axis=0), self.coarse, axis=1)[:height, :width]
        return np.clip(np.rint(255 * (out + wide)), 0, 255).astype(np.uint8)
