# SPDX-License-Identifier: Apache-2.0
"""Boundary refinement of the published video evaluation: a guided filter, near the boundary only (SPEC 10.2)."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from robotseg_core.evaluation.metrics import Mask

RADII = (3, 7)
"""Small and large radius of the filter, pixels."""
EPSILON = 1e-3
"""Regularisation of the filter; the guide is 0 to 1."""
MAX_CHANGE = 0.03
"""Largest change of the mask's area that is accepted, as a part of it."""


def refine(mask: Mask, rgb: NDArray[np.uint8]) -> Mask:
    """Let the mask's boundary follow the image.

    Thick places are filtered with the large radius, thin ones with the small one.

    Args:
        mask: [H, W].
        rgb: [H, W, 3] uint8.

    Returns:
        [H, W]; ``mask`` itself where it is empty or would change too much.
    """
    area = int(np.count_nonzero(mask))
    if area == 0:
        return mask
    binary = mask.view(np.uint8)
    guide = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.float32) / np.float32(255)
    thickness = cv2.dilate(cv2.distanceTransform(binary, cv2.DIST_L2, cv2.DIST_MASK_5), np.ones((15, 15), np.uint8))
    large = np.clip((thickness - 2) / 4, 0, 1)
    soft = np.asarray(binary, np.float32)
    fine, coarse = (guided_filter(guide, soft, radius) for radius in RADII)
    square = np.ones((7, 7), np.uint8)
    band = cv2.dilate(binary, square) > cv2.erode(binary, square)
    refined = np.where(band, (1 - large) * fine + large * coarse > 0.5, mask)
    return refined if abs(int(np.count_nonzero(refined)) - area) <= MAX_CHANGE * area else mask


def guided_filter(guide: NDArray[np.float32], image: NDArray[np.float32], radius: int) -> NDArray[np.float32]:
    """Guided filter of a gray image with a gray guide, both [H, W] (He, Sun and Tang, 2010, equations 5, 6 and 8)."""
    size = (2 * radius + 1, 2 * radius + 1)

    def mean(x: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(cv2.boxFilter(x, cv2.CV_32F, size, borderType=cv2.BORDER_REFLECT), np.float32)

    mean_guide, mean_image = mean(guide), mean(image)
    slope = (mean(guide * image) - mean_guide * mean_image) / (mean(guide * guide) - mean_guide**2 + EPSILON)
    offset = mean_image - slope * mean_guide
    return np.asarray(mean(slope) * guide + mean(offset), np.float32)
