# SPDX-License-Identifier: Apache-2.0
"""The contest: each frame is encoded once, everybody answers the same requests, one segmenter makes all masks."""

from __future__ import annotations

import itertools
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from robotseg_core.evaluation.language.answers import as_scored, score_answer
from robotseg_core.evaluation.language.referring import RequestScore
from robotseg_core.evaluation.language.sets import Shown
from robotseg_core.evaluation.language.table.contestants import Contestant, Looked
from robotseg_core.instruct.prompt_set import PromptSet
from robotseg_core.instruct.segmenter import segment
from robotseg_core.stream.robotseg import RobotSeg
from robotseg_core.synth.requests.generate import SceneRequest

Mask = NDArray[np.bool_]
STEPS = ("frames", "answers", "masks", "scores")
"""What time is used for."""


@dataclass(frozen=True)
class Scored:
    """One answer.

    Attributes:
        score: of its mask.
        boxes, points: in it.
        ms: CPU time of an answer alone, without encoder and the decoding of its masks; nan where several were made at
            once.
    """

    score: RequestScore
    boxes: int
    points: int
    ms: float


@dataclass(frozen=True, eq=False)
class Picture:
    """A request with the masks [H, W] of everybody's answers, as they are scored."""

    rgb: NDArray[np.uint8]
    truth: Mask
    masks: list[Mask]


@dataclass
class Contest:
    """What came of it.

    Attributes:
        scored: of each contestant, in the order of the requests.
        pictures: of those requests, by their number, that were to be kept.
        frames: how many.
        cpu_s: seconds of CPU by what they were used for: frames, answers, masks, scores.
    """

    scored: list[list[Scored]]
    pictures: dict[int, Picture] = field(default_factory=dict)
    frames: int = 0
    cpu_s: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STEPS, 0.0))


def hold_contest(
    robotseg: RobotSeg,
    frames: Shown,
    requests: Sequence[SceneRequest],
    contestants: Sequence[Contestant],
    *,
    kept: Collection[int] = (),
) -> Contest:
    """Ask everybody everything.

    Args:
        robotseg: encodes frames and makes all masks.
        frames: of the set.
        requests: those of one frame follow each other; each frame is a first frame.
        contestants: who answers.
        kept: numbers of requests whose masks are to be kept.

    Raises:
        ValueError: a frame or its map cannot be read, or there is no request.
    """
    if not requests:
        raise ValueError("there is no request to answer")
    found = Contest([[] for _ in contestants])
    last = requests[-1]
    if any(one.video != last.video for one in requests):
        # Whoever is shown another video's frame has one at the first request.
        _look(robotseg, frames, last.video, last.frame, contestants)
    number = itertools.count()
    with tqdm(total=len(requests), desc="requests") as bar:
        for (video, index), group in itertools.groupby(requests, key=lambda r: (r.video, r.frame)):
            begun = time.process_time()
            frame = _look(robotseg, frames, video, index, contestants)
            found.frames += 1
            found.cpu_s["frames"] += time.process_time() - begun
            asked = list(group)
            masks = _answers(robotseg, found, frame, asked, contestants)
            for one, own in zip(asked, masks, strict=True):
                if (at := next(number)) in kept:
                    found.pictures[at] = Picture(frame.rgb, np.isin(frame.ids, one.target), own)
            bar.update(len(asked))
    return found


def _look(
    robotseg: RobotSeg, frames: Shown, video: str, index: int, contestants: Sequence[Contestant]
) -> Looked:  # fmt: skip
    rgb, ids = frames.frame(video, index)
    (encoded,) = robotseg.encode_frames([rgb])
    frame = Looked(video, index, rgb, ids, encoded, robotseg.stream().step_encoded(encoded.again()))
    for contestant in contestants:
        contestant.look(frame)
    return frame


def _answers(
    robotseg: RobotSeg, found: Contest, frame: Looked, asked: Sequence[SceneRequest], contestants: Sequence[Contestant]
) -> list[list[Mask]]:
    """Masks of everybody's answers to the requests about a frame; equal prompts are decoded once."""
    made: dict[tuple[object, ...], Mask] = {}
    masks: list[list[Mask]] = [[] for _ in asked]
    for contestant, scored in zip(contestants, found.scored, strict=True):
        # How long one takes alone is measured with the first.
        times = [time.process_time()]
        answers = contestant.answers(asked[:1], frame)
        times.append(time.process_time())
        alone = 1000 * (times[1] - times[0])
        answers += contestant.answers(asked[1:], frame) if len(asked) > 1 else []
        found.cpu_s["answers"] += time.process_time() - times[0]
        for i, (one, answer) in enumerate(zip(asked, answers, strict=True)):
            times = [time.process_time()]
            mask = _mask(robotseg, frame, answer, made)
            times.append(time.process_time())
            score = score_answer(one, frame.ids, mask, answer, knows=contestant.knows)
            masks[i].append(as_scored(one, mask, answer, knows=contestant.knows))
            times.append(time.process_time())
            found.cpu_s["masks"] += times[1] - times[0]
            found.cpu_s["scores"] += times[2] - times[1]
            points = sum(len(instance.points) for instance in answer.instances)
            scored.append(Scored(score, len(answer.instances), points, float("nan") if i else alone))
    return masks


def _mask(robotseg: RobotSeg, frame: Looked, answer: PromptSet, made: dict[tuple[object, ...], Mask]) -> Mask:
    key = _prompts_of(answer)
    if key in made:
        return made[key]
    mask = segment(robotseg, frame.encoded, answer)
    if key:
        made[key] = mask
    return mask


def _prompts_of(answer: PromptSet) -> tuple[object, ...]:
    """What the segmenter makes the mask of; empty: the answer brings masks of its own."""
    if any(i.mask is not None for i in answer.instances):
        return ()
    return (answer.part, *((i.box, i.points, i.labels) for i in answer.instances))
