# SPDX-License-Identifier: Apache-2.0
"""Depth images as files, one a frame."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from robotseg_core.geometry.depth_filter import Depth
from robotseg_core.storage.documents import read_array
from robotseg_core.storage.file_kinds import explain

DEPTH_SUFFIXES = (".png", ".tiff", ".tif", ".npy")
"""PNG and TIFF of 16 bits in mm, TIFF of float32 and NPY of either in their own unit."""

MOST_PIXELS = 89 * 2**20
"""Of a depth image, as of other pictures."""


def find_depth(folder: Path, name: str) -> Path | None:
    """The depth image of a frame by its name, None where there is none."""
    return next((path for end in DEPTH_SUFFIXES if (path := folder / f"{name}{end}").is_file()), None)


def read_depth(path: Path) -> Depth:
    """A depth image [H, W]: uint16 in mm, 0 where nothing was measured, or float32 in m.

    Raises:
        ValueError: it cannot be read, or is of another type.
    """
    npy = path.suffix.lower() == ".npy"
    image = read_array(path, MOST_PIXELS) if npy else cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise ValueError(f"{path} cannot be read as a depth image{explain(path)}")
    if image.ndim != 2 or image.dtype not in (np.uint16, np.float32):
        raise ValueError(f"{path} is {image.dtype} {image.shape}, must be uint16 (mm) or float32 (m) [H, W]")
    return np.asarray(image)


def depth_of(folder: Path, name: str) -> Depth:
    """The depth image of a frame.

    Raises:
        ValueError: there is none, or it cannot be read.
    """
    path = find_depth(folder, name)
    if path is None:
        raise ValueError(f"{folder / name}.png cannot be read as a depth image (it does not exist)")
    return read_depth(path)
