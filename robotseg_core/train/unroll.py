# SPDX-License-Identifier: Apache-2.0
"""A clip goes through the model with its memory, as a stream does, and every decoding is kept for the losses.

Shape glossary: B clips, T frames, R = B * P rows (P = 3 parts), S image side, h = w = S / 4, g = S / 16.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from robotseg_core.model.robotseg_model import Conditioned, Features, Memory, RobotSegModel
from robotseg_core.stream.prompting import PROMPT_LOGIT, Decoded, decode, fed_back
from robotseg_core.train.data.prompts import CORRECTIONS, Mode, Points, box, click, correction
from robotseg_core.train.losses import PARTS


def competing(decoded: Decoded) -> slice:
    """The candidates that compete for the loss: 1..3, or candidate 0 where a single mask was asked for."""
    return slice(1, None) if decoded.multimask else slice(0, 1)


@dataclass(frozen=True)
class FrameResult:
    """All decodings of a frame, none where its mask was given; structure [R, layers, g, g] where memory was read."""

    passes: tuple[Decoded, ...]
    structure: Tensor | None


@dataclass(frozen=True)
class ClipRows:
    """A clip as the model sees it, one row a part.

    Attributes:
        frames: features of each frame, R rows.
        edges: [R, 1, g, g] of each frame.
        coverage: [R, T, h, w] share of each cell that the part covers, in [0, 1].
        part: [R] row of the class token.
    """

    frames: list[Features]
    edges: list[Tensor]
    coverage: Tensor
    part: Tensor


def repeat_parts(features: Features) -> Features:
    """Features of B frames -> of B * P rows, part by part."""
    return Features(*(x.repeat_interleave(PARTS, 0) for x in (features.h4, features.h8, features.f16)))


def decode_first(
    model: RobotSegModel,
    frame: Features,
    conditioned: Conditioned,
    part: Tensor,
    mode: Mode,
    coverage: Tensor,
    u: Tensor,
) -> list[Decoded]:
    """Decode a prompted frame: by the category alone, or by a click or a box and corrections (SPEC 9.3).

    Each correction gets all points so far and the mask before it, as in use; the category stays, unlike in the
    reference, whose corrections have none in training and one in use.

    Args:
        model: the model.
        frame: features, R rows.
        conditioned: the decoder's input.
        part: [R] class rows.
        mode: ``auto``, ``click`` or ``box``.
        coverage: [R, h, w] truth.
        u: [R, NUMBERS] uniform numbers.
    """
    size, inside = model.config.image_size, coverage > 0.5
    if mode == "auto":
        return [decode(model, frame, conditioned, part)]
    points: Points = click(inside, u[:, 0], size) if mode == "click" else box(inside, u[:, :4], size)
    passes = [decode(model, frame, conditioned, part, points=points)]
    for k in range(CORRECTIONS):
        before = passes[-1].logits
        more = correction(before > 0, inside, u[:, 4 + 2 * k : 6 + 2 * k], size)
        points = torch.cat([points[0], more[0]], 1), torch.cat([points[1], more[1]], 1)
        passes.append(decode(model, frame, conditioned, part, points=points, mask_logits=fed_back(before)))
    return passes


def give_mask(model: RobotSegModel, frame: Features, coverage: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A mask prompt for R rows, coverage [R, h, w] taken as it is (SPEC 8) -> low-res logits, pointer, object logit."""
    rows, size = coverage.shape[0], (model.config.image_size, model.config.image_size)
    large = (F.interpolate(coverage[:, None], size, mode="bilinear") >= 0.5).float()
    raw = Conditioned(
        image=frame.f16.flatten(2).transpose(1, 2),
        object_tokens=model.robot_prompt_generator.no_memory(rows),
        token_mask=None,
        structure=None,
    )
    decoded = decode(model, frame, raw, None, mask_logits=model.mask_downsample(large))
    seen = large.flatten(1).any(1)
    pointer = torch.where(seen[:, None], decoded.pointer, model.no_obj_ptr.to(decoded.pointer.dtype))
    logits = F.interpolate(large, coverage.shape[-2:], mode="bilinear", antialias=True)[:, 0] * 2 - 1
    return logits * PROMPT_LOGIT, pointer, torch.where(seen, PROMPT_LOGIT, -PROMPT_LOGIT)


class _Past:
    """What the clip has stored so far."""

    def __init__(self, model: RobotSegModel, rng: np.random.Generator) -> None:
        self.model, self.rng = model, rng
        self.memories: list[Tensor] = []
        self.tokens: list[Tensor] = []
        self.pointers: list[Tensor] = []

    def store(self, frame: Features, logits: Tensor, object_logit: Tensor, pointer: Tensor, *, hard: bool) -> None:
        """Commit a frame to memory with its mask."""
        binary = torch.full((logits.shape[0],), hard, dtype=torch.bool, device=logits.device)
        memory = self.model.remember(frame, logits, object_logit, binary)
        self.memories.append(self.model.pool_memory(memory))
        self.tokens.append(self.model.object_tokens(memory.float(), logits))
        self.pointers.append(pointer)

    def look_up(self) -> Memory:
        """First frame and the latest others, as the memory bank gives them."""
        t, config = len(self.memories), self.model.config
        frames = [0, *range(max(1, t - config.memory_frames + 1), t)]
        time = [config.memory_frames - 1, *(t - 1 - f for f in frames[1:])]
        seen = [0, *range(max(1, t - config.max_pointers + 1), t)]
        # Pretend now and then that the first frame is long ago, as it is in a stream.
        age = t if self.rng.random() < 0.5 else config.max_pointers - 1
        offsets = torch.tensor([float(age), *(float(t - f) for f in seen[1:])]) / (config.max_pointers - 1)
        device = self.memories[0].device
        return Memory(
            features=torch.stack([self.memories[f] for f in frames], 1),
            time_index=torch.tensor(time, device=device),
            pointers=torch.stack([self.pointers[f] for f in seen], 1),
            offsets=offsets[None].to(device),
            object_tokens=torch.stack([self.tokens[f] for f in frames], 1),
        )


def unroll(
    model: RobotSegModel, clip: ClipRows, mode: Mode, u: Tensor, rng: np.random.Generator, *, soft: bool
) -> list[FrameResult]:
    """Stream through a clip: first frame without memory and prompted, later ones with memory.

    Args:
        model: the model.
        clip: what it sees.
        mode: how the first frame is prompted.
        u: [R, NUMBERS] uniform numbers of the prompts.
        rng: of what is drawn once a step.
        soft: True: masks enter the memory as probabilities and gradients flow through them (SPEC 9.3); False: as in
            the stream, the first one hard, and gradients reach the memory through features and pointers only.
    """
    past = _Past(model, rng)
    results: list[FrameResult] = []
    rows = clip.part.shape[0]
    for t, frame in enumerate(clip.frames):
        if t == 0 and mode == "mask":
            logits, pointer, seen = give_mask(model, frame, clip.coverage[:, 0])
            results.append(FrameResult((), None))
            past.store(frame, logits, seen, pointer, hard=not soft)
            continue
        conditioned = model.initial(frame, rows) if t == 0 else model.condition(frame, clip.edges[t], past.look_up())
        if t == 0:
            passes = decode_first(model, frame, conditioned, clip.part, mode, clip.coverage[:, 0], u)
        else:
            passes = [decode(model, frame, conditioned, clip.part)]
        last = passes[-1]
        logits = last.logits.float() if soft else last.logits.detach().float()
        past.store(frame, logits, last.object_logit.detach(), last.pointer, hard=t == 0 and not soft)
        results.append(FrameResult(tuple(passes), conditioned.structure))
    return results
