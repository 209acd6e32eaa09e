# SPDX-License-Identifier: Apache-2.0
"""What there is to draw from: an index of the packed pictures by what they show.  Plain numbers, no pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robotseg_core.train.hinted.packs.files import Group, PackedVideo, Seen

SMALLEST = 0.0025
"""Share of the frame below which nothing is hinted at or cut out."""
ROBOT = 3
"""Of a frame's parts: arm and gripper together (:class:`PackedVideo`)."""

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class CutOut:
    """Something that can be pasted elsewhere.

    Attributes:
        video: number of its video.
        frame: number of the frame.
        ids: ids that it consists of; empty for a robot, which is told by its parts.
        box: x0, y0, x1, y1 in [-1, 1].
    """

    video: int
    frame: int
    ids: tuple[int, ...]
    box: Box


def united(things: Seen, ids: Sequence[int]) -> tuple[float, Box] | None:
    """Area and box of several ids in a frame; None where none of them is seen."""
    seen = [things[i] for i in ids if i in things]
    if not seen:
        return None
    x0, y0, x1, y1 = (f(s[k] for s in seen) for f, k in ((min, 1), (min, 2), (max, 3), (max, 4)))
    return sum(s[0] for s in seen), (x0, y0, x1, y1)


class Catalogue:
    """Bases and cut-outs by kind.

    Attributes:
        videos: all of them.
        bases: numbers of the videos of each kind of base.
        cuts: cut-outs of each kind.
    """

    def __init__(self, videos: Sequence[PackedVideo]) -> None:
        self.videos = tuple(videos)
        self.bases: dict[str, list[int]] = {"rendered": [], "real": [], "clip": [], "photo": [], "bare": []}
        self.cuts: dict[str, list[CutOut]] = {"robot": [], "real": [], "object": [], "region": []}
        for number, video in enumerate(self.videos):
            if video.source == "real":
                self.bases["real"].append(number)
                if len(video.labelled) > 2:
                    self.bases["clip"].append(number)
            else:
                self.bases[video.source].append(number)
            for i in range(len(video.labelled)):
                self._cut(number, video, i)

    def _cut(self, number: int, video: PackedVideo, i: int) -> None:
        frame = video.first + i
        robot = video.parts[i].get(ROBOT)
        if robot is not None and robot[0] > 4 * SMALLEST:
            kind = "real" if video.source == "real" else "robot"
            self.cuts[kind].append(CutOut(number, frame, (), robot[1:]))
        # Things of every third frame of a video are as good as those of all.
        if i % 3:
            return
        for group in video.groups:
            if group.role not in ("object", "region"):
                continue
            seen = united(video.things[i], group.ids)
            if seen is not None and SMALLEST < seen[0] < 0.3:
                kind = "region" if group.role == "region" else "object"
                self.cuts[kind].append(CutOut(number, frame, group.ids, seen[1]))

    def groups_in(self, video: int, frame: int) -> list[Group]:
        """Groups of a video that are seen well enough in one of its frames to be hinted at."""
        one = self.videos[video]
        things = one.things[frame - one.first]
        seen = [(group, united(things, group.ids)) for group in one.groups]
        return [group for group, found in seen if found is not None and SMALLEST < found[0] < 0.6]

    def frames(self, video: int, length: int, rng: np.random.Generator, *, still: bool) -> NDArray[np.int64]:
        """``length`` frames of a video in order or reversed, or one frame again and again.

        A real video goes from a labelled frame on and comes back to it if it is not long enough.
        """
        one = self.videos[video]
        count = len(one.labelled)
        known = np.flatnonzero(one.labelled)
        if still or count == 1:
            i = int(rng.choice(known)) if len(known) else int(rng.integers(count))
            return np.full(length, one.first + i)
        step = int(rng.integers(1, 4)) if (length - 1) * 3 < count else 1
        if len(known) == count:
            span = min((length - 1) * step, count - 1)
            start = int(rng.integers(count - span))
            walk = start + step * np.arange(length)
        else:
            walk = int(rng.choice(known)) + step * np.arange(length) * (1 if rng.random() < 0.5 else -1)
        # At its ends a video turns round.
        walk = np.abs((walk - (count - 1)) % (2 * max(1, count - 1)) - (count - 1)) if count > 1 else walk * 0
        if len(known) == count and rng.random() < 0.3:
            walk = walk[::-1]
        return one.first + walk.astype(np.int64)
