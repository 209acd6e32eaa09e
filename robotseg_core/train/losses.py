# SPDX-License-Identifier: Apache-2.0
"""Losses of the supervised training (SPEC 9.4): focal, dice, IoU and object-score terms.

Shape glossary: B samples, P parts (arm, gripper, robot), M mask candidates, h x w logits at stride 4.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

PART_WEIGHTS = (1.0, 2.0, 1.0)
"""Weights of arm, gripper and robot: the gripper is the smallest part and the last to be learned."""


def part_targets(label: Tensor, stride: int = 4) -> Tensor:
    """Labels [B, S, S] uint8 (1 arm, 2 gripper) -> coverage of each cell [B, 3, S/stride, S/stride] in [0, 1]."""
    arm, gripper = (label == 1).float(), (label == 2).float()
    return F.avg_pool2d(torch.stack([arm, gripper, arm + gripper], 1), stride)


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
    """IoU of ``logits > 0`` and ``target > 0.5`` over the last two axes; the union is floored at 1 (SPEC 9.4)."""
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
