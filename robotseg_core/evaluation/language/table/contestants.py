# SPDX-License-Identifier: Apache-2.0
"""Who answers: policies, policies that are kept from seeing or reading, and those who need neither (SEGR1 10.7)."""

from __future__ import annotations

import dataclasses
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from robotseg_core.evaluation.language.answers import true_prompts
from robotseg_core.evaluation.language.table.boxes import Box
from robotseg_core.instruct.prompt_set import Answer, Instance, Policy, PromptSet, View
from robotseg_core.instruct.request import Request
from robotseg_core.instruct.segmenter import predicted_iou
from robotseg_core.instruct.small.policy import SmallPolicy
from robotseg_core.stream.frame_state import EncodedFrame
from robotseg_core.stream.postprocess import part_mask
from robotseg_core.stream.robotseg import RobotSeg
from robotseg_core.synth.requests.generate import SceneRequest
from robotseg_core.types import PartMask, PartMasks

RANDOM, AVERAGE, CATEGORY, RULES = "random box", "average box", "category", "rules"
CEILING, WITH_POINTS = "true box", "true box + points"


@dataclass(frozen=True, eq=False)
class Looked:
    """A frame that everybody is asked about.

    Attributes:
        video, index: which.
        rgb: [H, W, 3] uint8.
        ids: map of instances [H, W].
        encoded: of the segmenter.
        parts: its automatic masks, as of a first frame.
    """

    video: str
    index: int
    rgb: NDArray[np.uint8]
    ids: NDArray[np.uint16]
    encoded: EncodedFrame
    parts: PartMasks


class Contestant(Protocol):
    """Somebody who answers; several of one row are seeds of one method."""

    @property
    def row(self) -> str:
        """In the table."""
        ...

    @property
    def knows(self) -> bool:
        """Whether it is told that everything else is asked for."""
        ...

    def look(self, frame: Looked) -> None:
        """Before the first request about a frame."""
        ...

    def answers(self, requests: Sequence[SceneRequest], frame: Looked) -> list[PromptSet]:
        """Requests about the frame that was looked at last."""
        ...


@dataclass(frozen=True)
class Told:
    """Answers without reading the words: it is told the part, and what else it needs."""

    row: str
    prompts: Callable[[SceneRequest, Looked], PromptSet]
    knows: bool = True

    def look(self, frame: Looked) -> None:
        """Nothing."""

    def answers(self, requests: Sequence[SceneRequest], frame: Looked) -> list[PromptSet]:
        """See :class:`Contestant`."""
        return [self.prompts(one, frame) for one in requests]


def told(boxes: Mapping[str, Box] | None, *, seed: int) -> list[Told]:
    """Random boxes, average boxes (shares of the frame, by part; None: left out), category alone, the truth."""

    def random_box(one: SceneRequest, frame: Looked) -> PromptSet:
        said = f"{one.video}/{one.frame}/{one.text}".encode()
        rng = np.random.default_rng([seed, zlib.crc32(said)])
        (x0, x1), (y0, y1) = np.sort(rng.random((2, 2)), axis=1)
        return _one_box((x0, y0, x1, y1), one.kind, frame)

    def average_box(one: SceneRequest, frame: Looked) -> PromptSet:
        return _one_box((boxes or {})[one.kind], one.kind, frame)

    def category(one: SceneRequest, frame: Looked) -> PromptSet:
        return PromptSet(Answer.FOUND, (Instance((0, 0, 1, 1), mask=frame.parts[one.kind].mask > 0),))

    found = [Told(RANDOM, random_box)] + ([Told(AVERAGE, average_box)] if boxes else [])
    found.append(Told(CATEGORY, category))
    for row, points in ((CEILING, 0), (WITH_POINTS, 2)):
        found.append(Told(row, lambda one, frame, points=points: true_prompts(frame.ids, one, points=points)))  # type: ignore[misc]
    return found


def _one_box(shares: Box, kind: str, frame: Looked) -> PromptSet:
    height, width = frame.rgb.shape[:2]
    x0, y0, x1, y1 = np.array(shares) * (width - 1, height - 1, width - 1, height - 1)
    box = (float(x0), float(y0), max(float(x1), x0 + 1.0), max(float(y1), y0 + 1.0))
    return PromptSet(Answer.FOUND, (Instance(box),), part=kind)


