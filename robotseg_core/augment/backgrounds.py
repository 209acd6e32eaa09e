# SPDX-License-Identifier: Apache-2.0
"""Backgrounds to put behind a robot: a photograph, a colour, noise; one for a whole video."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from robotseg_core.augment.clip import Rgb
from robotseg_core.files.frames import image_files, read_image

KINDS = ("photo", "colour", "noise")


def photographs(folder: Path) -> list[Path]:
    """Pictures of a folder, which are no clip: they may be called as they like.

    Raises:
        ValueError: it has none.
        OSError: it cannot be read.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder of photographs")
    files = image_files(folder)
    if not files:
        raise ValueError(f"{folder} has no photographs")
    return files


def covering(picture: Rgb, height: int, width: int) -> Rgb:
    """A picture [h, w, 3] uint8 RGB, scaled and cut from its middle so that it fills ``height`` x ``width`` pixels."""
    scale = max(height / picture.shape[0], width / picture.shape[1])
    size = max(width, round(picture.shape[1] * scale)), max(height, round(picture.shape[0] * scale))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    scaled = cv2.resize(picture, size, interpolation=way)
    top, left = (size[1] - height) // 2, (size[0] - width) // 2
    return np.ascontiguousarray(scaled[top : top + height, left : left + width], np.uint8)


def draw(kind: str, height: int, width: int, rng: np.random.Generator, photos: list[Path]) -> tuple[Rgb, str]:
    """A background [height, width, 3] uint8 RGB, and what it is in words.

    Raises:
        ValueError: a photograph cannot be read.
    """
    if kind == "photo":
        file = photos[int(rng.integers(len(photos)))]
        picture = np.ascontiguousarray(read_image(file)[..., ::-1])
        flipped = bool(rng.integers(2))
        return covering(picture[:, ::-1] if flipped else picture, height, width), file.name + ", mirrored" * flipped
    colour = rng.integers(0, 256, 3)
    if kind == "colour":
        told = "#" + "".join(f"{c:02x}" for c in colour)
        return np.broadcast_to(colour.astype(np.uint8), (height, width, 3)).copy(), told
    return noise(height, width, rng), "noise"


def noise(height: int, width: int, rng: np.random.Generator) -> Rgb:
    """Coloured noise [height, width, 3] uint8 of all scales, from blots of a quarter of it to single pixels."""
    total = np.zeros((height, width, 3), np.float32)
    for cells in (4, 8, 16, 32, 64, 128, max(height, width)):
        coarse = rng.normal(0, 1, (max(2, cells * height // max(height, width)), cells, 3)).astype(np.float32)
        layer: NDArray[np.float32] = np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))
        total += layer * (8 / cells) ** 0.5
    total = 128 + 45 * total / total.std()
    return np.asarray(np.clip(total, 0, 255), np.uint8)
