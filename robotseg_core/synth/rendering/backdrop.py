# SPDX-License-Identifier: Apache-2.0
"""A photograph behind a scene, sliding when the camera turns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from robotseg_core.synth.rendering.motion import spline


@dataclass(frozen=True)
class Backdrop:
    """A photograph behind the scene.

    Attributes:
        image: [h, w, 3] uint8 RGB, larger than a frame.
        corner: [frames, 2] int, (x, y) of the frame's window in it.
        size: (width, height) of the window.
    """

    image: NDArray[np.uint8]
    corner: NDArray[np.int64]
    size: tuple[int, int]

    def window(self, frame: int) -> NDArray[np.uint8]:
        """What is behind ``frame``, [height, width, 3] uint8."""
        x, y = self.corner[frame]
        return self.image[y : y + self.size[1], x : x + self.size[0]]


def choose_backdrop(
    path: Path,
    size: tuple[int, int],
    frames: int,
    move: float,
    rng: np.random.Generator,
    along: NDArray[np.float64] | None = None,
) -> Backdrop:
    """A random crop of a photograph; over the video it slides by up to ``move`` of a frame's width.

    ``along`` [frames], -1 to 1: how far the camera has turned to its left (then it slides accordingly).
    """
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{path} is not a readable picture")
    height, width = image.shape[:2]
    wide, high = round(size[0] * (1 + move)), round(size[1] * (1 + move))
    scale = min(width / wide, height / high) * rng.uniform(0.7, 1.0)
    w, h = max(1, int(wide * scale)), max(1, int(high * scale))
    x, y = int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1))
    way = cv2.INTER_AREA if scale > 1 else cv2.INTER_CUBIC
    crop = cv2.resize(image[y : y + h, x : x + w], (wide, high), interpolation=way)
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    blur = rng.uniform(0, 2.5)
    crop = cv2.GaussianBlur(crop, (0, 0), blur) if blur > 0.5 else crop
    knots = max(2, frames // 12 + 1)
    slide = spline(rng.uniform(0, 1, (knots, 2)), np.linspace(0, knots - 1, frames))
    if along is not None:
        slide[:, 0] = -along if along.min() < 0 else 1 - along
    room = np.array([wide - size[0], high - size[1]])
    corner = np.clip(np.rint(slide * room), 0, room).astype(np.int64)
    return Backdrop(np.ascontiguousarray(crop[..., ::-1]), corner, size)
