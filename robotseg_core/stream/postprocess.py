# SPDX-License-Identifier: Apache-2.0
"""From low-res logits of three parts to masks of the camera's size."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from robotseg_core.masks.depth_border import sharpen
from robotseg_core.masks.hygiene import Hygiene, tidy, without
from robotseg_core.masks.nearest import Depth, Nearest, not_meant, on_grid
from robotseg_core.types import PARTS, PartMask

OUTSIDE = -32.0
"""Floor of logits before they are enlarged: an absent part's -1024 would bleed over its neighbours."""


def split_parts(
    logits: NDArray[np.float32], height: int, width: int, parts: tuple[str, ...] = PARTS
) -> NDArray[np.bool_]:
    """Logits [n, h, w] of ``parts``, the robot last -> masks [n, height, width] bool.

    Robot is where the robot's logit is positive or the arm's or gripper's is; each of its pixels belongs to arm or
    gripper, whichever is more likely: so the two are disjoint and robot is their union.  A part that is not asked
    for stands at 0 against the other.
    """
    logits = np.maximum(logits, OUTSIDE)
    # Two maps are enlarged, not three: the union and the difference.
    union = cv2.resize(logits.max(0), (width, height), interpolation=cv2.INTER_LINEAR)
    masks = {"robot": np.asarray(union) > 0}
    if len(parts) > 1:
        given = dict(zip(parts, logits, strict=True))
        lead = given.get("arm", np.float32(0)) - given.get("gripper", np.float32(0))
        first = np.asarray(cv2.resize(np.asarray(lead), (width, height), interpolation=cv2.INTER_LINEAR)) >= 0
        masks |= {"arm": masks["robot"] & first, "gripper": masks["robot"] & ~first}
    return np.stack([masks[part] for part in parts])


def part_mask(name: str, mask: NDArray[np.bool_], score: float) -> PartMask:
    """Measure one mask [H, W]."""
    ones = mask.view(np.uint8)
    pixels = ones * np.uint8(255)
    x, y, w, h = cv2.boundingRect(ones)
    # Moments are the slow part: only inside the box.
    moments = cv2.moments(np.ascontiguousarray(ones[y : y + h, x : x + w]), binaryImage=True) if w else {"m00": 0.0}
    area = int(round(moments["m00"]))
    if area == 0:
        return PartMask(name, pixels, 0.0, False, 0, (0, 0, 0, 0), (float("nan"), float("nan")))
    centroid = (x + moments["m10"] / area, y + moments["m01"] / area)
    return PartMask(name, pixels, score, True, area, (int(x), int(y), int(w), int(h)), centroid)


def shown(
    logits: NDArray[np.float32],
    hygiene: Hygiene | None,
    *,
    nearest: Nearest | None = None,
    depth: Depth | None = None,
    depth_border: bool = False,
    confined: bool = False,
) -> NDArray[np.float32]:
    """Logits [n, h, w] of all parts, the robot last, of the robot that is meant, tidied up; a depth border is finer.

    Args:
        logits: as the model gives them; left unchanged.
        hygiene: None: specks and holes stay.
        nearest: None: all robots are meant.
        depth: [H, W] aligned with the frame, for ``nearest`` and the border; None: there is none.
        depth_border: depth decides where the border is doubtful (:func:`~robotseg_core.masks.depth_border.sharpen`).
        confined: arm and gripper are those of the robot that was pointed at: none of them where it is not.
    """
    if confined:
        logits = np.minimum(logits, logits[-1])
    if nearest:
        metres = None if depth is None else on_grid(depth, logits.shape[1:])
        away = not_meant(logits.max(0) > 0, nearest, metres)
        if away.any():
            logits = without(logits, away)
    if hygiene is not None:
        logits = tidy(logits, hygiene)
    return sharpen(logits, depth) if depth_border and depth is not None else logits


def part_masks(
    logits: NDArray[np.float32],
    scores: NDArray[np.float32],
    height: int,
    width: int,
    parts: tuple[str, ...] = PARTS,
) -> tuple[PartMask, ...]:
    """All parts of a frame from logits [n, h, w] and scores [n]."""
    masks = split_parts(logits, height, width, parts)
    return tuple(part_mask(name, masks[i], float(scores[i])) for i, name in enumerate(parts))
