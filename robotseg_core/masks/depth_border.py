# SPDX-License-Identifier: Apache-2.0
"""Where the border of a mask is doubtful, depth decides: a pixel belongs to the side whose depth it has.

Around every pixel the mean inverse depth of what is surely robot is compared with that of what surely is not.  Where
the two differ, a pixel that the model is in doubt about is moved to the side it is nearer to; where they do not, where
nothing was measured and where the model is sure, the model's answer stays.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from robotseg_core.masks.nearest import Depth, on_grid

WIDTH = 320
"""Pixels across at which it is done: a depth camera's borders are no sharper."""
WINDOW = 0.15
"""Side of the neighbourhood, a share of the width."""
SURE = 1.0
"""Logit from which on a pixel is surely robot, or, negative, surely not."""
DOUBT = 2.0
"""Logit up to which a pixel may be moved."""
LEAST_GAP = 0.04
"""Relative difference in depth from which on both sides are told apart."""
LEAST_SHARE = 0.02
"""Of the neighbourhood that either side must fill, to have a depth."""
OWN = 0.3
"""Weight of the model's logit, against that of depth, where a pixel is moved."""
FLOOR = -32.0
"""Of logits before they are enlarged: an absent part's -1024 would bleed over its neighbours."""


def sharpen(logits: NDArray[np.float32], depth: Depth) -> NDArray[np.float32]:
    """Logits with the border that depth shows.

    Args:
        logits: [n, h, w] of the parts, on a grid over the whole image; left unchanged.
        depth: [H, W] aligned with the image, uint16 in mm or float32 in m; 0 and what is not finite was not measured.

    Returns:
        [n, h', w'] on a finer grid, 320 across.  All parts are raised or lowered alike, so which of arm and gripper
        leads stays as it was.
    """
    width = max(logits.shape[2], WIDTH)
    height = max(logits.shape[1], round(width * depth.shape[0] / depth.shape[1]))
    large = np.stack(
        [cv2.resize(part, (width, height), interpolation=cv2.INTER_LINEAR) for part in np.maximum(logits, FLOOR)]
    )
    robot = large.max(0)
    metres = on_grid(depth, (height, width))
    known = metres > 0
    # Inverse depth: it is what stereo measures, and what is far away weighs little.
    near = np.where(known, 1 / np.maximum(metres, np.float32(0.05)), np.float32(0)).astype(np.float32)
    inside, share_in = _mean(near, known & (robot > SURE))
    outside, share_out = _mean(near, known & (robot < -SURE))
    gap = inside - outside
    told = known & (share_in > LEAST_SHARE) & (share_out > LEAST_SHARE)
    told &= (np.abs(gap) > LEAST_GAP * np.maximum(inside, outside)) & (np.abs(robot) < DOUBT)
    side = np.clip(2 * (near - outside) / np.where(told, gap, np.float32(1)) - 1, -1, 1)
    moved = np.where(told, OWN * robot + (1 - OWN) * DOUBT * side, robot)
    return np.asarray(large + (moved - robot)[None], np.float32)


def _mean(values: NDArray[np.float32], where: NDArray[np.bool_]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean of values [h, w] over the pixels of a neighbourhood that count, and the share of it that they are."""
    side = 2 * round(WINDOW * values.shape[1] / 2) + 1
    weight = where.astype(np.float32)
    share, total = (cv2.blur(x, (side, side), borderType=cv2.BORDER_CONSTANT) for x in (weight, weight * values))
    return np.asarray(total / np.maximum(share, 1e-6), np.float32), np.asarray(share, np.float32)
