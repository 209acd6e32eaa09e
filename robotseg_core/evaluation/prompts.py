# SPDX-License-Identifier: Apache-2.0
"""The clicks and boxes of a simulated user, made from the truth (SPEC 10.2), exact or with a shaky hand."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from robotseg_core.evaluation.metrics import Mask


@dataclass(frozen=True)
class Click:
    """A click at pixel (x, y) of the image; ``label`` 1: this is the part, 0: it is not."""

    x: float
    y: float
    label: int


Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels of the image."""


class ExactUser:
    """Clicks and draws exactly where the protocol says."""

    def first_click(self, truth: Mask) -> Click:
        """The pixel of a mask [H, W], not empty, that is closest to its centroid.

        On ties the first in row-major order.
        """
        rows, columns = np.nonzero(truth)
        nearest = int(np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2))
        return Click(float(columns[nearest]), float(rows[nearest]), 1)

    def correction(self, answer: Mask, truth: Mask) -> Click | None:
        """The middle of the largest error between masks [H, W].

        That is its pixel farthest from what is right and from the image's border.
        Positive where what is missing is wider than what is too much, else negative; None where nothing is wrong.
        """
        missing, excess = _depth(truth & ~answer), _depth(answer & ~truth)
        if not missing.any() and not excess.any():
            return None
        positive = bool(missing.max() > excess.max())
        y, x = np.unravel_index(int((missing if positive else excess).argmax()), truth.shape)
        return Click(float(x), float(y), int(positive))

    def box(self, truth: Mask) -> Box:
        """Tight box of a mask [H, W], not empty, in pixels: x, y, x + width, y + height."""
        x, y, width, height = cv2.boundingRect(truth.view(np.uint8))
        return float(x), float(y), float(x + width), float(y + height)


class ShakyUser(ExactUser):
    """Misses by up to ``miss`` of the part's box side, along each axis; stays in the image.

    The first click and the box move; where a shifted click falls beside the part, it stays there.
    """

    def __init__(self, miss: float, seed: int) -> None:
        self.miss = miss
        self._rng = np.random.default_rng(seed)

    def first_click(self, truth: Mask) -> Click:
        """The exact click, moved."""
        click = super().first_click(truth)
        x0, y0, x1, y1 = super().box(truth)
        return Click(
            self._moved(click.x, x1 - x0, truth.shape[1] - 1), self._moved(click.y, y1 - y0, truth.shape[0] - 1), 1
        )

    def box(self, truth: Mask) -> Box:
        """The tight box, each side moved."""
        x0, y0, x1, y1 = super().box(truth)
        height, width = truth.shape
        xs = sorted(self._moved(x, x1 - x0, width) for x in (x0, x1))
        ys = sorted(self._moved(y, y1 - y0, height) for y in (y0, y1))
        return xs[0], ys[0], xs[1], ys[1]

    def _moved(self, value: float, side: float, limit: float) -> float:
        return float(np.clip(value + self._rng.uniform(-1, 1) * self.miss * side, 0, limit))


def _depth(error: Mask) -> NDArray[np.float32]:
    """Distance of each error pixel to the nearest pixel that is none; beyond the image there are none."""
    padded = np.pad(error, 1).view(np.uint8)
    return np.asarray(cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1], np.float32)
