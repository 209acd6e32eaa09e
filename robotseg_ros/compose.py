# SPDX-License-Identifier: Apache-2.0
"""Pictures for people: the masks drawn over the image, and the image with the robot kept or removed."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from robotseg_core.types import PartMasks

COLOURS = {"arm": (40, 120, 255), "gripper": (255, 140, 0)}
"""RGB of each part in the overlay."""
OPACITY = 0.5


def overlay(rgb: NDArray[np.uint8], result: PartMasks) -> NDArray[np.uint8]:
    """Draw arm and gripper over the image.

    Args:
        rgb: [H, W, 3] uint8, left unchanged.
        result: masks of the same image.

    Returns:
        [H, W, 3] uint8, a new array.
    """
    drawn = rgb.copy()
    for name, colour in COLOURS.items():
        part = result[name]
        x, y, width, height = part.roi
        if not part.area:
            continue
        # Only inside the box of the part: most of the image is not the robot.
        box = (slice(y, y + height), slice(x, x + width))
        tinted = cv2.addWeighted(rgb[box], 1 - OPACITY, np.full_like(rgb[box], colour), OPACITY, 0)
        cv2.copyTo(tinted, part.mask[box], drawn[box])
    return drawn


def keep_robot(rgb: NDArray[np.uint8], robot_mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Blacken everything but the robot.

    Args:
        rgb: [H, W, 3] uint8, left unchanged.
        robot_mask: [H, W] uint8, 0 or 255.

    Returns:
        [H, W, 3] uint8, a new array.
    """
    return np.asarray(cv2.bitwise_and(rgb, rgb, mask=robot_mask), dtype=np.uint8)


def remove_robot(rgb: NDArray[np.uint8], robot_mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Blacken the robot; the opposite of :func:`keep_robot`."""
    return keep_robot(rgb, np.bitwise_not(robot_mask))
