# SPDX-License-Identifier: Apache-2.0
"""Sets that requests are about: rendered videos with instance maps, and labelled real frames."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from robotseg_core.files.pictures import read_rgb
from robotseg_core.synth.instances.files import read_ids, read_ids_meta
from robotseg_core.synth.requests.generate import SceneRequest, choose_requests, complete_videos
from robotseg_core.synth.requests.labelled import labelled_asked, labelled_frames, labelled_scene, read_labelled
from robotseg_core.synth.requests.programs import Asked, asked_of
from robotseg_core.synth.requests.scene import frame_scene


class Shown(Protocol):
    """Frames by video and number."""

    def frame(self, video: str, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
        """Picture [H, W, 3] and map of instances [H, W]."""
        ...


class AskedSet(Shown, Protocol):
    """Frames of which it is known what may be asked."""

    def indices(self, frames: int) -> list[tuple[str, int]]:
        """(video, number) of up to ``frames`` frames a video, spread evenly."""
        ...

    def asked(self, video: str, index: int) -> list[Asked]:
        """What may be asked of a frame."""
        ...


def spread(count: int, frames: int) -> list[int]:
    """Numbers of ``frames`` of ``count`` frames, spread evenly; 1: the first."""
    return sorted({round(k * (count - 1) / max(1, frames - 1)) for k in range(frames)})


@dataclass(frozen=True)
class RenderedSet:
    """A set of `robotseg synth`."""

    root: Path

    def frame(self, video: str, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
        """See :class:`Shown`."""
        return read_rgb(self.root / "image" / video / f"{index:05d}.jpg"), read_ids(self.root, video, index)

    def indices(self, frames: int) -> list[tuple[str, int]]:
        """See :class:`AskedSet`."""
        videos = {video: len(read_ids_meta(self.root, video).frames) for video in complete_videos(self.root)}
        return [(video, index) for video, count in videos.items() for index in spread(count, frames)]

    def asked(self, video: str, index: int) -> list[Asked]:
        """See :class:`AskedSet`."""
        ids = read_ids(self.root, video, index)
        return asked_of(frame_scene(read_ids_meta(self.root, video), index, ids), ids)


@dataclass(frozen=True)
class LabelledSet:
    """Real frames with masks of the three parts: separate pieces count as separate robots, arms, grippers."""

    root: Path

    def frame(self, video: str, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
        """See :class:`Shown`; ``index`` is the frame's place in its clip, in the order of the names."""
        rgb, masks = read_labelled(*self._clips[video][index])
        return rgb, labelled_scene(masks)[1]

    def indices(self, frames: int) -> list[tuple[str, int]]:
        """See :class:`AskedSet`."""
        return [(clip, index) for clip, files in self._clips.items() for index in spread(len(files), frames)]

    def asked(self, video: str, index: int) -> list[Asked]:
        """See :class:`AskedSet`."""
        return labelled_asked(*labelled_scene(read_labelled(*self._clips[video][index])[1]))

    def requests(self, *, seed: int, each: int) -> Iterable[SceneRequest]:
        """Up to ``each`` requests of every frame."""
        for clip, files in self._clips.items():
            for index in range(len(files)):
                yield from choose_requests(self.asked(clip, index), clip, index, seed=seed, each=each)

    @functools.cached_property
    def _clips(self) -> dict[str, list[tuple[Path, dict[str, Path]]]]:
        found: dict[str, list[tuple[Path, dict[str, Path]]]] = {}
        for _, picture, masks in labelled_frames(self.root):
            found.setdefault(picture.parent.name, []).append((picture, masks))
        return found


def set_of(root: Path) -> RenderedSet | LabelledSet:
    """What a folder holds: instance maps, or labelled frames."""
    return RenderedSet(root) if (root / "ids").is_dir() else LabelledSet(root)
