# SPDX-License-Identifier: Apache-2.0
"""LET, label-efficient training: what a palindrome teaches whose first frame alone is labelled (SPEC 9.4).

The clip runs forth and back, so that its last frame is the first one and has its true mask.  In between there are
pseudo masks at best (see ``pseudo_masks``).  All masks are compared at the image's size S.

Shape glossary: R rows (parts of clips), M candidates, S image side, g = S / 16, d model width.  Terms are means over
the rows; rows whose first frame lacks the part teach the object score alone.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from robotseg_core.model.structure import centre_sample
from robotseg_core.stream.prompting import Decoded
from robotseg_core.train.losses import dice_loss, focal_loss, mask_iou, structure_loss
from robotseg_core.train.settings import LetWeights
from robotseg_core.train.unroll import FrameResult, competing

FOCAL = 5.0
"""Weight of the focal term; dice, IoU, class, semantic, patch and structure terms have 1."""


def enlarge(logits: Tensor, size: int) -> Tensor:
    """Low-res logits [R, M, h, w] -> [R, M, S, S] float32."""
    return F.interpolate(logits.float(), (size, size), mode="bilinear")


def cycle_loss(logits: Tensor, ious: Tensor, object_logit: Tensor, truth: Tensor) -> Tensor:
    """Mask, IoU and class terms of one decoding against a true mask.

    Args:
        logits: [R, M, S, S] competing candidates; the one of the least ``5 focal + dice`` learns.
        ious: [R, M] predicted quality; only that candidate's learns.
        object_logit: [R].
        truth: [R, S, S] 0 or 1; rows without the part have the class term only.
    """
    seen = truth.flatten(1).any(1).float()
    wide = truth[:, None].expand_as(logits)
    mask = FOCAL * focal_loss(logits, wide) + dice_loss(logits, wide)
    best = mask.argmin(1, keepdim=True)
    iou = (ious.float() - mask_iou(logits, wide).detach()).abs()
    chosen = (mask + iou).gather(1, best)[:, 0]
    present = F.binary_cross_entropy_with_logits(object_logit.float(), seen)
    return (chosen * seen).mean() + present


def embed(f16: Tensor, weight: Tensor) -> Tensor:
    """Mean of f16 [R, d, g, g] weighted by ``weight`` [R, S, S] (bilinear to the grid), of unit length [R, d]."""
    small = F.interpolate(weight[:, None], f16.shape[-2:], mode="bilinear")
    mean = (f16.float() * small).sum((2, 3)) / small.sum((2, 3)).clamp(min=1e-6)
    return F.normalize(mean, dim=1)


def semantic_loss(f16: Tensor, probability: Tensor, anchor: Tensor) -> Tensor:
    """``1 - cos`` between a frame's embedding under ``probability`` [R, S, S] and ``anchor`` [R, d] -> [R]."""
    return 1 - (embed(f16, probability) * anchor).sum(1)


def patch_loss(probability: Tensor, pseudo: Tensor) -> Tensor:
    """Soft IoU loss at stride 16 between ``probability`` and pseudo mask, both [R, S, S] -> [R]."""
    p, t = centre_sample(probability), centre_sample(pseudo)
    inter = (p * t).sum((1, 2))
    union = (p + t - p * t).sum((1, 2))
    return 1 - (inter + 1e-6) / (union + 1e-6)


def best_probability(decoding: Decoded, size: int) -> Tensor:
    """Probabilities [R, S, S] of the candidate of the highest predicted IoU."""
    counted = competing(decoding)
    logits, ious = decoding.candidates.logits[:, counted], decoding.candidates.ious[:, counted]
    rows = torch.arange(len(ious), device=ious.device)
    return enlarge(logits[rows, ious.argmax(1)][:, None], size)[:, 0].sigmoid()


def let_losses(
    results: list[FrameResult], f16: list[Tensor], masks: Tensor, weights: LetWeights, *, all_true: bool = False
) -> dict[str, Tensor]:
    """All terms of a palindrome, summed over frames and decodings.

    Args:
        results: decodings of each frame.
        f16: [R, d, g, g] raw features of each frame.
        masks: [R, T, S, S] 0 or 1, true on the first and the last frame, pseudo masks between.
        weights: of the terms; a term of weight 0 is left out.
        all_true: every mask is true, and every frame is taught as the last one is: semantic and patch terms are for
            frames that are not.
    """
    size, last = masks.shape[-1], len(results) - 1
    true = set(range(len(results))) if all_true else {0, last}
    seen = masks[:, 0].flatten(1).any(1).float()
    anchor = embed(f16[0], masks[:, 0])
    total: dict[str, Tensor] = {}

    def add(name: str, value: Tensor) -> None:
        total[name] = total[name] + value if name in total else value

    for t, result in enumerate(results):
        for decoding in result.passes:
            if t == 0 or (t in true and weights.cycle):
                c, counted = decoding.candidates, competing(decoding)
                value = cycle_loss(enlarge(c.logits[:, counted], size), c.ious[:, counted], c.object_logit, masks[:, t])
                add("first" if t == 0 else "cycle", value if t == 0 else weights.cycle * value)
            if t not in true and weights.semantic:
                probability = best_probability(decoding, size)
                add("semantic", weights.semantic * (semantic_loss(f16[t], probability, anchor) * seen).mean())
        if t not in true and weights.patch:
            probability = best_probability(result.passes[-1], size)
            add("patch", weights.patch * (patch_loss(probability, masks[:, t]) * seen).mean())
        if t == last and weights.structure and result.structure is not None:
            add("structure", weights.structure * structure_loss(result.structure.float(), masks[:, t]))
    return total
