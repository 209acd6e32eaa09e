# SPDX-License-Identifier: Apache-2.0
"""Specks far from the robot and small holes in it go; what is near it or large stays: a finger, a second robot.

Everything happens on the model's own grid (96 x 96 for nano), before masks are enlarged: its cost does not depend on
the camera.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

OFF_LOGIT = -4.0
"""Largest logit of a cell that was taken away: surely not the robot."""
FILLED_LOGIT = 0.1
"""Least logit of a cell of a filled hole."""


@dataclass(frozen=True)
class Hygiene:
    """What counts as a speck and as a hole.

    Attributes:
        speck: a piece of the robot's mask with less than this share of the largest piece's area is a speck; so is a
            second robot that small.
        apart: a speck goes if it is at least this far from all pieces that are none, as a share of the image's side;
            nearer ones stay, such as a finger that is cut off by what it holds.
        hole: a hole goes if its area is at most this share of the robot's, and it does not touch the image's edge.
    """

    speck: float = 0.2
    apart: float = 0.05
    hole: float = 0.002

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"{name} is {value}, must be 0 to 1")


def tidy(logits: NDArray[np.float32], hygiene: Hygiene) -> NDArray[np.float32]:
    """Logits [n, h, w] of parts, the robot last, without specks and holes of what is marked of any part.

    Returns:
        The same array where nothing was to be done, else a changed copy.
    """
    marked = logits.max(0) > 0
    specks = _specks(marked, hygiene)
    if specks is not None:
        marked = marked & ~specks
        logits = without(logits, specks)
    holes = _holes(marked, hygiene)
    if holes is not None:
        logits = logits.copy()
        logits[-1][holes] = FILLED_LOGIT
    return logits


def without(logits: NDArray[np.float32], cells: NDArray[np.bool_]) -> NDArray[np.float32]:
    """A copy in which no part is marked at ``cells`` [h, w]."""
    return np.where(cells, np.minimum(logits, OFF_LOGIT), logits)


def _specks(marked: NDArray[np.bool_], hygiene: Hygiene) -> NDArray[np.bool_] | None:
    count, labels, stats, _ = cv2.connectedComponentsWithStats(marked.view(np.uint8), connectivity=8)
    if count < 3:
        return None
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    small = areas < hygiene.speck * areas.max()
    small[0] = False
    if not small.any():
        return None
    large = marked & ~small[labels]
    distance = cv2.distanceTransform((~large).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    nearest = np.full(count, np.inf, np.float32)
    np.minimum.at(nearest, np.asarray(labels, np.intp), distance)
    gone = small & (nearest >= hygiene.apart * max(marked.shape))
    return np.asarray(gone[labels]) if gone.any() else None


def _holes(marked: NDArray[np.bool_], hygiene: Hygiene) -> NDArray[np.bool_] | None:
    # What is marked is joined across corners, so what is not must not be.
    count, labels, stats, _ = cv2.connectedComponentsWithStats((~marked).view(np.uint8), connectivity=4)
    if count < 3:
        return None
    small = stats[:, cv2.CC_STAT_AREA] <= hygiene.hole * np.count_nonzero(marked)
    for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        small[edge] = False
    small[0] = False
    return np.asarray(small[labels]) if small.any() else None
