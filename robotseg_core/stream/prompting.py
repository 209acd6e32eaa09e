# SPDX-License-Identifier: Apache-2.0
"""One decoding of parts with or without a user's prompt (SPEC 4.4, 8): what sessions and streams share."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from robotseg_core.masks.clicked import Clicks, apart, clicked_off, not_clicked
from robotseg_core.masks.excluded import Excluded
from robotseg_core.model.mask_decoder import Candidates, Choice
from robotseg_core.model.robotseg_model import Conditioned, Features, RobotSegModel
from robotseg_core.stream.frame_state import Answer, health
from robotseg_core.stream.pending_prompts import PartPrompt
from robotseg_core.types import PARTS

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

    @property
    def answer(self) -> Answer:
        """What a stream goes on with."""
        return Answer(self.logits, self.iou, self.object_logit, self.pointer)


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


def decode_prompt(
    model: RobotSegModel,
    asked: PartPrompt,
    features: Features,
    part: Tensor,
    *,
    conditioned: Conditioned | None = None,
    previous: Tensor | None = None,
) -> Answer:
    """Decode one part with its prompt.

    Args:
        model: whose decoder answers.
        asked: what the user has asked for this part.
        features: of the frame.
        part: [1] int64, the part's class token.
        conditioned: the decoder's input for all parts where the part has a memory; None: decoded as on a first frame.
        previous: [1, h, w] logits that clicks correct; None: there are none.
    """
    if asked.mask is not None:
        return decode_mask(model, features, asked.mask).answer
    one = model.initial(features, 1)
    if conditioned is not None:
        row, empty = slice(asked.row, asked.row + 1), conditioned.token_mask
        one = Conditioned(
            image=conditioned.image[row],
            object_tokens=conditioned.object_tokens[row],
            token_mask=None if empty is None else empty[row],
            structure=None,
        )
    fed = None if previous is None else fed_back(previous)
    return decode(model, features, one, part, points=asked.points, mask_logits=fed).answer


def clicks_of(asked: PartPrompt, side: int, image_size: int) -> Clicks | None:
    """Clicks on a grid of ``side`` cells, if clicks alone are asked; ``image_size``: pixels of their coordinates."""
    if asked.points is None or bool((asked.points[1] > 1).any()):
        return None
    x, y = (asked.points[0][0] * (side / image_size)).long().clamp(0, side - 1).cpu().numpy().T
    return Clicks(x, y, asked.points[1][0].cpu().numpy() == 1)


def clicked_mask(asked: PartPrompt, before: Answer, image_size: int) -> Tensor | None:
    """The part's logits [1, h, w] in ``before``, if clicks alone are asked and one of them lies in its mask.

    What the clicks take away is left out (:mod:`robotseg_core.masks.clicked`): one says which of two robots is meant.
    """
    logits = before.logits[asked.row : asked.row + 1]
    clicks, mask = clicks_of(asked, logits.shape[-1], image_size), (logits[0] > 0).cpu().numpy()
    if clicks is None or not clicks.marked(mask) or not bool(before.object_logit[asked.row] > 0):
        return None
    return off(logits, not_clicked(mask, clicks) | clicked_off(mask, clicks))


def without_things(asked: PartPrompt, logits: Tensor, image_size: int) -> Tensor:
    """The part's logits [1, h, w] that the user saw without what is clicked off; the same under a box or a mask."""
    clicks = clicks_of(asked, logits.shape[-1], image_size)
    return logits if clicks is None else off(logits, clicked_off((logits[0] > 0).cpu().numpy(), clicks))


def off(logits: Tensor, cells: NDArray[np.bool_]) -> Tensor:
    """Logits [1, h, w] where none of ``cells`` [h, w] is marked."""
    return torch.where(torch.from_numpy(cells).to(logits.device), -CLICK_CLAMP, logits)


@dataclass(frozen=True)
class Chosen:
    """What clicks leave of an answer for one part.

    Attributes:
        answer: for the part.
        kept: [h, w], its mask.
        away: [h, w], what the clicks have taken away.
        anew: it was no click: what was taken away before may be the part.
    """

    answer: Answer
    kept: NDArray[np.bool_]
    away: NDArray[np.bool_]
    anew: bool = False

    def note(self, row: int, excluded: Excluded) -> None:
        """Have what was taken away stay away."""
        if self.anew:
            excluded.clear(row)
        excluded.tell(row, self.away, self.kept)


def choose_pieces(asked: PartPrompt, part: Tensor, found: Answer, before: Tensor, image_size: int) -> Chosen:
    """Take from what the decoder found what the clicks do not mean, of this mask and of the one that they were seen on.

    Args:
        asked: what the user has asked for this part.
        part: [1] int64, the part's class token. Of an arm that something hides in part all pieces stay: what is robot
            and not arm would be gripper.
        found: of this part.
        before: [1, h, w] its logits that the user saw.
        image_size: side, in pixels, of the input that the clicks' coordinates are of.
    """
    was, now = ((logits[0] > 0).cpu().numpy() for logits in (before, found.logits))
    clicks = clicks_of(asked, was.shape[-1], image_size)
    if clicks is None:
        return Chosen(found, now, np.zeros_like(now), anew=True)
    thing = clicked_off(was, clicks)
    kept = now & ~thing
    kept &= ~clicked_off(kept, clicks)
    away = (thing | now) & ~kept
    if PARTS[int(part)] != "arm" and clicks.on.any() and kept[clicks.y[clicks.on], clicks.x[clicks.on]].any():
        other = not_clicked(kept, clicks)
        kept &= ~other
        away |= other | apart(was, kept)
    answer = dataclasses.replace(found, logits=off(found.logits, now & ~kept))
    if not kept.any():
        answer = dataclasses.replace(answer, object_logit=found.object_logit.clamp(max=-1.0))
    return Chosen(answer, kept, away)


def leave_out(answer: Answer, excluded: Excluded, model: RobotSegModel) -> Answer:
    """The answer of all parts without what clicks have taken away on frames before."""
    if not excluded:
        return answer
    away = excluded.taken_from((answer.logits > 0).cpu().numpy())
    return answer.without(torch.from_numpy(away).to(answer.logits.device), model.no_obj_ptr)


def answer_prompts(
    model: RobotSegModel,
    asked: Sequence[PartPrompt],
    features: Features,
    classes: Tensor,
    answer: Answer,
    *,
    refine: bool = False,
    excluded: Excluded | None = None,
) -> Tensor:
    """Put what prompts find, each without its part's memory, into the rows of ``answer``.

    Args:
        model: that decodes.
        asked: one for each part that was prompted.
        features: of the frame.
        classes: [parts] int64, the parts' class tokens.
        answer: of the frame, of all parts.
        refine: clicks into the mask of ``answer`` correct it; else they begin the part anew.
        excluded: where what clicks take away is noted, so that it stays away; None: clicks take no pieces away.

    Returns:
        A number that is finite where what they found is (:func:`~robotseg_core.stream.frame_state.health`).
    """
    sound = torch.zeros((), device=classes.device)
    for one in asked:
        mask = clicked_mask(one, answer, model.config.image_size) if refine else None
        part = classes[one.row : one.row + 1]
        found = decode_prompt(model, one, features, part, previous=mask)
        sound = sound + health(found)
        if excluded is not None:
            seen = answer.logits[one.row : one.row + 1]
            chosen = choose_pieces(one, part, found, seen, model.config.image_size)
            chosen.note(one.row, excluded)
            found = chosen.answer
        answer.put(one.row, found)
    return sound
