# SPDX-License-Identifier: Apache-2.0
"""Frames of a video, an image, a folder of images, a camera or a network stream, with their names, at a rate."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageSequence

from robotseg_core.files.natural import in_order, natural
from robotseg_core.storage.file_kinds import explain

log = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
VIDEO_SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm"})
"""Files of a folder that are taken for videos; a file that is named is tried whatever it is called."""
OTHER_PICTURES = frozenset(
    (
        ".apng .avif .cr2 .dng .exr .gif .hdr .heic .heif .jfif .jp2 .jpe .jxl .mpo .nef .npy .pbm .pgm .pnm .ppm .raw "
        ".svg .tga"
    ).split()
)
"""Pictures that are not read; a folder that has some is said to have them."""
ANIMATED = frozenset({".png", ".tif", ".tiff", ".webp"})
"""Kinds of :data:`IMAGE_SUFFIXES` that may hold several pictures."""
MAX_PIXELS = 89_478_485
"""Largest picture that is decoded (12,000 x 6,000 fits): Pillow's limit; a small file can claim to be a huge one."""
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
        frames: (name, [H, W, 3] uint8 BGR) each; can be iterated once.  Names are file stems, or at least five digits.
        rate_hz: frames a second.
        count: number of frames, None when it is not known (a camera).
        live: whether the source sets the pace itself (a camera).
    """

    frames: Iterator[tuple[str, NDArray[np.uint8]]]
    rate_hz: float
    count: int | None
    live: bool = False


def open_frames(source: str) -> Frames:
    """Open something to play.

    Args:
        source: a video file, an image, a folder of images (in the natural order of their names: 2 before 10), a camera
            (``/dev/videoN``, or ``N`` where no file is named so) or the address of a network stream (``rtsp://...``).

    Raises:
        InputError: it does not exist or cannot be read.
    """
    path = Path(source)
    camera = re.fullmatch(r"(?:/dev/video)?(\d{1,4})", source)
    if camera and (source.startswith("/dev/") or not path.exists()):
        return _open_video(cv2.VideoCapture(int(camera[1])), source, live=True)
    if re.match(r"(rtsps?|https?|rtmps?|rtp|udp|tcp)://", source):
        return _open_video(cv2.VideoCapture(source), source, live=True)
    if path.is_dir():
        files = list_images(path)
        if not files:
            raise InputError(f"{source} has no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
        return Frames(_Images(files), FOLDER_RATE_HZ, len(files))
    if not path.is_file():
        raise InputError(
            f"{source} does not exist; give a video file, an image, a folder of images, /dev/videoN or rtsp://..."
        )
    if path.suffix.lower() in IMAGE_SUFFIXES:
        count = pictures_in(path)
        return _open_animation(path, count) if count > 1 else Frames(_Images([path], alone=True), FOLDER_RATE_HZ, 1)
    return _open_video(cv2.VideoCapture(str(path)), source, live=False)


def image_files(folder: Path) -> list[Path]:
    """The image files of a folder in the natural order of their names; hidden ones are left out."""
    every = (file for file in folder.iterdir() if not file.name.startswith("."))
    return in_order(file for file in every if file.suffix.lower() in IMAGE_SUFFIXES)


def list_images(folder: Path) -> list[Path]:
    """The images of a folder in the natural order of their names; what is doubtful about them is said in the log.

    Raises:
        InputError: two images of one name, whose masks would overwrite each other.
    """
    files = image_files(folder)
    twice = [stem for stem, count in Counter(file.stem for file in files).items() if count > 1]
    if twice:
        raise InputError(f"{folder} has several images named {twice[0]}; their masks would overwrite each other")
    every = (file for file in folder.iterdir() if not file.name.startswith("."))
    others = Counter(file.suffix.lower() for file in every if file.suffix.lower() in OTHER_PICTURES)
    if others:
        listed = ", ".join(f"{count} {suffix}" for suffix, count in sorted(others.items()))
        log.warning("%s: pictures of other kinds are left out: %s", folder, listed)
    # 7 and 007: which comes first is anybody's guess.
    keys = [natural(file.stem)[0] for file in files]
    alike = next((i for i in range(1, len(keys)) if keys[i - 1] == keys[i]), None)
    if alike:
        pair = files[alike - 1].name, files[alike].name
        log.warning("%s: the order of %s and %s is doubtful, their names say the same", folder, *pair)
    kinds = Counter(re.sub(r"\d+", "#", file.stem) for file in files)
    if 1 < len(kinds) and len(kinds) <= len(files) // 2:
        listed = ", ".join(f"{count} {name}" for name, count in kinds.most_common(4))
        log.warning("%s: names of several patterns are streamed as one clip, one after the other: %s", folder, listed)
    return files


def pictures_in(path: Path) -> int:
    """How many pictures an image file holds; 1 where it cannot be told.

    Raises:
        InputError: they are too large.
    """
    if path.suffix.lower() not in ANIMATED:
        return 1
    try:
        with Image.open(path) as image:
            return int(getattr(image, "n_frames", 1))
    except Image.DecompressionBombError as error:
        raise InputError(f"{path}: {error}") from error
    except Exception:  # Whatever a damaged file makes of the parser: reading it says what is wrong.
        return 1


def _open_animation(path: Path, count: int) -> Frames:
    """An animated WebP or PNG or a TIFF of several pages, whole."""
    with Image.open(path) as image:
        # Pillow warns here, where its limit for an error is twice as high.
        if image.width * image.height > MAX_PIXELS:
            raise InputError(_too_large(path, image.size))
        # Known when a picture after the first has been read.
        image.seek(1)
        image.load()
        delay = float(image.info.get("duration") or 0)
    rate = 1e3 / delay if 1e3 / 240 <= delay <= 1e3 else FOLDER_RATE_HZ

    def frames() -> Iterator[tuple[str, NDArray[np.uint8]]]:
        with Image.open(path) as image:
            for number, picture in enumerate(ImageSequence.Iterator(image)):
                yield f"{number:05d}", np.ascontiguousarray(np.asarray(picture.convert("RGB"), np.uint8)[..., ::-1])

    return Frames(frames(), rate, count)


def _too_large(path: Path, size: tuple[int, int]) -> str:
    return f"{path} says it has {size[0]} x {size[1]} pixels, at most {MAX_PIXELS} are decoded"


def _open_video(video: cv2.VideoCapture, source: str, live: bool) -> Frames:
    # The first frame is read at once: some broken files open well and hold nothing.
    good, first = video.read()
    if not good:
        kind, why = ("a camera", "") if live else ("a video", explain(Path(source)))
        raise InputError(f"{source} cannot be read as {kind}{why}")
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

    def __init__(self, files: list[Path], *, alone: bool = False) -> None:
        self._files, self._alone = iter(files), alone

    def __iter__(self) -> _Images:
        return self

    def __next__(self) -> tuple[str, NDArray[np.uint8]]:
        file = next(self._files)
        return file.stem, read_image(file, alone=self._alone)


def read_image(file: Path, *, alone: bool = False) -> NDArray[np.uint8]:
    """A picture as [H, W, 3] uint8 BGR.

    Args:
        file: of the picture.
        alone: whether it was given by itself; one among others that holds several pictures is said to.

    Raises:
        FrameError: it cannot be read, or is too large.
    """
    size, count = (0, 0), 1
    try:
        with Image.open(file) as header:
            size = header.size
            if not alone and file.suffix.lower() in ANIMATED:
                count = getattr(header, "n_frames", 1)
    except Image.DecompressionBombError as error:
        raise FrameError(file.stem, f"{file}: {error}") from error
    except Exception:  # OpenCV reads some that Pillow does not, and says what is wrong with the others.
        pass
    if size[0] * size[1] > MAX_PIXELS:
        raise FrameError(file.stem, _too_large(file, size))
    if count > 1:
        log.warning("%s holds %d pictures, of which the first is taken; give the file by itself for all", file, count)
    # Pixels as they are stored: masks must fit the file, whatever its orientation tag says.
    try:
        image = cv2.imread(str(file), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise FrameError(file.stem, f"{file} cannot be read as an image: {error.err}") from error
    if image is None:
        raise FrameError(file.stem, f"{file} cannot be read as an image{explain(file)}")
    return np.asarray(image, dtype=np.uint8)
