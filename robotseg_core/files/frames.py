# SPDX-License-Identifier: Apache-2.0
"""Frames of a video file, an image, a folder of images or a camera, with their names, at a rate."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
FOLDER_RATE_HZ = 10.0
"""Rate of images, which have none of their own."""
DEFAULT_RATE_HZ = 30.0
"""Rate of a video or camera that does not say its own."""


class InputError(ValueError):
    """An input that cannot be played; the message says why."""


class FrameError(InputError):
    """One frame of a folder that cannot be read; the iterator goes on with the next one.

    Attributes:
        name: of the frame.
    """

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


@dataclass(frozen=True)
class Frames:
    """Something to play.

    Attributes:
        frames: (name, [H, W, 3] uint8 BGR) each; can be iterated once.  Names are file stems, or five digits.
        rate_hz: frames a second.
        count: number of frames, None when it is not known (a camera).
        live: whether the source sets the pace itself (a camera).
    """

    frames: Iterator[tuple[str, NDArray[np.uint8]]]
    rate_hz: float
    count: int | None
    live: bool = False


def open_frames(source: str) -> Frames:
    """Open a video file, an image, a folder of images (in the order of their names) or ``/dev/videoN``.

    Raises:
        InputError: it does not exist or cannot be read.
    """
    camera = re.fullmatch(r"/dev/video(\d+)", source)
    if camera:
        return _open_video(cv2.VideoCapture(int(camera[1])), source, live=True)
    path = Path(source)
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
        if not files:
            raise InputError(f"{source} has no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
        stems = [file.stem for file in files]
        twice = sorted({stem for stem in stems if stems.count(stem) > 1}) if len(set(stems)) < len(stems) else []
        if twice:
            raise InputError(f"{source} has several images named {twice[0]}; their masks would overwrite each other")
        return Frames(_Images(files), FOLDER_RATE_HZ, len(files))
    if not path.is_file():
        raise InputError(f"{source} does not exist; give a video file, an image, a folder of images or /dev/videoN")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return Frames(_Images([path]), FOLDER_RATE_HZ, 1)
    return _open_video(cv2.VideoCapture(str(path)), source, live=False)


def _open_video(video: cv2.VideoCapture, source: str, live: bool) -> Frames:
    # The first frame is read at once: some broken files open well and hold nothing.
    good, first = video.read()
    if not good:
        raise InputError(f"{source} cannot be read as {'a camera' if live else 'a video'}")
    rate = video.get(cv2.CAP_PROP_FPS)
    if not 1 <= rate <= 240:
        rate = DEFAULT_RATE_HZ
    count = None if live else max(1, int(video.get(cv2.CAP_PROP_FRAME_COUNT)))

    def frames() -> Iterator[tuple[str, NDArray[np.uint8]]]:
        good, frame, number = True, first, 0
        try:
            while good:
                yield f"{number:05d}", np.asarray(frame, np.uint8)
                good, frame = video.read()
                number += 1
        finally:
            video.release()

    return Frames(frames(), rate, count, live)


class _Images:
    """Images in order.  A class, because a generator would end at the first unreadable one."""

    def __init__(self, files: list[Path]) -> None:
        self._files = iter(files)

    def __iter__(self) -> _Images:
        return self

    def __next__(self) -> tuple[str, NDArray[np.uint8]]:
        file = next(self._files)
        # Pixels as they are stored: masks must fit the file, whatever its orientation tag says.
        image = cv2.imread(str(file), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        if image is None:
            raise FrameError(file.stem, f"{file} cannot be read as an image")
        return file.stem, np.asarray(image, dtype=np.uint8)
