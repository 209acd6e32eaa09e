# SPDX-License-Identifier: Apache-2.0
"""Fill small holes of a mask (SPEC 8, hole filling)."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

FILLED_LOGIT = 0.1


def fill_holes(logits: Tensor, max_area: int) -> Tensor:
    """Give small background components a logit just above zero.

    Args:
        logits: [B, h, w], foreground above 0.
        max_area: largest component that is filled, in cells, 8-connected; 0 fills nothing.

    Returns:
        [B, h, w]; the same tensor where nothing was filled.
    """
    if max_area <= 0:
        return logits
    background = (logits <= 0).cpu().numpy().astype(np.uint8)
    small = np.zeros(background.shape, dtype=bool)
    for i, mask in enumerate(background):
        _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        fills = stats[:, cv2.CC_STAT_AREA] <= max_area
        fills[0] = False  # label 0 is everything that is not background
        small[i] = fills[labels]
    if not small.any():
        return logits
    return logits.masked_fill(torch.from_numpy(small).to(logits.device), FILLED_LOGIT)
