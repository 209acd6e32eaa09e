# SPDX-License-Identifier: Apache-2.0
"""Ways of making frames harder, each at three strengths, the same every time for the same video and frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from robotseg_core.evaluation.metrics import Mask
from robotseg_core.evaluation.protocols import Truth
from robotseg_core.evaluation.runner import Spoil, seed_of

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Perturbation:
    """A way of making frames harder.

    Attributes:
        name: for tables.
        what: meaning of the strengths, with unit.
        strengths: weak, middle, strong.
        apply: (RGB image [H, W, 3], strength, seed of the frame) -> image of the same shape.
    """

    name: str
    what: str
    strengths: tuple[float, float, float]
    apply: Callable[[Image, float, int], Image]

    def spoil(self, strength: float) -> Spoil:
        """To be given to :class:`~robotseg_core.evaluation.runner.Plan`."""

        def spoil(video: str, index: int, rgb: Image, truth: Truth) -> tuple[Image, Truth]:
            return self.apply(rgb, strength, seed_of(video, self.name, index)), truth

        return spoil


def blur(rgb: Image, strength: float, seed: int) -> Image:
    """Gaussian blur; ``strength`` is its sigma as a percentage of the diagonal: a lens out of focus."""
    sigma = strength / 100 * float(np.hypot(*rgb.shape[:2]))
    return np.asarray(cv2.GaussianBlur(rgb, (0, 0), sigma), np.uint8)


def dark(rgb: Image, strength: float, seed: int) -> Image:
    """All values times ``strength``, with the noise of few photons (sigma 3 of 255)."""
    noise = np.random.default_rng(seed).normal(0, 3, rgb.shape)
    return _to_bytes(rgb * strength + noise)


def noise(rgb: Image, strength: float, seed: int) -> Image:
    """Gaussian noise of sigma ``strength`` (of 255) on every value."""
    return _to_bytes(rgb + np.random.default_rng(seed).normal(0, strength, rgb.shape))


def jpeg(rgb: Image, strength: float, seed: int) -> Image:
    """JPEG of quality ``strength``."""
    coded = cv2.imencode(".jpg", rgb, [cv2.IMWRITE_JPEG_QUALITY, int(strength)])[1]
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)


PERTURBATIONS: tuple[Perturbation, ...] = (
    Perturbation("blur", "sigma, % of the diagonal", (0.3, 0.6, 1.2), blur),
    Perturbation("dark", "times", (0.5, 0.25, 0.12), dark),
    Perturbation("noise", "sigma, of 255", (10.0, 25.0, 50.0), noise),
    Perturbation("jpeg", "quality", (30.0, 15.0, 5.0), jpeg),
)
"""What leaves the truth as it is."""

OCCLUSION_STRENGTHS: tuple[float, float, float] = (0.25, 0.5, 0.75)
"""Sides of the occluder as a part of the sides of the robot's box."""


def occlude(strength: float, video: str, index: int, rgb: Image, truth: Truth) -> tuple[Image, Truth]:
    """An occluder before the robot, in every second pair of frames: it appears and goes again.

    It is a rectangle of ``strength`` times the sides of the robot's box, striped in two random colours, somewhere
    within that box.  What it covers is no longer in the truth.
    """
    robot = truth["robot"]
    if index % 4 < 2 or robot is None or not robot.any():
        return rgb, truth
    colours = np.random.default_rng(seed_of(video, "occluder")).integers(0, 256, (2, 3))
    # The same place in the box in both frames of a pair, so that the occluder moves with the robot.
    place = np.random.default_rng(seed_of(video, "place", index // 4)).uniform(size=2)
    x, y, width, height = cv2.boundingRect(robot.view(np.uint8))
    w, h = max(1, round(strength * width)), max(1, round(strength * height))
    left, top = x + round(place[0] * (width - w)), y + round(place[1] * (height - h))
    stripes = (np.arange(h)[:, None] + np.arange(w)) // 8 % 2
    spoiled = rgb.copy()
    spoiled[top : top + h, left : left + w] = colours[stripes]
    return spoiled, {part: _without(mask, left, top, w, h) for part, mask in truth.items()}


def _without(mask: Mask | None, left: int, top: int, width: int, height: int) -> Mask | None:
    if mask is None:
        return None
    rest = mask.copy()
    rest[top : top + height, left : left + width] = False
    return rest


def _to_bytes(values: NDArray[np.float64]) -> Image:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
