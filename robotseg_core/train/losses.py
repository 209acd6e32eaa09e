# SPDX-License-Identifier: Apache-2.0
"""Terms that losses are made of, and the losses of the supervised training.

Label-efficient training combines the same terms as published (``label_efficient/let_losses``); where every
frame is labelled, BCE and dice at stride 4 are cheaper and learned faster on nano.

Shape glossary: B samples, R rows (P = 3 parts of each sample), M mask candidates, h x w logits at stride 4.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from robotseg_core.model.mask_decoder import Candidates

PARTS = 3
PART_WEIGHTS = (1.0, 2.0, 1.0)
"""Weights of arm, gripper and robot: the gripper is the smallest part and the last to be learned."""


def part_masks(label: Tensor) -> Tensor:
    """Labels [B, S, S] uint8 (1 arm, 2 gripper) -> masks of arm, gripper and robot [B, 3, S, S], 0 or 1."""
    arm, gripper = (label == 1).float(), (label == 2).float()
    return torch.stack([arm, gripper, arm + gripper], 1)


def part_targets(label: Tensor, stride: int = 4) -> Tensor:
    """Labels [B, S, S] uint8 -> coverage of each cell [B, 3, S/stride, S/stride] in [0, 1]."""
    return F.avg_pool2d(part_masks(label), stride)


def focal_loss(logits: Tensor, target: Tensor, *, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Alpha-balanced focal BCE, mean over the last two axes: [..., h, w] -> [...] (SPEC 9.4)."""
    bce = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    p = logits.sigmoid()
    p_t = p * target + (1 - p) * (1 - target)
    alpha_t = alpha * target + (1 - alpha) * (1 - target)
    return (alpha_t * bce * (1 - p_t) ** gamma).mean(dim=(-2, -1))


def dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """``1 - (2 sum(p t) + 1) / (sum p + sum t + 1)`` over the last two axes: [..., h, w] -> [...] (SPEC 9.4)."""
    p = logits.sigmoid()
    inter = (p * target).sum(dim=(-2, -1))
    return 1 - (2 * inter + 1) / (p.sum(dim=(-2, -1)) + target.sum(dim=(-2, -1)) + 1)


def mask_iou(logits: Tensor, target: Tensor) -> Tensor:
    """IoU of ``logits > 0`` and ``target > 0.5`` over the last two axes, [..., h, w] -> [...].

    The union is floored at 1 (SPEC 9.4).
    """
    a, b = logits > 0, target > 0.5
    return (a & b).sum(dim=(-2, -1)) / (a | b).sum(dim=(-2, -1)).clamp(min=1)


def dense_loss(logits: Tensor, target: Tensor) -> Tensor:
    """BCE plus dice of a dense head, [B, 3, h, w] both; dice over the batch, so that small parts weigh."""
    weight = torch.tensor(PART_WEIGHTS, device=logits.device)
    bce = (F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean((0, 2, 3)) * weight).mean()
    p = logits.sigmoid()
    inter = (p * target).sum(dim=(0, 2, 3))
    dice = 1 - (2 * inter + 1) / ((p * p).sum(dim=(0, 2, 3)) + (target * target).sum(dim=(0, 2, 3)) + 1)
    return 2 * bce + (dice * weight).mean()


def candidate_losses(candidates: Candidates, target: Tensor) -> dict[str, Tensor]:
    """Losses of one decoding: ``target`` [R, h, w] coverage of each row's part.

    The best of the three candidates learns the mask; the others and the single-mask token learn it with a small
    weight, so that none of them starves (our parts are not ambiguous as clicks are).
    """
    logits, target = candidates.logits.float(), target.float()
    seen = (target.sum((1, 2)) > 1).float()
    wide = target[:, None].expand_as(logits)
    bce = F.binary_cross_entropy_with_logits(logits, wide, reduction="none").mean((2, 3))
    each = 2 * bce * (0.5 + 0.5 * seen[:, None]) + dice_loss(logits, wide) * seen[:, None]
    weight = torch.tensor(PART_WEIGHTS, device=each.device).repeat(len(each) // PARTS)
    each = each * weight[:, None]
    best = each[:, 1:].min(1).values
    iou = mask_iou(logits, wide).detach()
    return {
        "mask": best.mean() + 0.25 * each.mean(),
        "iou": 0.5 * ((candidates.ious.float() - iou).abs() * seen[:, None]).mean(),
        "object": 0.3 * F.binary_cross_entropy_with_logits(candidates.object_logit.float(), seen),
    }


def structure_loss(structure: Tensor, target: Tensor) -> Tensor:
    """L1 between sigmoid of the structure logits [R, layers, g, g] and the mask's outline (SPEC 9.4).

    Outline: |Laplacian| (3x3, ones with centre -8, reflected border) of ``target`` [R, H, W] > 0.5 over its maximum;
    published at the image's size, at stride 4 where every frame is labelled.
    """
    kernel = torch.ones(1, 1, 3, 3, device=target.device)
    kernel[..., 1, 1] = -8
    outline = F.conv2d(F.pad((target > 0.5).float()[:, None], (1, 1, 1, 1), mode="reflect"), kernel).abs()
    outline = outline / (outline.amax((2, 3), keepdim=True) + 1e-6)
    large = F.interpolate(structure, outline.shape[-2:], mode="bilinear").sigmoid()
    return (large - outline).abs().mean()
