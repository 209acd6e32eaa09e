# SPDX-License-Identifier: Apache-2.0
"""A robot in another colour: its light and shade stay, its mean colour becomes the one asked for."""

from __future__ import annotations

import re

import cv2
import numpy as np
from numpy.typing import NDArray

from robotseg_core.augment.clip import Rgb

LIGHT = 0.6
"""How far the mean lightness goes to that of the new colour; all the way would make white robots flat."""
OWN = 0.3
"""Share of the differences of colour on the robot that stays: logos, cables, joints."""
KEPT_L = (12.0, 92.0)
"""The mean lightness stays within these, of 0 to 100: else black or white swallows all shade."""


def parse(text: str) -> tuple[int, int, int]:
    """``#rrggbb`` -> red, green, blue, 0 to 255.

    Raises:
        ValueError: it is something else.
    """
    if not re.fullmatch(r"#?[0-9a-fA-F]{6}", text):
        raise ValueError(f"colour is {text!r}, must be #rrggbb")
    digits = text.lstrip("#")
    return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16)


def random_colour(rng: np.random.Generator) -> tuple[int, int, int]:
    """A colour that is one: neither grey nor near black."""
    hsv = np.array([[[rng.integers(0, 180), rng.integers(90, 256), rng.integers(90, 256)]]], np.uint8)
    red, green, blue = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0].tolist()
    return int(red), int(green), int(blue)


def recoloured(rgb: Rgb, mean: NDArray[np.float32], colour: tuple[int, int, int]) -> Rgb:
    """A whole picture [H, W, 3] as if all of it were the robot; the caller cuts the robot out.

    Args:
        rgb: uint8.
        mean: [3] colour of the robot in float Lab, over the whole video, so that it does not change from frame to
            frame.
        colour: red, green, blue, 0 to 255.
    """
    target = cv2.cvtColor(np.array([[colour]], np.float32) / 255, cv2.COLOR_RGB2LAB)[0, 0]
    lab = cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    light = float(np.clip(mean[0] + LIGHT * (target[0] - mean[0]), *KEPT_L))
    # Contrast by a factor where it gets darker: a shift alone would cut the shade off at black.
    factor = light / max(float(mean[0]), 1.0) if light < mean[0] else 1.0
    lab[..., 0] = np.clip((lab[..., 0] - mean[0]) * factor + light, 0, 100)
    lab[..., 1:] = target[1:] + OWN * (lab[..., 1:] - mean[1:])
    out = cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)
    return np.asarray(np.clip(out * 255 + 0.5, 0, 255), np.uint8)
