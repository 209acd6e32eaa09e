# SPDX-License-Identifier: Apache-2.0
"""What a hint changes on its frame and later; all of it streamed, as the node runs.

(Sessions with one part, as published, are measured by ``robotseg eval --protocol``.)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from robotseg_core.evaluation.dataset import Video
from robotseg_core.evaluation.hints.hinted_stream import HintedStream
from robotseg_core.evaluation.hints.objects import Target
from robotseg_core.evaluation.hints.unhinted import moved
from robotseg_core.evaluation.metrics import Mask, ObjectCounter, boundary_f, iou
from robotseg_core.evaluation.protocols import Truth
from robotseg_core.evaluation.scores import ObjectScore
from robotseg_core.stream.robotseg import RobotSeg
from robotseg_core.types import PARTS, Prompt, PromptKind

ON_THE_FRAME = ("auto", "1c", "3c", "bb")
"""Hints whose answer on the hinted frame is scored."""
LATE = ("1c", "bb")
"""Hints that are given in the middle of a video."""
MIN_AREA = 64
"""Pixels of a part below which no hint is given for it."""
FALSE_SHARE = 0.001
"""Of the frame's pixels that a falsely marked thing must have to be clicked away."""
GONE = 0.2
"""Of a falsely marked thing's pixels that may stay marked where it counts as gone."""
LATER = 10
"""Frames for which it must stay gone."""


@dataclass(frozen=True)
class HintScore:
    """The answer on one hinted frame: IoU, 0 to 1, of a part or object under a hint."""

    video: str
    frame: str
    target: str
    protocol: str
    iou: float


def _truth(video: Video, index: int, shape: tuple[int, ...]) -> Truth:
    return {part: video.read_truth(index, part, shape) for part in PARTS}


def _annotated(video: Video) -> Iterator[tuple[int, NDArray[np.uint8], Truth]]:
    for index in range(len(video.frames)):
        if any(video.frames[index].stem in masks for masks in video.truth.values()):
            rgb = video.read_frame(index)
            yield index, rgb, _truth(video, index, rgb.shape)


@torch.inference_mode()
def hinted_parts(robotseg: RobotSeg, video: Video, hints: Sequence[str] = ON_THE_FRAME) -> list[HintScore]:
    """Every annotated frame as a first frame: each part without a hint, and with each kind of hint for it alone."""
    scores = []
    stream = robotseg.stream()
    for index, rgb, truth in _annotated(video):
        (encoded,) = robotseg.encode_frames([rgb])
        stream.reset()
        unhinted = HintedStream(stream, "auto", ()).step(0, encoded, truth)
        for part, true in truth.items():
            if true is None or np.count_nonzero(true) < MIN_AREA:
                continue
            for hint in hints:
                answers = unhinted
                if hint != "auto":
                    stream.reset()
                    answers = HintedStream(stream, hint, (part,)).step(0, encoded, truth)
                scores.append(HintScore(video.name, video.frames[index].stem, part, hint, iou(answers[part], true)))
    return scores


@torch.inference_mode()
def later_frames(robotseg: RobotSeg, video: Video) -> list[ObjectScore]:
    """A video without a hint (``auto``), and with the true masks of its first annotated frame (``mask``).

    Scored are the annotated frames after that one on which truth or answer has the part.
    """
    first = next(index for index, _, _ in _annotated(video))
    trackers = {hint: HintedStream(robotseg.stream(), hint, PARTS, at=first) for hint in ("auto", "mask")}
    counters = {(hint, part): ObjectCounter() for hint in trackers for part in PARTS}
    for index in range(len(video.frames)):
        rgb = video.read_frame(index)
        truth = _truth(video, index, rgb.shape)
        (encoded,) = robotseg.encode_frames([rgb])
        for hint, tracker in trackers.items():
            answers = tracker.step(index, encoded, truth)
            for part in PARTS if index > first else ():
                if (true := truth[part]) is not None:
                    counters[hint, part].add(index, video.frames[index].stem, answers[part], true)
    return [ObjectScore(hint, part, tuple(c.frames)) for (hint, part), c in counters.items() if c.in_truth and c.frames]


@dataclass(frozen=True)
class LateHint:
    """A hint in the middle of a video: IoU on its frame and mean J&F after it, with the hint and without, 0 to 1."""

    video: str
    target: str
    protocol: str
    frame: float
    frame_without: float
    later: float
    later_without: float


