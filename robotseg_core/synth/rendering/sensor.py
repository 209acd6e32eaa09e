# SPDX-License-Identifier: Apache-2.0
"""What happens to frames on the way from the sensor: rows read one after the other, and a video encoder.

Both are simulated, so that a seed gives the same frames whatever codecs a machine has.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from robotseg_core.synth.rendering.motion import spline
from robotseg_core.synth.rendering.render import Picture

BLOCK = 8


@dataclass(frozen=True)
class RollingShutter:
    """Sideways motion while the rows are read, as in a shaken camera: the picture is sheared and wavy.

    Attributes:
        skew: [frames] pixels from the first row to the last.
        wave: amplitude in pixels of a vibration seen along the rows.
        period: rows of one wave.
    """

    skew: NDArray[np.float64]
    wave: float
    period: float

    @staticmethod
    def sample(rng: np.random.Generator, frames: int, width: int) -> RollingShutter:
        """Random strength, a few hundredths of the picture's width."""
        knots = max(2, frames // 4 + 1)
        at = np.linspace(0, knots - 1, frames)
        skew = spline(rng.normal(0, 0.03 * width, (knots, 1)), at)[:, 0]
        wave = float(rng.uniform(0, 0.006) * width) if rng.random() < 0.4 else 0.0
        return RollingShutter(skew, wave, float(rng.uniform(0.1, 0.6) * width))

    def apply(self, picture: Picture, frame: int) -> Picture:
        """The picture and its labels as read row by row."""
        height, width = picture.label.shape
        y, x = np.mgrid[:height, :width].astype(np.float32)
        shift = self.skew[frame] * (y / height - 0.5)
        if self.wave > 0:
            shift += self.wave * np.sin(2 * np.pi * y / self.period + frame)
        source = (x + shift).astype(np.float32)
        edge = cv2.BORDER_REFLECT_101
        rgb = cv2.remap(picture.rgb, source, y, cv2.INTER_LINEAR, borderMode=edge)
        label, alpha = (
            cv2.remap(m, source, y, cv2.INTER_NEAREST, borderMode=edge) for m in (picture.label, picture.alpha)
        )
        ids, depth = (
            None if m is None else np.asarray(cv2.remap(m, source, y, cv2.INTER_NEAREST, borderMode=edge), np.uint16)
            for m in (picture.ids, picture.depth)
        )
        rgb, label, alpha = (np.asarray(m, np.uint8) for m in (rgb, label, alpha))
        return Picture(rgb, label, alpha, ids, depth)


class VideoCodec:
    """A coarse encoder: a frame is the one before plus a quantised difference, in blocks of 8x8, colour at half size.

    Args:
        step: quantiser step in grey levels; 4 is hardly seen, 40 shows blocks.
        key: a frame is coded by itself every ``key`` frames.
    """

    def __init__(self, step: float, key: int = 12) -> None:
        self.step, self.key, self._count = step, key, 0
        self._before: list[NDArray[np.float32]] = []
        row = np.arange(BLOCK)
        basis = np.cos((2 * row[None] + 1) * row[:, None] * np.pi / (2 * BLOCK)) * np.sqrt(2 / BLOCK)
        basis[0] /= np.sqrt(2)
        self._basis = basis.astype(np.float32)
        self._weight = (1 + 0.35 * (row[:, None] + row[None])).astype(np.float32)

    def apply(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The frame [H, W, 3] uint8 as a decoder gives it back; frames must come in order and be of one size."""
        height, width = rgb.shape[:2]
        planes = list(cv2.split(cv2.cvtColor(rgb, cv2.COLOR_RGB2YCrCb).astype(np.float32)))
        half = (-(-width // 2), -(-height // 2))
        planes[1:] = [cv2.resize(p, half, interpolation=cv2.INTER_AREA) for p in planes[1:]]
        if not self._before or self._count % self.key == 0:
            self._before = [np.full_like(p, 128) for p in planes]
        self._count += 1
        self._before = [b + self._code(p - b) for p, b in zip(planes, self._before, strict=True)]
        out = [self._before[0], *(cv2.resize(p, (width, height)) for p in self._before[1:])]
        image = np.clip(np.rint(cv2.merge(out)), 0, 255).astype(np.uint8)
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_YCrCb2RGB), np.uint8)

    def _code(self, plane: NDArray[np.float32]) -> NDArray[np.float32]:
        height, width = plane.shape
        padded = np.pad(plane, ((0, -height % BLOCK), (0, -width % BLOCK)), mode="edge")
        rows, columns = padded.shape[0] // BLOCK, padded.shape[1] // BLOCK
        blocks = padded.reshape(rows, BLOCK, columns, BLOCK).transpose(0, 2, 1, 3)
        step = self.step * self._weight
        level = (self._basis @ blocks @ self._basis.T) / step
        level = np.sign(level) * np.floor(np.abs(level) + 1 / 3)  # small coefficients vanish
        back = self._basis.T @ (level * step) @ self._basis
        return np.asarray(back.transpose(0, 2, 1, 3).reshape(padded.shape)[:height, :width], np.float32)
