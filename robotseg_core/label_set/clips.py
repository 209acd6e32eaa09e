# SPDX-License-Identifier: Apache-2.0
"""What there is to label: the clips of a VRS tree, a LeRobot data set, of a folder of videos or of images."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from robotseg_core.files.frames import VIDEO_SUFFIXES, FrameError, InputError, list_images, open_frames
from robotseg_core.files.natural import natural

if TYPE_CHECKING:
    from robotseg_core.lerobot.layout import Episode

LAYOUTS = ("vrs", "lerobot", "videos", "folders")
Frame = tuple[str, NDArray[np.uint8] | None]
"""Name, and [H, W, 3] uint8 RGB; None where the frame cannot be read."""


@dataclass(frozen=True)
class Clip:
    """One camera's frames in order: a task.

    Attributes:
        key: its name in the data set, a relative path that is the same on every machine.
        path: folder of frames, video file, or root of the LeRobot data set.
        rate_hz: frames a second; 0: as the file says.
        camera: feature of a LeRobot data set, else empty.
        stored: how that feature is kept, ``video`` or ``image``.
        episode: of a LeRobot data set, else None.
    """

    key: str
    path: Path
    rate_hz: float = 0.0
    camera: str = ""
    stored: str = ""
    episode: Episode | None = None


def find_clips(root: Path, cameras: list[str] | None = None) -> tuple[str, list[Clip]]:
    """Layout of a data set, one of :data:`LAYOUTS`, and its clips in order.

    Args:
        root: ``image/`` or ``frames/`` with a folder for each video (``vrs``), ``meta/info.json`` (``lerobot``), a
            folder with video files in it or below it (``videos``), or one with folders of images in it (``folders``).
        cameras: of a LeRobot data set, names of features or their ends; None: all.

    Raises:
        ValueError: it is none of these, or two clips would have one name.
        OSError: it cannot be read.
    """
    root = Path(os.path.abspath(root))
    if not root.is_dir():
        raise InputError(f"{root} is no folder")
    if (root / "meta" / "info.json").is_file():
        return "lerobot", _episodes(root, cameras)
    if cameras:
        raise InputError(f"--camera is for LeRobot data sets, {root} is none")
    for name in ("image", "frames"):
        if (root / name).is_dir():
            folders = _folders(root / name)
            if not folders:
                raise InputError(f"{root / name} has no folders of frames")
            return "vrs", [Clip(folder.name, folder) for folder in folders]
    files = [p for p in root.rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES and p.is_file() and not _hidden(p, root)]
    if not files:
        folders = [folder for folder in _folders(root) if not folder.name.startswith(".") and list_images(folder)]
        if folders:
            return "folders", [Clip(folder.name, folder) for folder in folders]
        raise InputError(
            f"{root} is no data set: it has no image/ or frames/ (VRS), no meta/info.json (LeRobot), no videos "
            f"({', '.join(sorted(VIDEO_SUFFIXES))}) and no folders of images"
        )
    clips = [Clip(file.relative_to(root).with_suffix("").as_posix(), file) for file in files]
    twice = [key for key, count in Counter(clip.key for clip in clips).items() if count > 1]
    if twice:
        raise InputError(f"{root} has several videos named {twice[0]}; their masks would overwrite each other")
    inside = next((clip.key for clip in clips if any(other.key.startswith(f"{clip.key}/") for other in clips)), None)
    if inside is not None:
        raise InputError(f"{root} has a video and a folder named {inside}; their masks would be mixed")
    return "videos", sorted(clips, key=lambda clip: natural(clip.key))


def _folders(root: Path) -> list[Path]:
    return sorted((path for path in root.iterdir() if path.is_dir()), key=lambda path: natural(path.name))


def _hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def _episodes(root: Path, cameras: list[str] | None) -> list[Clip]:
    # Needs pyarrow and PyAV, which other layouts do not.
    from robotseg_core.lerobot.layout import open_data_set

    data = open_data_set(root)
    return [
        Clip(f"{key}/episode_{episode.index:06d}", root, data.rate_hz, key, data.cameras[key].kind, episode)
        for key in data.chosen(cameras)
        for episode in data.episodes
    ]


def frames_of(clip: Clip) -> tuple[float, Iterator[Frame]]:
    """Rate in Hz of a clip, and its frames.

    Raises:
        ValueError: it cannot be read, or ends early.
        OSError: the disk says no.
    """
    if clip.episode is not None:
        return clip.rate_hz, _numbered(_pictures(clip, clip.episode))
    frames = open_frames(str(clip.path))
    return frames.rate_hz, _readable(iter(frames.frames))


def _readable(frames: Iterator[tuple[str, NDArray[np.uint8]]]) -> Iterator[Frame]:
    while True:
        try:
            name, bgr = next(frames)
        except StopIteration:
            return
        except FrameError as error:
            yield error.name, None
        else:
            yield name, np.ascontiguousarray(bgr[..., ::-1])


def _numbered(pictures: Iterator[NDArray[np.uint8]]) -> Iterator[Frame]:
    for number, picture in enumerate(pictures):
        yield f"{number:06d}", np.ascontiguousarray(picture)


def _pictures(clip: Clip, episode: Episode) -> Iterator[NDArray[np.uint8]]:
    if clip.stored == "video":
        from robotseg_core.lerobot.video import read_frames

        file, first = episode.videos[clip.camera]
        yield from read_frames(clip.path / file, first, episode.length)
        return
    from robotseg_core.lerobot.tables import read_table

    rows = read_table(clip.path / episode.data, [clip.camera], episode.index).column(clip.camera)
    if len(rows) != episode.length:
        raise InputError(f"episode {episode.index} has {len(rows)} pictures, must have {episode.length}")
    for number, cell in enumerate(rows):
        coded = np.frombuffer((cell.as_py() or {}).get("bytes") or b"", np.uint8)
        bgr = cv2.imdecode(coded, cv2.IMREAD_COLOR) if coded.size else None
        if bgr is None:
            raise InputError(f"episode {episode.index} has no picture {number} of {clip.camera} in its table")
        yield np.asarray(bgr[..., ::-1], np.uint8)
