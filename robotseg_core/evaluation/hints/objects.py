# SPDX-License-Identifier: Apache-2.0
"""Targets that are no part: single things, or one of several robots, of rendered videos with instance maps.

``ids/<video>/<frame>.png`` (uint16) names the instance of each pixel, ``ids/<video>/meta.json`` says what it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from robotseg_core.evaluation.dataset import Video
from robotseg_core.evaluation.metrics import Mask

MIN_SHARE = 0.002
"""Of the first frame's pixels that a target must have."""
KINDS = ("thing", "machine", "furniture", "person", "hand")
"""Kinds of instances that are objects by themselves."""


@dataclass(frozen=True)
class Target:
    """What is to be followed in a video.

    Attributes:
        video: its frames.
        maps: instance maps, one a frame.
        name: of the target.
        ids: instances that make it up.
        other: instances that must not be marked instead, e.g. those of the other robot; may be empty.
    """

    video: Video
    maps: tuple[Path, ...]
    name: str
    ids: tuple[int, ...]
    other: tuple[int, ...] = ()

    def mask(self, index: int) -> Mask:
        """Where the target is seen in a frame, [H, W]."""
        return np.isin(self.read(index), self.ids)

    def other_mask(self, index: int) -> Mask:
        """Where the others are seen, [H, W]."""
        return np.isin(self.read(index), self.other)

    def read(self, index: int) -> NDArray[np.uint16]:
        """Instance map [H, W] of a frame.

        Raises:
            ValueError: the file is no image.
        """
        ids = cv2.imread(str(self.maps[index]), cv2.IMREAD_UNCHANGED)
        if ids is None:
            raise ValueError(f"{self.maps[index]} cannot be read as an image")
        return np.asarray(ids, np.uint16)


def _opened(root: Path, videos: Iterable[Video]) -> Iterable[tuple[Video, tuple[Path, ...], dict[str, Any], Target]]:
    for video in videos:
        folder = root / "ids" / video.name
        meta = folder / "meta.json"
        maps = tuple(folder / f"{frame.stem}.png" for frame in video.frames)
        if meta.is_file() and all(file.is_file() for file in maps):
            yield video, maps, json.loads(meta.read_text()), Target(video, maps, "all", ())


def _share(ids: NDArray[np.uint16], wanted: Iterable[int]) -> float:
    return float(np.isin(ids, list(wanted)).mean())


def _named(root: Path) -> dict[str, list[tuple[int, str]]] | None:
    """Targets by video, as the root's ``targets.json`` names them; None where there is no such file."""
    path = root / "targets.json"
    if not path.is_file():
        return None
    named: dict[str, list[tuple[int, str]]] = {}
    try:
        for one in json.loads(path.read_text()):
            named.setdefault(str(one["video"]), []).append((int(one["id"]), str(one["name"])))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a list of targets with video, id and name: {error!r}") from error
    return named


def things(root: Path, videos: Iterable[Video], *, each: int = 2) -> list[Target]:
    """Things of the videos with instance maps: those that ``targets.json`` of the root names, or without that file
    up to ``each`` of every video, the largest ones in its first frame.

    Raises:
        ValueError: ``targets.json`` is not a list of ``video``, ``id`` and ``name``.
    """
    named = _named(root)
    targets = []
    for video, maps, meta, every in _opened(root, videos):
        if named is not None:
            targets += [Target(video, maps, name, (number,)) for number, name in named.get(video.name, ())]
            continue
        first = every.read(0)
        found = [
            (_share(first, [one["id"]]), one["id"], str(one["name"]))
            for one in meta["instances"]
            if one["kind"] in KINDS
        ]
        chosen = sorted((f for f in found if MIN_SHARE <= f[0] <= 0.3), key=lambda f: (-f[0], f[1]))[:each]
        targets += [Target(video, maps, name, (number,)) for _, number, name in chosen]
    return targets


def robots_of_pairs(root: Path, videos: Iterable[Video]) -> list[Target]:
    """Each robot of every video whose first frame shows two or more, with all other robots as ``other``."""
    targets = []
    for video, maps, meta, every in _opened(root, videos):
        first = every.read(0)
        seen = [robot for robot in meta["robots"] if _share(first, robot["ids"]) >= 5 * MIN_SHARE]
        for robot in seen if len(seen) > 1 else []:
            rest = tuple(i for other in meta["robots"] if other is not robot for i in other["ids"])
            targets.append(Target(video, maps, str(robot["name"]), tuple(robot["ids"]), rest))
    return targets
