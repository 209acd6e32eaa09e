# SPDX-License-Identifier: Apache-2.0
"""Single pictures from disk."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """A picture as [H, W, 3] RGB, as it is stored: not turned by what its header says.

    Raises:
        ValueError: it cannot be read.
    """
    bgr = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if bgr is None:
        raise ValueError(f"{path} cannot be read as an image")
    return np.ascontiguousarray(bgr[..., ::-1], dtype=np.uint8)


def picture_size(path: Path) -> tuple[int, int]:
    """(height, width) of a picture; its pixels are not read.

    Raises:
        OSError: it cannot be read.
    """
    with Image.open(path) as picture:
        return picture.height, picture.width
