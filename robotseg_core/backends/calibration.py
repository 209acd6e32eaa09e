# SPDX-License-Identifier: Apache-2.0
"""Frames from which is learned how far the encoder's maps reach: the shipped sheet of frames, or any."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from robotseg_core.model.structure import IMAGE_MEAN, IMAGE_STD
from robotseg_core.weights.files import search_folders

SHEET = "calibration.jpg"
"""Frames of the demo clip, :data:`SHEET_COLUMNS` to a row, beside the shipped weights."""
SHEET_COLUMNS, SHEET_ROWS = 4, 4


def shipped_frames() -> list[NDArray[np.uint8]]:
    """The frames of the shipped sheet, RGB.

    Raises:
        FileNotFoundError: it is not where weights are looked for.
        OSError: it cannot be read.
    """
    path = find_sheet()
    sheet = cv2.imread(str(path))
    if sheet is None:
        raise OSError(f"{path} is no picture that can be read")
    tiles = (tile for row in np.split(sheet, SHEET_ROWS) for tile in np.split(row, SHEET_COLUMNS, 1))
    return [np.ascontiguousarray(tile[..., ::-1]) for tile in tiles]


def find_sheet() -> Path:
    """Where the shipped sheet is.

    Raises:
        FileNotFoundError: it is not where weights are looked for.
    """
    for folder in search_folders():
        if (folder / SHEET).is_file():
            return folder / SHEET
    looked = ", ".join(str(folder) for folder in search_folders())
    raise FileNotFoundError(f"no {SHEET} in {looked}; give frames of your camera to `robotseg quantize --frames`")


def tensors(frames: Sequence[NDArray[np.uint8]], size: int) -> list[NDArray[Any]]:
    """Frames as the encoder sees them, [1, 3, size, size] float32."""
    mean, std = np.asarray(IMAGE_MEAN, np.float32), np.asarray(IMAGE_STD, np.float32)
    small = (cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA) for frame in frames)
    return [np.ascontiguousarray((((x / np.float32(255)) - mean) / std).transpose(2, 0, 1)[None]) for x in small]
