# SPDX-License-Identifier: Apache-2.0
"""Pictures for people: the masks drawn over the image, and the image with the robot kept or removed."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from robotseg_core.types import PartMasks

COLOURS = {"arm": (40, 120, 255), "gripper": (255, 140, 0)}
"""RGB of each part in the overlay."""
OPACITY = 0.5
# [1, 256, 3]: what each value of each channel becomes.  Looking it up takes half the time of blending with a colour.
TINTS = {
    name: cv2.addWeighted(
        np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, 2),
        1 - OPACITY,
        np.full((1, 256, 3), colour, np.uint8),
        OPACITY,
        0,
    )
    for name, colour in COLOURS.items()
}


def overlay(rgb: NDArray[np.uint8], result: PartMasks) -> NDArray[np.uint8]:
    """Draw arm and gripper over the image.

    Args:
        rgb: [H, W, 3] uint8, left unchanged.
        result: masks of the same image.

    Returns:
        [H, W, 3] uint8, a new array.
    """
    drawn = rgb.copy()
    for name, tint in TINTS.items():
        part = result[name]
        x, y, width, height = part.roi
        if not part.area:
            continue
        # Only inside the box of the part: most of the image is not the robot.
        box = (slice(y, y + height), slice(x, x + width))
        cv2.copyTo(cv2.LUT(rgb[box], tint), part.mask[box], drawn[box])
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
    """Blacken the robot, mask [H, W], in a picture [H, W, 3] uint8; the opposite of :func:`keep_robot`."""
    return keep_robot(rgb, np.bitwise_not(robot_mask))


def contact_sheet(
    pictures: Sequence[tuple[str, NDArray[np.uint8]]], *, columns: int = 4, width: int = 320
) -> NDArray[np.uint8]:
    """Captioned RGB pictures [h, w, 3] uint8 of any size in a grid, each ``width`` pixels wide -> one RGB picture.

    Without a line for captions where no picture has one.

    Raises:
        ValueError: there is no picture.
    """
    if not pictures:
        raise ValueError("a contact sheet needs at least one picture, there are 0")
    cells = []
    height = max(1, *(round(width * p.shape[0] / p.shape[1]) for _, p in pictures))
    top = 20 if any(caption for caption, _ in pictures) else 0
    for caption, picture in pictures:
        cell = np.zeros((height + top, width, 3), np.uint8)
        size = (width, min(height, max(1, round(width * picture.shape[0] / picture.shape[1]))))
        # What is made smaller keeps its thin lines.
        way = cv2.INTER_AREA if size[0] < picture.shape[1] else cv2.INTER_LINEAR
        scaled = cv2.resize(picture, size, interpolation=way)
        cell[top : top + scaled.shape[0]] = scaled
        cv2.putText(cell, caption, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (255, 255, 255), 1, cv2.LINE_AA)
        cells.append(cell)
    columns = min(columns, len(cells))
    cells += [np.zeros_like(cells[0])] * (-len(cells) % columns)
    return np.vstack([np.hstack(cells[i : i + columns]) for i in range(0, len(cells), columns)])