class Reads:
    """A policy that reads a text of each request, and sees its frame or one of another video."""

    knows = False

    def __init__(
        self, row: str, policy: Policy, text: Callable[[SceneRequest], str] | None = None, *, blind: bool = False
    ) -> None:
        """``text``: what it is given to read (None: the request's own); ``blind``: whether to show another video."""
        self.row, self._policy, self._blind = row, policy, blind
        self._text = text or (lambda one: one.text)
        self._video = ""
        self._latest: tuple[Any, PartMasks] | None = None
        self._seen: tuple[Any, PartMasks] | None = None

    def look(self, frame: Looked) -> None:
        """Keep what the policy sees of the frame; blind: of the last frame of the video before."""
        made = (self._policy.look(frame.encoded, frame.parts), frame.parts)
        if not self._blind:
            self._seen = made
        elif frame.video != self._video:
            self._video, self._seen = frame.video, self._latest
        self._latest = made

    def answers(self, requests: Sequence[SceneRequest], frame: Looked) -> list[PromptSet]:
        """See :class:`Contestant`.

        Raises:
            ValueError: blind, and no other video has been looked at.
        """
        if self._seen is None:
            raise ValueError(f"{self.row}: no frame of another video has been shown before {frame.video}")
        features, parts = self._seen
        view = View(frame.rgb, _of_size(parts, *frame.rgb.shape[:2]) if self._blind else parts, features)
        read = [Request.of(self._text(one)) for one in requests]
        if isinstance(self._policy, SmallPolicy):
            return self._policy.answer_all(read, view)
        return [self._policy.answer(one, view) for one in read]


def _of_size(parts: PartMasks, height: int, width: int) -> PartMasks:
    """Masks of another frame, stretched to this one's size."""

    def stretched(part: PartMask) -> PartMask:
        mask = cv2.resize(part.mask, (width, height), interpolation=cv2.INTER_NEAREST)
        return part_mask(part.name, mask > 0, part.score)

    return dataclasses.replace(parts, parts=tuple(stretched(part) for part in parts.parts))


class BestOf:
    """Draws answers; what is said (one, several, else, none, unknown) is voted on, of those that say so the
    segmenter's own predicted IoU picks one.
    """

    knows = False

    def __init__(self, row: str, policy: SmallPolicy, robotseg: RobotSeg, *, count: int, seed: int) -> None:
        self.row, self._policy, self._robotseg, self._count, self._seed = row, policy, robotseg, count, seed
        self._seen: Any = None

    def look(self, frame: Looked) -> None:
        """Keep what the policy sees of the frame."""
        self._seen = self._policy.look(frame.encoded, frame.parts)

    def answers(self, requests: Sequence[SceneRequest], frame: Looked) -> list[PromptSet]:
        """See :class:`Contestant`."""
        said = zlib.crc32(f"{frame.video}/{frame.index}".encode())
        generator = torch.Generator().manual_seed(self._seed * 2**32 + said)
        view = View(frame.rgb, frame.parts, self._seen)
        drawn = self._policy.draw_all([Request.of(one.text) for one in requests], view, self._count, generator)
        agreed = [_agreed(several) for several in drawn]
        together = [answer for several in agreed for answer in several]
        quality = iter(predicted_iou(self._robotseg, frame.encoded, together))
        liked = [[next(quality) for _ in several] for several in agreed]
        # What has no box is nan, and alike.
        return [several[int(np.argmax(np.nan_to_num(own)))] for several, own in zip(agreed, liked, strict=True)]


def _agreed(drawn: Sequence[PromptSet]) -> list[PromptSet]:
    """Answers that say what most say; of "none" and "not understood" one is enough."""
    most = Counter(_kind_of(answer) for answer in drawn).most_common(1)[0][0]
    agreed = [answer for answer in drawn if _kind_of(answer) == most]
    return agreed if most[0] is Answer.FOUND else agreed[:1]


def _kind_of(answer: PromptSet) -> tuple[Answer, bool, bool]:
    return answer.answer, answer.invert, len(answer.instances) > 1


def shuffled_texts(requests: Sequence[SceneRequest], *, seed: int) -> dict[SceneRequest, str]:
    """For each request the text of another one about the same part, of another video; its own where there is none.

    Exclusions are exchanged for exclusions.
    """
    rng = np.random.default_rng(seed)
    groups: dict[tuple[str, bool], list[SceneRequest]] = defaultdict(list)
    for one in dict.fromkeys(requests):
        groups[one.kind, one.invert].append(one)
    texts = {}
    for several in groups.values():
        order = [several[i] for i in rng.permutation(len(several))]
        for i, one in enumerate(order):
            later = order[i + 1 :] + order[:i]
            texts[one] = next((other.text for other in later if other.video != one.video), one.text)
    return texts
