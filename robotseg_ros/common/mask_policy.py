# SPDX-License-Identifier: Apache-2.0
"""Masks grown or shrunk by a margin, for those who must not miss the robot and those who must not miss what is not.

Whatever the policy: arm and gripper are disjoint and robot is their union.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
from numpy.typing import NDArray

from robotseg_core.stream.postprocess import part_mask
from robotseg_core.types import PARTS, PartMask, PartMasks

BALANCED = "balanced"
INCLUSIVE = "inclusive"
EXCLUSIVE = "exclusive"
POLICIES = (BALANCED, INCLUSIVE, EXCLUSIVE)


def apply_policy(result: PartMasks, policy: str, margin: int) -> PartMasks:
    """Grow or shrink the masks of a result.

    Args:
        result: of the core; left unchanged.
        policy: ``balanced`` changes nothing.  ``inclusive`` adds every pixel whose distance to the robot is at most
            ``margin``; it goes to the nearer part, to the arm where both are as near.  ``exclusive`` takes away
            every robot pixel whose distance to a pixel that is not robot is at most ``margin``; the border of the
            image takes nothing away.
        margin: image pixels, Euclidean.

    Returns:
        The same state, scores and presence; masks, areas, boxes and centroids of the changed masks.
    """
    robot = result["robot"]
    if policy == BALANCED or margin == 0 or robot.area == 0:
        return result
    # Outside the robot's box, widened by the margin, nothing changes; the one pixel more is for shrinking to see.
    height, width = robot.mask.shape
    x, y, w, h = robot.roi
    box = (
        slice(max(0, y - margin - 1), min(height, y + h + margin + 1)),
        slice(max(0, x - margin - 1), min(width, x + w + margin + 1)),
    )
    arm, gripper = (result[name].mask[box] > 0 for name in ("arm", "gripper"))
    if policy == INCLUSIVE:
        to_arm, to_gripper = _distance_to(arm), _distance_to(gripper)
        grown = np.minimum(to_arm, to_gripper) <= margin
        arm = grown & (to_arm <= to_gripper)
        gripper = grown & ~arm
    else:
        kept = _distance_to(~(arm | gripper)) > margin
        arm, gripper = arm & kept, gripper & kept
    masks = np.zeros((len(PARTS), height, width), bool)
    masks[(slice(None), *box)] = np.stack([arm, gripper, arm | gripper])
    parts = tuple(
        dataclasses.replace(part_mask(name, mask, 0.0), score=result[name].score, present=result[name].present)
        for name, mask in zip(PARTS, masks, strict=True)
    )
    return dataclasses.replace(result, parts=parts)


def apply_to_target(target: PartMask, policy: str, margin: int) -> PartMask:
    """The same for the mask of a target by itself: what is marked grows or shrinks, also after "everything but"."""
    marked = target.mask > 0
    if policy == BALANCED or margin == 0 or not marked.any():
        return target
    changed = _distance_to(marked) <= margin if policy == INCLUSIVE else _distance_to(~marked) > margin
    measured = part_mask(target.name, np.ascontiguousarray(changed), 0.0)
    return dataclasses.replace(measured, score=target.score, present=target.present)


def _distance_to(pixels: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Distance of each pixel to the nearest of ``pixels`` [H, W]; infinite where there is none."""
    if not pixels.any():
        return np.full(pixels.shape, np.inf, np.float32)
    return np.asarray(
        cv2.distanceTransform((~pixels).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE), dtype=np.float32
    )
