# SPDX-License-Identifier: Apache-2.0
"""How much the edges of masks flicker: what of their motion the picture does not explain."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from robotseg_core.augment.clip import Rgb
from robotseg_core.augment.smooth import Motion, carried

SHORTEST = 40
"""Masks with a shorter edge, in pixels, tell nothing."""


class Flicker:
    """Edge flicker of a video, in pixels.

    Between two frames: the area in which a mask differs from the mask of the frame before, carried along the optical
    flow, divided by the length of its edge.  An edge that lies where the picture's motion takes it gives 0; one that
    jumps by a pixel on its whole length gives 1.  The flow's own errors are in it, so that exact masks give more than
    0: it serves to compare.
    """

    def __init__(self) -> None:
        self._motion = Motion()
        self._last: tuple[NDArray[np.uint8], NDArray[np.bool_]] | None = None
        self._found: list[float] = []

    def add(self, rgb: Rgb, robot: NDArray[np.bool_]) -> None:
        """The next frame [H, W, 3] and its mask [H, W]."""
        small = self._motion.small(rgb)
        last, self._last = self._last, (small, robot)
        edge = int(np.count_nonzero(robot[:, 1:] ^ robot[:, :-1]) + np.count_nonzero(robot[1:] ^ robot[:-1]))
        if last is None or last[1].shape != robot.shape or edge < SHORTEST:
            return
        before = carried(last[1].astype(np.float32), self._motion.between(small, last[0])) > 0.5
        outline, _ = cv2.findContours(robot.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        length = sum(cv2.arcLength(line, True) for line in outline)
        self._found.append(float(np.count_nonzero(before ^ robot)) / max(1.0, length))

    @property
    def pixels(self) -> float | None:
        """Mean over the frames; None where there was nothing to compare."""
        return float(np.mean(self._found)) if self._found else None
