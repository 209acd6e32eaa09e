# SPDX-License-Identifier: Apache-2.0
"""Run protocols over one video, side by side, so that each frame is read and encoded once."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from robotseg_core.evaluation.cases import draw_case
from robotseg_core.evaluation.dataset import Video
from robotseg_core.evaluation.metrics import Mask, ObjectCounter, iou
from robotseg_core.evaluation.prompts import ExactUser, ShakyUser
from robotseg_core.evaluation.protocols import SessionTracker, StreamTracker, Tracker, Truth, encode
from robotseg_core.evaluation.refine import refine
from robotseg_core.evaluation.scores import FalsePixels, ObjectScore, VideoScore
from robotseg_core.files.mask_files import FOLDERS, write_png
from robotseg_core.stream.robotseg import RobotSeg

Spoil = Callable[[str, int, NDArray[np.uint8], Truth], tuple[NDArray[np.uint8], Truth]]
"""Makes a frame harder: (name of the video, index, image, truth) -> (image, truth), neither changed in place."""


@dataclass(frozen=True)
class Plan:
    """What is run on a video.

    Attributes:
        protocols: of :data:`~robotseg_core.evaluation.protocols.PROTOCOLS`.
        parts: that are scored.
        memory: False forgets everything before each frame (``stream`` only).
        refine: whether the published boundary refinement is applied to the answers of sessions, from the second
            frame of a video on.
        miss: how far prompts miss, as a part of the box's side; 0 for exact ones.
        spoil: what is done to frames before they are shown, or None.
    """

    protocols: tuple[str, ...]
    parts: tuple[str, ...]
    memory: bool = True
    refine: bool = True
    miss: float = 0.0
    spoil: Spoil | None = None


@dataclass
class _Run:
    """One protocol on the video."""

    trackers: list[Tracker]
    counters: dict[str, ObjectCounter]
    false: list[float] = field(default_factory=list)
    worst: float = 2.0
    case: NDArray[np.uint8] | None = None


@torch.inference_mode()
def run_video(
    robotseg: RobotSeg, video: Video, plan: Plan, *, cases: Path | None = None, masks: Path | None = None
) -> VideoScore:
    """Score one video.

    Args:
        robotseg: the model.
        video: its frames and truth.
        plan: what is run.
        cases: folder that gets ``<protocol>/<video>.png``, the video's worst frame.
        masks: folder that gets ``<protocol>/<video>/<000|001|002>/<frame>.png``, 0 or 255.

    Raises:
        ValueError: a file is no image or of the wrong size.
    """
    start = time.perf_counter()
    runs = {protocol: _open(robotseg, video, plan, protocol) for protocol in plan.protocols}
    # In a video in which no annotated frame shows a robot, no frame does.
    no_robot = video.shows_robot() is False
    needed = tuple(dict.fromkeys((*plan.parts, "robot")))
    for index in range(len(video.frames)):
        rgb = video.read_frame(index)
        truth: Truth = {part: video.read_truth(index, part, rgb.shape) for part in needed}
        if plan.spoil is not None:
            rgb, truth = plan.spoil(video.name, index, rgb, truth)
        frame = encode(robotseg, rgb) if set(plan.protocols) != {"stream"} else None
        for protocol, run in runs.items():
            answers: dict[str, Mask] = {}
            for tracker in run.trackers:
                answers |= tracker.step(index, rgb, frame, truth)
            if plan.refine and protocol != "stream" and index:
                answers = {part: refine(mask, rgb) for part, mask in answers.items()}
            _count(run, plan, video, index, rgb, answers, truth, no_robot)
            if masks is not None:
                _write(masks / protocol / video.name, video.frames[index].stem, answers)
    for protocol, run in runs.items():
        if cases is not None and run.case is not None:
            (cases / protocol).mkdir(parents=True, exist_ok=True)
            write_png(cases / protocol / f"{video.name}.png", np.ascontiguousarray(run.case[..., ::-1]))
    return VideoScore(
        name=video.name,
        embodiment=video.embodiment,
        frames=len(video.frames),
        annotated=video.annotated,
        objects=tuple(
            ObjectScore(protocol, part, tuple(counter.frames))
            for protocol, run in runs.items()
            for part, counter in run.counters.items()
            if counter.in_truth
        ),
        false_pixels=tuple(
            FalsePixels(protocol, len(run.false), float(np.mean(run.false)))
            for protocol, run in runs.items()
            if run.false
        ),
        seconds=time.perf_counter() - start,
    )


def seed_of(*words: object) -> int:
    """A seed that depends on these words alone."""
    return zlib.crc32("/".join(map(str, words)).encode())


def _open(robotseg: RobotSeg, video: Video, plan: Plan, protocol: str) -> _Run:
    trackers: list[Tracker]
    if protocol == "stream":
        trackers = [StreamTracker(robotseg, memory=plan.memory)]
    else:
        trackers = [
            SessionTracker(
                robotseg,
                part,
                protocol,
                frames=len(video.frames),
                user=ShakyUser(plan.miss, seed_of(video.name, part)) if plan.miss else ExactUser(),
            )
            for part in plan.parts
        ]
    return _Run(trackers, {part: ObjectCounter() for part in plan.parts})


def _count(
    run: _Run,
    plan: Plan,
    video: Video,
    index: int,
    rgb: NDArray[np.uint8],
    answers: dict[str, Mask],
    truth: Truth,
    no_robot: bool,
) -> None:
    name = video.frames[index].stem
    robot = truth["robot"]
    empty = no_robot if robot is None else not robot.any()
    if empty and "robot" in answers:
        run.false.append(float(answers["robot"].mean()))
    quality = []
    for part in plan.parts:
        true = truth[part]
        if true is None:
            continue
        answer = answers.get(part, np.zeros_like(true))
        run.counters[part].add(index, name, answer, true)
        quality.append(iou(answer, true))
    if quality and (mean := float(np.mean(quality))) < run.worst:
        run.worst = mean
        run.case = draw_case(rgb, truth, answers)


def _write(folder: Path, name: str, answers: dict[str, Mask]) -> None:
    for part, mask in answers.items():
        (folder / FOLDERS[part]).mkdir(parents=True, exist_ok=True)
        write_png(folder / FOLDERS[part] / f"{name}.png", mask.view(np.uint8) * np.uint8(255))
