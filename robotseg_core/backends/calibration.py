# SPDX-License-Identifier: Apache-2.0
"""Frames from which is learned how far the encoder's maps reach: the user's, or the shipped sheet of frames."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from robotseg_core.files.frames import FrameError, open_frames
from robotseg_core.weights.files import search_folders

log = logging.getLogger(__name__)

SHEET = "calibration.jpg"
"""Frames of the demo clip, :data:`SHEET_COLUMNS` to a row, beside the shipped weights."""
SHEET_COLUMNS, SHEET_ROWS = 4, 4
MOST_READ = 2000
"""Frames of a video that are looked at."""


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


def users_frames(source: Path, count: int) -> list[NDArray[np.uint8]]:
    """``count`` frames of an image, a video or a folder, spread over it, RGB.

    Raises:
        ValueError: none of its frames can be read, or it is a camera.
    """
    frames = open_frames(str(source))
    if frames.live:
        raise ValueError(f"{source} is a camera; calibration takes files")
    found: list[NDArray[np.uint8]] = []
    iterator = iter(frames.frames)
    every = max(1, min(frames.count or MOST_READ, MOST_READ) // count)
    for index in range(MOST_READ):
        try:
            _, bgr = next(iterator)
        except StopIteration:
            break
        except FrameError as error:
            log.warning("calibration leaves out %s, which cannot be read", error.name)
            continue
        if index % every == 0:
            found.append(np.ascontiguousarray(bgr[..., ::-1]))
    if not found:
        raise ValueError(f"{source} has no frame that can be read")
    return list(islice(found, count))


def tensors(frames: Sequence[NDArray[np.uint8]], size: int) -> list[NDArray[Any]]:
    """Frames as the encoder sees them, [1, 3, size, size] float32."""
    # Imported here: the stream's room loads the backends.
    from robotseg_core.stream.preprocess import frame_tensor

    return [frame_tensor(frame, size, exact=False).numpy() for frame in frames]
