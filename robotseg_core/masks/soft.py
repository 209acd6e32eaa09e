# SPDX-License-Identifier: Apache-2.0
"""How sure the model is of each pixel: the robot's mask before it is cut at one half."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from robotseg_core.types import PartMasks


def probability(logits: NDArray[np.float32], height: int, width: int) -> NDArray[np.uint8]:
    """Logits [h, w] -> probability [height, width], 0 to 255: 255 times the sigmoid of the enlarged logit.

    128 and more where the logit is positive, 127 and less elsewhere: cut at 128 it is the mask.
    """
    large = cv2.resize(logits, (width, height), interpolation=cv2.INTER_LINEAR)
    share = 255 / (1 + cv2.exp(-np.clip(large, -16, 16)))
    rounded = np.rint(share).astype(np.uint8)
    return np.where(large > 0, np.maximum(rounded, 128), np.minimum(rounded, 127)).astype(np.uint8)


def robot_probability(result: PartMasks) -> NDArray[np.uint8]:
    """Probability [H, W] of the robot, 0 to 255, of an answer; its mask where the answer has no logits."""
    mask = result["robot"].mask
    if result.robot_logits is None:
        return mask
    return probability(result.robot_logits, *mask.shape)
