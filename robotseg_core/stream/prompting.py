# SPDX-License-Identifier: Apache-2.0
"""One decoding of parts with or without a user's prompt (SPEC 4.4, 8): what sessions and streams share."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from robotseg_core.model.mask_decoder import Candidates, Choice
from robotseg_core.model.robotseg_model import Conditioned, Features, RobotSegModel

PROMPT_LOGIT = 10.0
"""Logit of a mask given by the user, inside; outside its negative."""
CLICK_CLAMP = 32.0
"""Largest logit that is fed back with the next click."""


@dataclass(frozen=True)
class Decoded:
    """What the decoder answered for B parts.

    Attributes:
        logits: [B, h, w] chosen low-res logits, or the user's mask.
        pointer: [B, d] object pointers.
        object_logit: [B]; a part is in view where it is above 0.
        iou: [B] predicted quality of the mask; 1 for a mask given by the user.
        candidates: the decoder's raw output.
        choice: which of them was chosen.
        multimask: whether the choice was among masks 1..3.
    """

    logits: Tensor
    pointer: Tensor
    object_logit: Tensor
    iou: Tensor
    candidates: Candidates
    choice: Choice
    multimask: bool


def decode(
    model: RobotSegModel,
    features: Features,
    conditioned: Conditioned,
    part: Tensor | None,
    *,
    points: tuple[Tensor, Tensor] | None = None,
    mask_logits: Tensor | None = None,
) -> Decoded:
    """Decode and choose; arguments as in :meth:`RobotSegModel.decode`."""
    # Automatic and tracked frames have no point, clicks one each, a box two (SPEC 4.4); a mask prompt, which has no
    # part, takes mask 0.
    multimask = part is not None and (points is None or points[1].shape[1] <= 1)
    candidates = model.decode(features, conditioned, part, points=points, mask_logits=mask_logits)
    choice = model.choose(candidates, multimask=multimask)
    return Decoded(
        logits=choice.logits,
        pointer=model.pointer(choice, candidates.object_logit),
        object_logit=candidates.object_logit,
        iou=choice.iou,
        candidates=candidates,
        choice=choice,
        multimask=multimask,
    )


def raw_frame(model: RobotSegModel, features: Features) -> Conditioned:
    """The decoder's input under a mask prompt: raw features, without ``no_mem_embed`` (SPEC 8)."""
    return dataclasses.replace(model.initial(features, 1), image=features.f16.flatten(2).transpose(1, 2))


def decode_mask(model: RobotSegModel, features: Features, mask: Tensor) -> Decoded:
    """A mask [H, W], 0 to 1 of any size, taken as it is; the decoder yields only the pointer (SPEC 8)."""
    size = model.config.image_size
    large = F.interpolate(mask[None, None].float(), (size, size), mode="bilinear", antialias=True) >= 0.5
    logits = torch.where(large, PROMPT_LOGIT, -PROMPT_LOGIT)
    low = F.interpolate(logits, (size // 4, size // 4), mode="bilinear", antialias=True)[:, 0]
    prompt = model.mask_downsample(large.float())
    decoded = decode(model, features, raw_frame(model, features), None, mask_logits=prompt)
    seen = large.any().view(1)
    return dataclasses.replace(
        decoded,
        logits=low,
        pointer=torch.where(seen[:, None], decoded.pointer, model.no_obj_ptr),
        object_logit=torch.where(seen, PROMPT_LOGIT, -PROMPT_LOGIT),
        iou=torch.ones_like(decoded.iou),
    )


def fed_back(logits: Tensor) -> Tensor:
    """Stored logits [B, h, w] as the mask prompt that goes with further clicks, [B, 1, h, w]."""
    return logits[:, None].clamp(-CLICK_CLAMP, CLICK_CLAMP)
