# SPDX-License-Identifier: Apache-2.0
"""Pseudo masks: the labels of a video's first frame, carried to the others by the likeness of features (SPEC 9.2).

Shape glossary: h x w patches, N = h * w, C feature width, K classes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

CLASSES = 3
"""Background, arm, gripper."""
CONTEXT = 7
"""Latest frames that are looked at, beside the first one."""
RADIUS = 12.0
"""A patch looks at patches within this many patches of its own place."""
TOP = 5
TEMPERATURE = 0.2
SIMILARITIES_AT_ONCE = 1 << 24


def neighbours(height: int, width: int, radius: float = RADIUS) -> Tensor:
    """Which patches lie within ``radius`` of each other: [N, N] bool."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    place = torch.stack([y, x], -1).flatten(0, 1).float()
    return (place[:, None] - place[None]).square().sum(-1) <= radius**2


def carry(features: Tensor, context: list[Tensor], classes: list[Tensor], near: Tensor) -> Tensor:
    """Class probabilities of one frame from those of the context frames.

    Each patch takes the ``TOP`` most similar patches nearby (all of them where the last of these is tied), softmax of
    their similarities over ``TEMPERATURE``, and the mean of their classes under it.

    Args:
        features: [N, C] of unit length.
        context: [N, C] of each context frame.
        classes: [N, K] of each context frame.
        near: [N, N] bool, see :func:`neighbours`.

    Returns:
        [N, K], rows sum to 1.
    """
    keys, values = torch.cat(context), torch.cat(classes)
    rows = max(1, SIMILARITIES_AT_ONCE // len(keys))
    out = []
    for part, within in zip(features.split(rows), near.split(rows), strict=True):
        similarity = (part @ keys.T).masked_fill(~within.repeat(1, len(context)), float("-inf"))
        least = similarity.topk(min(TOP, similarity.shape[1])).values[:, -1:]
        kept = similarity.masked_fill(similarity < least, float("-inf"))
        out.append((kept / TEMPERATURE).softmax(1) @ values)
    mixed = torch.cat(out)
    return mixed / mixed.sum(1, keepdim=True)


def propagate(frames: Iterable[Tensor], label: NDArray[np.uint8]) -> Iterator[Tensor]:
    """Soft classes [h, w, K] of every frame; the first one's are its label, reduced to the patches.

    Args:
        frames: features [h, w, C] of unit length, frame by frame: only the context is held.
        label: [H, W] of the first frame, below CLASSES.
    """
    context: deque[tuple[Tensor, Tensor]] = deque(maxlen=CONTEXT)
    first: tuple[Tensor, Tensor] | None = None
    near = torch.empty(0)
    for features in frames:
        height, width = features.shape[:2]
        flat = features.flatten(0, 1)
        if first is None:
            small = torch.from_numpy(label)[None, None].float()
            small = F.interpolate(small, (height, width), mode="nearest")[0, 0].long()
            classes = F.one_hot(small.flatten(), CLASSES).float().to(flat.device)
            first, near = (flat, classes), neighbours(height, width).to(flat.device)
        else:
            seen = [first, *context]
            classes = carry(flat, [f for f, _ in seen], [c for _, c in seen], near)
            context.append((flat, classes))
        yield classes.view(height, width, CLASSES)


def harden(soft: Tensor, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Soft classes [h, w, K] -> label [H, W]: nearest enlargement, each class spread over 0 to 1, the largest wins."""
    low, high = soft.amin((0, 1)), soft.amax((0, 1))
    spread = torch.nan_to_num((soft - low) / (high - low), nan=0.0).cpu().numpy()
    # The same cell for a pixel as PyTorch's nearest: the enlargement comes after the choice, which it does not change.
    label = spread.argmax(-1).astype(np.uint8)
    return np.asarray(cv2.resize(label, shape[::-1], interpolation=cv2.INTER_NEAREST), np.uint8)
