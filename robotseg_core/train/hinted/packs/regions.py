# SPDX-License-Identifier: Apache-2.0
"""Regions of a photograph, found by colour alone: something that a hint can mean where nobody has labelled anything."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 192
"""Side at which regions are sought, pixels."""
AREA = (0.004, 0.35)
"""A region's share of the picture."""
MOST = 120


def find_regions(bgr: NDArray[np.uint8], *, spread: int = 18) -> NDArray[np.uint8]:
    """Connected regions of like colour after mean-shift filtering.

    Args:
        bgr: [S, S, 3] picture.
        spread: how far colours of one region may lie apart.

    Returns:
        [S, S] uint8: 0, or the number of a region from 1 on, the largest first.
    """
    small = np.asarray(cv2.resize(bgr, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)
    flat = cv2.pyrMeanShiftFiltering(small, 8, spread, maxLevel=1)
    mask = np.zeros((SIDE + 2, SIDE + 2), np.uint8)
    found: list[tuple[int, NDArray[np.bool_]]] = []
    step = 4
    for y in range(step // 2, SIDE, step):
        for x in range(step // 2, SIDE, step):
            if mask[y + 1, x + 1]:
                continue
            before = mask[1:-1, 1:-1] > 0
            area, _, _, _ = cv2.floodFill(
                flat, mask, (x, y), 0, (6,) * 3, (6,) * 3, 4 | cv2.FLOODFILL_MASK_ONLY | (255 << 8)
            )
            if AREA[0] <= area / SIDE**2 <= AREA[1]:
                found.append((area, (mask[1:-1, 1:-1] > 0) & ~before))
    found.sort(key=lambda one: -one[0])
    out = np.zeros((SIDE, SIDE), np.uint8)
    kernel = np.ones((3, 3), np.uint8)
    number = 0
    for _, region in found[:MOST]:
        # Thin threads between surfaces are no things; small holes are part of what surrounds them.
        opened = cv2.morphologyEx(region.astype(np.uint8), cv2.MORPH_OPEN, kernel)
        clean = (cv2.morphologyEx(opened, cv2.MORPH_CLOSE, kernel) > 0) & (out == 0)
        if clean.mean() >= AREA[0]:
            number += 1
            out[clean] = number
    return np.asarray(cv2.resize(out, bgr.shape[1::-1], interpolation=cv2.INTER_NEAREST), np.uint8)