@torch.inference_mode()
def late_hints(robotseg: RobotSeg, video: Video, parts: Sequence[str] = ("gripper", "robot")) -> list[LateHint]:
    """Each part is hinted at by itself, on the middle one of the annotated frames, while the stream is running."""
    annotated = [index for index, _, _ in _annotated(video)]
    at = annotated[len(annotated) // 2]
    trackers = {("", "auto"): HintedStream(robotseg.stream(), "auto", ())} | {
        (part, hint): HintedStream(robotseg.stream(), hint, (part,), at=at) for part in parts for hint in LATE
    }
    scores: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    for index in range(len(video.frames)):
        rgb = video.read_frame(index)
        truth = _truth(video, index, rgb.shape)
        (encoded,) = robotseg.encode_frames([rgb])
        for (told, hint), tracker in trackers.items():
            answers = tracker.step(index, encoded, truth)
            for part in (told,) if told else parts:
                true = truth[part]
                if index >= at and true is not None and np.count_nonzero(true) >= MIN_AREA:
                    found = iou(answers[part], true), boundary_f(answers[part], true)
                    scores.setdefault((part, hint, "frame" if index == at else "later"), []).append(found)
    late = []
    for part in parts:
        if (part, "auto", "frame") not in scores or (part, "auto", "later") not in scores:
            continue
        for hint in LATE:
            frame, before = (scores[part, kind, "frame"][0][0] for kind in (hint, "auto"))
            later, without = (float(np.mean(scores[part, kind, "later"])) for kind in (hint, "auto"))
            late.append(LateHint(video.name, part, hint, frame, before, later, without))
    return late


@dataclass(frozen=True)
class Followed:
    """A target followed through its video from one hint on.

    Attributes:
        target: what.
        protocol: the hint.
        first: IoU on the hinted frame.
        later: J and F, 0 to 1, of each later frame that shows the target, [n, 2].
        other: share of the others' visible pixels that are marked, for each frame in which they are seen.
    """

    target: Target
    protocol: str
    first: float
    later: NDArray[np.float64]
    other: tuple[float, ...]


@torch.inference_mode()
def followed(robotseg: RobotSeg, target: Target, hint: str, *, alone: bool = True) -> Followed:
    """Follow a target under the category "robot", which says nothing of it.

    Args:
        robotseg: the model.
        target: what is followed.
        hint: one of :data:`~robotseg_core.evaluation.hints.hinted_stream.HINTS`.
        alone: in a stream of its own, as a request in words is followed; else as a hint for the robot in the node's
            stream, beside arm and gripper.
    """
    stream = robotseg.target_stream() if alone else robotseg.stream()
    tracker = HintedStream(stream, hint, ("robot",))
    first, later, other = 0.0, [], []
    for index in range(len(target.maps)):
        true, wrong = target.mask(index), target.other_mask(index)
        (encoded,) = robotseg.encode_frames([target.video.read_frame(index)])
        answer = tracker.step(index, encoded, {"robot": true})["robot"]
        if index == 0:
            first = iou(answer, true)
        elif true.any():
            later.append((iou(answer, true), boundary_f(answer, true)))
        if wrong.any():
            other.append(float(answer[wrong].mean()))
    return Followed(target, hint, first, np.array(later, np.float64).reshape(-1, 2), tuple(other))


@dataclass(frozen=True)
class Negative:
    """A falsely marked thing that was clicked away.

    Attributes:
        left: share of its pixels still marked right after the click.
        later: the largest such share on the following frames.
        kept: IoU of what was rightly marked, before against after.
    """

    video: str
    frame: str
    left: float
    later: float
    kept: float


@torch.inference_mode()
def negative_clicks(robotseg: RobotSeg, video: Video) -> list[Negative]:
    """On every annotated frame the largest falsely marked thing gets one negative click in its middle.

    The click is given for each part that is marked there, as a user would; the same picture follows, a little moved.
    """
    found = []
    for index, rgb, truth in _annotated(video):
        robot = truth["robot"]
        if robot is None:
            continue
        stream = robotseg.stream()
        before = stream.step(rgb)
        marked = before["robot"].mask > 0
        near = cv2.dilate(robot.view(np.uint8), np.ones((11, 11), np.uint8)) > 0
        thing = _largest(marked & ~near)
        if thing.mean() < FALSE_SHARE:
            continue
        depth = cv2.distanceTransform(np.pad(thing, 1).view(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
        y, x = np.unravel_index(int(depth.argmax()), depth.shape)
        parts = [part for part in PARTS if before[part].mask[y, x]]
        hints = [Prompt(part, PromptKind.POINT, (float(x), float(y)), 0) for part in parts]
        after = stream.correct(*hints)["robot"].mask > 0
        later = [
            float((stream.step(moved(rgb, shift))["robot"].mask > 0)[thing].mean()) for shift in range(1, LATER + 1)
        ]
        kept = iou(after & robot, marked & robot)
        found.append(Negative(video.name, video.frames[index].stem, float(after[thing].mean()), max(later), kept))
    return found


def _largest(mask: Mask) -> Mask:
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8))
    if count < 2:
        return np.zeros_like(mask)
    return np.asarray(labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax()))


def mean_of(scores: Iterable[HintScore], target: str, protocol: str) -> tuple[int, float]:
    """How many frames, and their mean IoU, NaN for none."""
    values = [s.iou for s in scores if s.target == target and s.protocol == protocol]
    return len(values), float(np.mean(values)) if values else float("nan")
