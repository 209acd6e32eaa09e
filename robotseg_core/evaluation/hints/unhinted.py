# SPDX-License-Identifier: Apache-2.0
"""What a stream does without hints: what its memory is worth, what it misses, what it marks where no robot is."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from robotseg_core.evaluation.dataset import Video
from robotseg_core.evaluation.metrics import Mask, ObjectCounter
from robotseg_core.evaluation.perturb import blur, dark
from robotseg_core.evaluation.protocols import StreamTracker
from robotseg_core.evaluation.runner import seed_of
from robotseg_core.evaluation.scores import ObjectScore
from robotseg_core.files.pictures import read_rgb
from robotseg_core.stream.robotseg import RobotSeg
from robotseg_core.types import PARTS, State

AWAY = 100
"""Frames without a robot before it comes back: 10 s at 10 a second."""
THIN = 0.02
"""Of the image's diagonal, the width below which a piece of a gripper is thin."""


def moved(rgb: NDArray[np.uint8], shift: int) -> NDArray[np.uint8]:
    """A picture [H, W, 3] of a camera that trembles: at most one pixel off, as frame number ``shift`` has it."""
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


def thin_pieces(gripper: Mask) -> Mask:
    """Fingers and the like, [H, W].

    What a disc of a diameter of :data:`THIN` of the diagonal does not fit into, no crumbs.
    """
    side = max(5, round(THIN * float(np.hypot(*gripper.shape))))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    # The border of the image cuts pieces, it makes none thin.
    opened = cv2.morphologyEx(
        cv2.copyMakeBorder(gripper.view(np.uint8), side, side, side, side, cv2.BORDER_REPLICATE), cv2.MORPH_OPEN, disc
    )[side:-side, side:-side]
    thin = gripper & (opened == 0)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(thin.view(np.uint8))
    large = stats[:, cv2.CC_STAT_AREA] >= side * side / 2
    large[0] = False
    return np.asarray(large[labels])


@torch.inference_mode()
def thin_recall(robotseg: RobotSeg, video: Video) -> list[tuple[float, float]]:
    """Of each annotated frame with thin pieces: the share of their pixels marked as gripper, and as robot."""
    tracker, shares = StreamTracker(robotseg), []
    for index in range(len(video.frames)):
        rgb = video.read_frame(index)
        answers = tracker.step(index, rgb, None, {})
        gripper = video.read_truth(index, "gripper", rgb.shape)
        if gripper is not None and (thin := thin_pieces(gripper)).any():
            shares.append((float(answers["gripper"][thin].mean()), float(answers["robot"][thin].mean())))
    return shares


@torch.inference_mode()
def false_pixels(robotseg: RobotSeg, pictures: Iterable[Path]) -> list[float]:
    """Share of each picture without a robot that is marked as robot, each as a first frame."""
    shares = []
    for path in pictures:
        result = robotseg.stream().step(read_rgb(path))
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
    picture = read_rgb(nothing)
    for shift in range(away):
        stream.step(moved(picture, shift))
    for index in range(len(video.frames)):
        if stream.step(video.read_frame(index)).state is State.TRACKING:
            return index
    return len(video.frames)
