# SPDX-License-Identifier: Apache-2.0
"""What an evaluation root holds: videos or single images, their masks, and which robot they show (SPEC 10.1).

Two layouts are read; ``frames/`` may stand for ``image/``:

* videos: ``image/<video>/<frame>.jpg``, ``mask_gt/<video>/<000|001|002>/<frame>.png`` (arm, gripper, robot).  Frames
  without a mask are streamed and not counted.  A folder of a part may be absent: RoboEngine has 002 alone, and where it
  is 002 that a frame lacks, the robot is its arm and its gripper together.
* images: ``image/<name>.jpg``, ``mask_gt/<000|001|002>/<name>.png``, or ``mask_gt/<name>.png`` for the robot alone.
  Each is a video of one frame.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from robotseg_core.evaluation.metrics import Mask
from robotseg_core.files.frames import list_images, read_image
from robotseg_core.files.mask_files import FOLDERS
from robotseg_core.types import PARTS


@dataclass(frozen=True)
class Video:
    """Frames and their masks.

    Attributes:
        name: folder or file name.
        embodiment: the robot, for the table.
        frames: image files in order.
        truth: per part, mask file by the stem of its frame.
    """

    name: str
    embodiment: str
    frames: tuple[Path, ...]
    truth: dict[str, dict[str, Path]]

    @property
    def annotated(self) -> int:
        """Number of frames with a mask of any part."""
        stems = {stem for masks in self.truth.values() for stem in masks}
        return sum(frame.stem in stems for frame in self.frames)

    def shows_robot(self) -> bool | None:
        """Whether any annotated frame shows a robot; None where its mask is given for no frame."""
        files = [path for frame in self.frames for path in self._mask_files(frame.stem, "robot")]
        return any(_read_mask(path).any() for path in files) if files else None

    def _mask_files(self, stem: str, part: str) -> tuple[Path, ...]:
        """Files whose masks together are that of a part in a frame; none where it is not annotated."""
        own = self.truth.get(part, {}).get(stem)
        if own is not None:
            return (own,)
        pieces = [self.truth.get(piece, {}).get(stem) for piece in ("arm", "gripper")] if part == "robot" else []
        files = tuple(path for path in pieces if path is not None)
        return files if len(files) == 2 else ()

    def read_frame(self, index: int) -> NDArray[np.uint8]:
        """RGB [H, W, 3] uint8.

        Raises:
            ValueError: the file is no image, or too large.
        """
        return np.ascontiguousarray(read_image(self.frames[index])[..., ::-1], dtype=np.uint8)

    def read_truth(self, index: int, part: str, shape: tuple[int, ...]) -> Mask | None:
        """Mask [H, W] of a part, any pixel above 0 belongs to it; None where the frame is not annotated.

        Raises:
            ValueError: the file is no image, or not of the frame's size ``shape``.
        """
        whole: Mask | None = None
        for path in self._mask_files(self.frames[index].stem, part):
            mask = _read_mask(path)
            if mask.shape != shape[:2]:
                raise ValueError(f"{path} is {mask.shape[1]} x {mask.shape[0]}, its frame is {shape[1]} x {shape[0]}")
            whole = mask if whole is None else whole | mask
        return whole


def _read_mask(path: Path) -> Mask:
    mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if mask is None:
        raise ValueError(f"{path} cannot be read as an image")
    return np.asarray(mask > 0)


def read_root(root: Path, *, frames: str | None = None) -> list[Video]:
    """Videos or images of a root, sorted by name.

    Args:
        root: the folder.
        frames: name of its folder of frames; None takes ``image``, or ``frames`` where there is none.  Masks may be
            there for some of the frames only.

    Raises:
        ValueError: there are no frames, or no masks for any of them.
    """
    images = root / (frames or ("image" if (root / "image").is_dir() else "frames"))
    if not images.is_dir():
        raise ValueError(f"{root} has no {frames}/" if frames else f"{root} has neither image/ nor frames/")
    folders = sorted(path for path in images.iterdir() if path.is_dir())
    videos = [_video(root, folder) for folder in folders] if folders else _single_images(root, _images(images))
    videos = [video for video in videos if video.frames]
    if not videos:
        raise ValueError(f"{images} has no images and no folders of frames")
    if not any(video.annotated for video in videos):
        raise ValueError(f"{root / 'mask_gt'} has no masks for the frames of {images}")
    return videos


def choose(videos: list[Video], limit: int | None) -> list[Video]:
    """At most ``limit`` videos, of as many embodiments as possible, in the order of their names."""
    if limit is None or limit >= len(videos):
        return videos
    if limit < 1:
        raise ValueError(f"limit is {limit}, must be at least 1")
    turn: dict[str, int] = {}
    ranked = []
    for video in videos:
        turn[video.embodiment] = turn.get(video.embodiment, -1) + 1
        ranked.append((turn[video.embodiment], video.name, video))
    return sorted((video for _, _, video in sorted(ranked, key=lambda r: r[:2])[:limit]), key=lambda v: v.name)


def _images(folder: Path) -> tuple[Path, ...]:
    return tuple(list_images(folder))


def _masks(folder: Path) -> dict[str, Path]:
    return {file.stem: file for file in sorted(folder.glob("*.png"))}


def _video(root: Path, folder: Path) -> Video:
    truth = root / "mask_gt" / folder.name
    return Video(
        name=folder.name,
        embodiment=embodiment(folder.name, truth / "meta.json"),
        frames=_images(folder),
        truth={part: _masks(truth / FOLDERS[part]) for part in PARTS},
    )


def _single_images(root: Path, files: tuple[Path, ...]) -> list[Video]:
    truth = {part: _masks(root / "mask_gt" / FOLDERS[part]) for part in PARTS}
    truth["robot"] = truth["robot"] or _masks(root / "mask_gt")
    return [
        Video(
            name=file.stem,
            embodiment=embodiment(file.stem),
            frames=(file,),
            truth={part: {file.stem: masks[file.stem]} for part, masks in truth.items() if file.stem in masks},
        )
        for file in files
    ]


def embodiment(name: str, meta: Path | None = None) -> str:
    """The robot of a video: ``arm`` in its ``meta.json``, else its name up to the first number.

    ``franka_0012`` and ``franka-kitchen_3`` give ``franka`` and ``franka-kitchen``; a name of numbers alone gives
    ``unknown``.
    """
    if meta is not None and meta.is_file():
        arm = json.loads(meta.read_text()).get("arm")
        if isinstance(arm, str) and arm:
            return arm
    words = re.split(r"[_\-. ]\d|^\d", name, maxsplit=1)[0]
    return words.strip("_-. ") or "unknown"
