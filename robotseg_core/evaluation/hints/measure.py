# SPDX-License-Identifier: Apache-2.0
"""What a hint changes on the frame it is given for, what is left of it on later frames, and what the memory is worth.

Sessions (one part, SPEC 8) measure prompts; the stream, as the node runs it, measures what a user sees: negative
clicks, the memory on frames that need it, pictures without robots, and a robot that comes back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from robotseg_core.evaluation.dataset import Video
from robotseg_core.evaluation.hints.objects import Target
from robotseg_core.evaluation.metrics import Mask, ObjectCounter, boundary_f, iou
from robotseg_core.evaluation.perturb import blur, dark
from robotseg_core.evaluation.protocols import SessionTracker, StreamTracker, Truth, encode
from robotseg_core.evaluation.runner import seed_of
from robotseg_core.evaluation.scores import ObjectScore
from robotseg_core.stream.robotseg import RobotSeg
from robotseg_core.types import PARTS, Prompt, PromptKind, State

ON_THE_FRAME = ("auto", "1c", "3c", "bb")
"""Protocols whose answer on the hinted frame is scored."""
MIN_AREA = 64
"""Pixels of a part below which no hint is given for it."""
FALSE_SHARE = 0.001
"""Of the frame's pixels that a falsely marked thing must have to be clicked away."""
GONE = 0.2
"""Of a falsely marked thing's pixels that may stay marked where it counts as gone."""
LATER = 10
"""Frames for which it must stay gone."""
AWAY = 100
"""Frames without a robot before it comes back: 10 s at 10 a second."""


@dataclass(frozen=True)
class HintScore:
    """The answer on one hinted frame: IoU, 0 to 1, of a part or object under a protocol."""

    video: str
    frame: str
    target: str
    protocol: str
    iou: float


def _annotated(video: Video) -> Iterator[tuple[int, NDArray[np.uint8], Truth]]:
    for index in range(len(video.frames)):
        if any(video.frames[index].stem in masks for masks in video.truth.values()):
            rgb = video.read_frame(index)
            yield index, rgb, {part: video.read_truth(index, part, rgb.shape) for part in PARTS}


@torch.inference_mode()
def hinted_parts(robotseg: RobotSeg, video: Video, protocols: Sequence[str] = ON_THE_FRAME) -> list[HintScore]:
    """Every annotated frame as a first frame: each part without a hint, and with each kind of hint."""
    scores = []
    for index, rgb, truth in _annotated(video):
        frame = encode(robotseg, rgb)
        for part, true in truth.items():
            if true is None or np.count_nonzero(true) < MIN_AREA:
                continue
            for protocol in protocols:
                answer = SessionTracker(robotseg, part, protocol, frames=1).step(0, rgb, frame, truth)[part]
                scores.append(HintScore(video.name, video.frames[index].stem, part, protocol, iou(answer, true)))
    return scores


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
def followed(robotseg: RobotSeg, target: Target, protocol: str, *, part: str = "robot") -> Followed:
    """Follow a target under a category that says nothing of it."""
    tracker = SessionTracker(robotseg, part, protocol, frames=len(target.maps))
    first, later, other = 0.0, [], []
    for index in range(len(target.maps)):
        rgb = target.video.read_frame(index)
        true, wrong = target.mask(index), target.other_mask(index)
        answers = tracker.step(index, rgb, encode(robotseg, rgb), {p: true if p == part else None for p in PARTS})
        answer = answers.get(part, np.zeros_like(true))
        if index == 0:
            first = iou(answer, true)
        elif true.any():
            later.append((iou(answer, true), boundary_f(answer, true)))
        if wrong.any():
            other.append(float(answer[wrong].mean()))
    return Followed(target, protocol, first, np.array(later, np.float64).reshape(-1, 2), tuple(other))


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
            float((stream.step(_moved(rgb, shift))["robot"].mask > 0)[thing].mean()) for shift in range(1, LATER + 1)
        ]
        kept = iou(after & robot, marked & robot)
        found.append(Negative(video.name, video.frames[index].stem, float(after[thing].mean()), max(later), kept))
    return found


