# SPDX-License-Identifier: Apache-2.0
"""Rows follow their clips through the model with hints and memory, as parts of a stream do, each with its own start.

Shape glossary: B clips, T frames, N = R * B rows (row-major: all clips of a row stand together), h = w = S / 4.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from robotseg_core.model.mask_decoder import Candidates
from robotseg_core.model.robotseg_model import Conditioned, Features, RobotSegModel
from robotseg_core.stream.prompting import PROMPT_LOGIT, Decoded, decode, fed_back
from robotseg_core.train.data.prompts import Points
from robotseg_core.train.hinted import hints
from robotseg_core.train.hinted.clips.draw import Program
from robotseg_core.train.hinted.row_memory import RowMemory

AUTOMATIC = 3
"""Rows without a hint that come first: arm, gripper, robot."""


@dataclass(frozen=True)
class Rows:
    """What is asked of N rows.

    Attributes:
        category: [N] class tokens.
        truth: [N, T, h, w] coverage of the target of each frame.
        off: [N, h, w] what a negative click may be on, on the hint's frame.
        weight: [N, T] 1 where the truth is known, else 0.
        teacher: [N] bool: the truth is remembered, not the answer.
    """

    category: Tensor
    truth: Tensor
    off: Tensor
    weight: Tensor
    teacher: Tensor


@dataclass(frozen=True)
class Decoding:
    """One answer to frame ``frame`` of the rows ``start`` to ``stop``.

    Attributes:
        frame: number of the frame.
        start, stop: the rows.
        candidates: all masks.
        multimask: the best of masks 1 to 3 counts; else mask 0.
        share: part of the frame's loss that is its own.
    """

    frame: int
    start: int
    stop: int
    candidates: Candidates
    multimask: bool
    share: float


@dataclass(frozen=True)
class Followed:
    """Answers to a clip.

    Attributes:
        decodings: all that is to be learned from.
        logits: of each frame [N, h, w], what was finally answered.
        seen: of each frame [N], the object logits.
        structure: of each frame that read the memory, [N, layers, g, g]; else None.
    """

    decodings: list[Decoding]
    logits: list[Tensor]
    seen: list[Tensor]
    structure: list[Tensor | None]


def rows_of(features: Features, rows: slice) -> Features:
    """Some of the rows."""
    return Features(features.h4[rows], features.h8[rows], features.f16[rows])


def tiled(features: Features, times: int) -> Features:
    """Features of B frames -> of ``times * B`` rows, all frames once, then all again."""
    return Features(*(x.repeat(times, 1, 1, 1) for x in (features.h4, features.h8, features.f16)))


def give_masks(model: RobotSegModel, frame: Features, coverage: Tensor) -> Decoded:
    """Masks given by the user, taken as they are: N rows with coverage [N, h, w] (SPEC 8)."""
    size = (model.config.image_size, model.config.image_size)
    large = (F.interpolate(coverage[:, None], size, mode="bilinear") >= 0.5).float()
    raw = Conditioned(
        image=frame.f16.flatten(2).transpose(1, 2),
        object_tokens=model.robot_prompt_generator.no_memory(len(coverage)),
        token_mask=None,
        structure=None,
    )
    decoded = decode(model, frame, raw, None, mask_logits=model.mask_downsample(large))
    seen = coverage.amax((1, 2)) >= 0.5
    logits = F.interpolate(large, coverage.shape[-2:], mode="bilinear", antialias=True)[:, 0] * 2 - 1
    return Decoded(
        logits=logits * PROMPT_LOGIT,
        pointer=torch.where(seen[:, None], decoded.pointer, model.no_obj_ptr.to(decoded.pointer.dtype)),
        object_logit=torch.where(seen, PROMPT_LOGIT, -PROMPT_LOGIT),
        iou=torch.ones_like(decoded.iou),
        candidates=decoded.candidates,
        choice=decoded.choice,
        multimask=False,
    )


class Follower:
    """Takes rows through a clip.

    Args:
        model: of the clip's size.
        frames: features of each frame, B rows.
        edges: [B, 1, g, g] of each frame.
        rows: what is asked.
        what: how.
        generator: of the hints.
        memory: False: every frame on its own, for comparison.
    """

    def __init__(
        self,
        model: RobotSegModel,
        frames: list[Features],
        edges: list[Tensor],
        rows: Rows,
        what: Program,
        generator: torch.Generator | None,
        *,
        memory: bool = True,
    ) -> None:
        self.model, self.rows, self.what, self.generator, self.use_memory = model, rows, what, generator, memory
        self.batch = len(frames[0].f16)
        self.times = AUTOMATIC + len(what.hints)
        self.frames, self.edges = frames, edges
        self.bank = RowMemory(model, len(rows.category), rows.category.device, generator)
        self.followed = Followed([], [], [], [])
        self._frame = tiled(frames[0], 1)

    def run(self) -> Followed:
        """All frames in order."""
        for t in range(len(self.frames)):
            self._step(t)
        return self.followed

    def _note(self, t: int, rows: slice, decoded: Decoded, share: float) -> None:
        self.followed.decodings.append(Decoding(t, rows.start, rows.stop, decoded.candidates, decoded.multimask, share))

    def _step(self, t: int) -> None:
        rows, what, model = self.rows, self.what, self.model
        frame = self._frame = tiled(self.frames[t], self.times)
        if self.use_memory and self.bank.frames:
            edge = self.edges[t].repeat(self.times, 1, 1, 1)
            conditioned = model.condition(frame, edge, self.bank.look_up())
        else:
            conditioned = model.initial(frame, len(rows.category))
        hinted = torch.zeros_like(rows.teacher)
        if t == what.hint_frame and what.hints:
            answers = [self._plain(t, conditioned, slice(0, AUTOMATIC * self.batch))]
            for i, hint in enumerate(what.hints):
                some = slice((AUTOMATIC + i) * self.batch, (AUTOMATIC + i + 1) * self.batch)
                answers.append(self._hint(t, hint, some))
            logits = torch.cat([a.logits.float() for a in answers])
            object_logit = torch.cat([a.object_logit.float() for a in answers])
            pointer = torch.cat([a.pointer.float() for a in answers])
            hinted = torch.arange(len(hinted), device=hinted.device) >= AUTOMATIC * self.batch
        else:
            answer = self._plain(t, conditioned, slice(0, len(rows.category)), share=0.5 if t == what.late else 1.0)
            if t == what.late:
                answer = self._correct(t, conditioned, slice(0, len(rows.category)), answer, None, share=0.5)[0]
            logits, object_logit, pointer = answer.logits.float(), answer.object_logit.float(), answer.pointer.float()
        self.followed.logits.append(logits)
        self.followed.seen.append(object_logit)
        self.followed.structure.append(conditioned.structure if self.bank.frames and self.use_memory else None)
        if self.use_memory and t + 1 < len(self.frames):
            self._remember(t, logits, object_logit, pointer, hinted)

    def _remember(self, t: int, logits: Tensor, object_logit: Tensor, pointer: Tensor, hinted: Tensor) -> None:
        rows = self.rows
        truth = rows.truth[:, t]
        told = rows.teacher & (rows.weight[:, t] > 0)
        there = truth.amax((1, 2)) >= 0.5
        # The memory encoder's hard masks have no slope; nor has what was found absent.
        kept = torch.where(told[:, None, None], (2 * truth - 1) * PROMPT_LOGIT, logits)
        present = torch.where(told, torch.where(there, PROMPT_LOGIT, -PROMPT_LOGIT), object_logit.detach())
        begins = (hinted & (present > 0)) | ((self.bank.start < 0) & (present > 0))
        # A hint that found nothing is forgotten, as in use.
        self.bank.store(self._frame, kept, present, pointer, begins, begins | (t == self.what.late))

    def _plain(self, t: int, conditioned: Conditioned, some: slice, share: float = 1.0) -> Decoded:
        """By category and memory alone."""
        decoded = decode(self.model, rows_of(self._frame, some), _part(conditioned, some), self.rows.category[some])
        self._note(t, some, decoded, share)
        return decoded

    def _hint(self, t: int, hint: str, some: slice) -> Decoded:
        """A hint, without memory, and its corrections."""
        rows, model = self.rows, self.model
        truth, off = rows.truth[some, t], rows.off[some]
        frame = rows_of(self._frame, some)
        if hint == "mask":
            return give_masks(model, frame, truth)
        conditioned = model.initial(frame, len(truth))
        fed: Tensor | None = None
        points: Points
        if hint == "fix":
            fed, points = hints.wrong_mask(truth, off, self.generator)
        else:
            points = hints.points(hint, truth, off, self.generator)
        share = 1 / (1 + self.what.rounds)
        answer = decode(model, frame, conditioned, rows.category[some], points=points, mask_logits=fed)
        self._note(t, some, answer, share)
        for _ in range(self.what.rounds):
            answer, points = self._correct(t, conditioned, some, answer, points, share=share)
        return answer

    def _correct(
        self, t: int, conditioned: Conditioned, some: slice, before: Decoded, points: Points | None, *, share: float
    ) -> tuple[Decoded, Points]:
        """One more click into the error, with all points so far and the mask before it."""
        logits = before.logits.detach().float()
        more = hints.correction(logits > 0, self.rows.truth[some, t], self.generator)
        if points is not None:
            more = torch.cat([points[0], more[0]], 1), torch.cat([points[1], more[1]], 1)
        own = conditioned if len(conditioned.image) == some.stop - some.start else _part(conditioned, some)
        frame = rows_of(self._frame, some)
        answer = decode(self.model, frame, own, self.rows.category[some], points=more, mask_logits=fed_back(logits))
        self._note(t, some, answer, share)
        return answer, more


def _part(conditioned: Conditioned, some: slice) -> Conditioned:
    mask = conditioned.token_mask
    return Conditioned(
        image=conditioned.image[some],
        object_tokens=conditioned.object_tokens[some],
        token_mask=None if mask is None else mask[some],
        structure=None,
    )
