# SPDX-License-Identifier: Apache-2.0
"""A wrong mask is fed into the memory for some frames: how many frames until the answer is as good as without it?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from robotseg_core.evaluation.dataset import Video
from robotseg_core.evaluation.metrics import Mask, iou
from robotseg_core.evaluation.protocols import encode, mask_of, open_session
from robotseg_core.evaluation.scores import number
from robotseg_core.stream.robotseg import RobotSeg
from robotseg_core.stream.session import Session

CASES: dict[str, tuple[int, int]] = {"1 frame": (2, 1), "3 frames": (2, 3), "5 frames": (2, 5), "first frame": (0, 1)}
"""Which frames get a wrong mask: the first one, counted from the part's first frame, and how many."""
CLOSE = 0.05
"""IoU below the undisturbed answer up to which the disturbed one has recovered."""
FOLLOWED = 0.5
"""Undisturbed IoU, mean over the frames that are looked at, below which there is nothing to lose."""


@dataclass(frozen=True)
class Disturbance:
    """One part of one video, disturbed in one way.

    Attributes:
        case: of :data:`CASES`.
        video: its name.
        part: its name.
        clean: undisturbed IoU of the frames after the wrong masks.
        disturbed: the same with them.
    """

    case: str
    video: str
    part: str
    clean: tuple[float, ...]
    disturbed: tuple[float, ...]

    @property
    def counts(self) -> bool:
        """Whether the part was followed without the disturbance."""
        return bool(self.clean) and float(np.mean(self.clean)) >= FOLLOWED

    @property
    def frames(self) -> int | None:
        """Frames until the answer has recovered, 0: at once; None: not within the video."""
        for after, (clean, disturbed) in enumerate(zip(self.clean, self.disturbed, strict=True)):
            if disturbed >= clean - CLOSE:
                return after
        return None


@dataclass(frozen=True)
class RecoveryRow:
    """All parts and videos of one case.

    Attributes:
        case: of :data:`CASES`.
        objects: parts of videos that were followed without the disturbance.
        recovered: how many of them recovered within their video.
        frames: median frames until then, NaN where none did.
        loss: mean IoU lost in each frame after the wrong masks, as far as every video goes.
    """

    case: str
    objects: int
    recovered: int
    frames: float
    loss: tuple[float, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain types, NaN as None."""
        return {
            "wrong_masks": self.case,
            "objects": self.objects,
            "recovered": self.recovered,
            "median_frames": number(self.frames, 1),
            "IoU_lost_per_frame": [number(100 * loss) for loss in self.loss],
        }


def summarise_recovery(found: Sequence[Disturbance]) -> list[RecoveryRow]:
    """One row a case."""
    rows = []
    for case in CASES:
        objects = [one for one in found if one.case == case and one.counts]
        frames = [one.frames for one in objects if one.frames is not None]
        reach = min((len(one.clean) for one in objects), default=0)
        lost = np.array([np.subtract(one.clean[:reach], one.disturbed[:reach]) for one in objects])
        loss = tuple(float(x) for x in lost.mean(0)) if reach else ()
        rows.append(
            RecoveryRow(case, len(objects), len(frames), float(np.median(frames)) if frames else float("nan"), loss)
        )
    return rows


@dataclass(frozen=True)
class _Follower:
    """A session and the frames on which it gets a wrong mask."""

    session: Session
    wrong: range


@torch.inference_mode()
def disturb(robotseg: RobotSeg, video: Video, parts: Sequence[str]) -> list[Disturbance]:
    """Run every case on every part of a video, in auto mode.

    The wrong mask is the true one, displaced by half the image's width.  It enters as a mask prompt: as a correction
    of a tracked frame, or in place of the first frame.
    """
    followers: dict[str, dict[str, _Follower]] = {}
    first: dict[str, int] = {}
    clean: dict[str, dict[int, float]] = {part: {} for part in parts}
    scored: dict[str, dict[str, dict[int, float]]] = {part: {case: {} for case in CASES} for part in parts}
    for index in range(len(video.frames)):
        rgb = video.read_frame(index)
        frame = encode(robotseg, rgb)
        for part in parts:
            truth = video.read_truth(index, part, rgb.shape)
            if part not in first:
                if truth is None or not truth.any():
                    continue
                first[part] = index
                opened = {"": _Follower(open_session(robotseg, part, len(video.frames)), range(0))}
                for case, (start, count) in CASES.items():
                    session = open_session(robotseg, part, len(video.frames))
                    opened[case] = _Follower(session, range(index + start, index + start + count))
                for follower in opened.values():
                    follower.session.prompt_auto(index, frame)
                followers[part] = opened
            for case, follower in followers[part].items():
                is_first = index == first[part]
                wrong = index in follower.wrong and truth is not None
                if wrong and is_first:
                    follower.session.prompt_mask(index, frame, _wrong_mask(truth, frame.edge.device))
                output = follower.session.track(index, frame)
                if wrong and not is_first:
                    follower.session.prompt_mask(index, frame, _wrong_mask(truth, frame.edge.device))
                    follower.session.preflight()
                if truth is None:
                    continue
                score = iou(mask_of(output, truth.shape), truth)
                if not case:
                    clean[part][index] = score
                elif index >= follower.wrong.stop:
                    scored[part][case][index] = score
    return [
        Disturbance(case, video.name, part, tuple(clean[part][i] for i in after), tuple(after.values()))
        for part in first
        for case, after in scored[part].items()
    ]


def _wrong_mask(truth: Mask | None, device: torch.device) -> torch.Tensor:
    assert truth is not None
    return torch.from_numpy(np.roll(truth, truth.shape[1] // 2, axis=1)).to(device)