def _largest(mask: Mask) -> Mask:
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8))
    if count < 2:
        return np.zeros_like(mask)
    return np.asarray(labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax()))


def _moved(rgb: NDArray[np.uint8], shift: int) -> NDArray[np.uint8]:
    """A camera that trembles: at most one pixel off."""
    return np.ascontiguousarray(np.roll(rgb, (shift % 3 - 1, shift % 2), (0, 1)))


def needs_memory(video: str, index: int, rgb: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """The second and third of every four frames, nearly black or blurred beyond recognition; None: left as it is."""
    if index % 4 not in (2, 3):
        return None
    seed = seed_of(video, "needs memory", index // 4)
    return dark(rgb, 0.04, seed) if seed % 2 else blur(rgb, 3.0, seed)


@torch.inference_mode()
def memory_worth(robotseg: RobotSeg, video: Video) -> dict[str, list[ObjectScore]]:
    """J&F of the stream with and without memory on the frames that need it, and with memory on the others.

    Keys: ``on``, ``off``, ``clear``.
    """
    trackers = {"on": StreamTracker(robotseg), "off": StreamTracker(robotseg, memory=False)}
    counters = {key: {part: ObjectCounter() for part in PARTS} for key in ("on", "off", "clear")}
    for index in range(len(video.frames)):
        rgb = video.read_frame(index)
        hard = needs_memory(video.name, index, rgb)
        shown = rgb if hard is None else hard
        for key, tracker in trackers.items():
            if key == "off" and hard is None:
                continue
            answers = tracker.step(index, shown, None, {})
            for part in PARTS:
                true = video.read_truth(index, part, rgb.shape)
                if true is not None:
                    counters[key if hard is not None else "clear"][part].add(
                        index, video.frames[index].stem, answers[part], true
                    )
    return {
        key: [ObjectScore(key, part, tuple(c.frames)) for part, c in parts.items() if c.in_truth and c.frames]
        for key, parts in counters.items()
    }


@torch.inference_mode()
def false_pixels(robotseg: RobotSeg, pictures: Iterable[Path]) -> list[float]:
    """Share of each picture without a robot that is marked as robot, each as a first frame."""
    shares = []
    for path in pictures:
        result = robotseg.stream().step(_read(path))
        shares.append(float((result["robot"].mask > 0).mean()))
    return shares


@torch.inference_mode()
def frames_until_back(robotseg: RobotSeg, video: Video, nothing: Path, *, away: int = AWAY) -> int | None:
    """The robot leaves for ``away`` frames of a picture without it: frames after its return until TRACKING.

    None where it was not tracked before; ``len(frames)`` where it is not found again.
    """
    stream = robotseg.stream()
    state = State.SEARCHING
    for index in range(len(video.frames)):
        state = stream.step(video.read_frame(index)).state
    if state is not State.TRACKING:
        return None
    picture = _read(nothing)
    for shift in range(away):
        stream.step(_moved(picture, shift))
    for index in range(len(video.frames)):
        if stream.step(video.read_frame(index)).state is State.TRACKING:
            return index
    return len(video.frames)


def _read(path: Path) -> NDArray[np.uint8]:
    bgr = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if bgr is None:
        raise ValueError(f"{path} cannot be read as an image")
    return np.ascontiguousarray(bgr[..., ::-1], dtype=np.uint8)


def mean_of(scores: Iterable[HintScore], target: str, protocol: str) -> tuple[int, float]:
    """How many frames, and their mean IoU, NaN for none."""
    values = [s.iou for s in scores if s.target == target and s.protocol == protocol]
    return len(values), float(np.mean(values)) if values else float("nan")


Progress = Callable[[Sequence[Video], str], Iterable[Video]]
"""Shows how far a list of videos has been gone through."""
