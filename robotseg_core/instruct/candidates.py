# SPDX-License-Identifier: Apache-2.0
"""What a request may mean: single robots, arms and grippers of the automatic masks, by their geometry and colour."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from robotseg_core.types import PartMasks

MIN_SHARE = 0.0005
"""Of the frame's pixels below which a piece is no candidate: 100 pixels of 448 x 448."""
MIN_OF_LARGEST = 0.03
"""Of the largest candidate's pixels below which a piece is a crumb of the mask."""
GAP = 0.012
"""Of the frame's diagonal: pieces with a smaller gap belong together, as two fingers do."""
COLOURS = ("white", "grey", "black", "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown")
"""Names of colours that a request may use."""
# OpenCV's hue, 0 to 180: the first name whose limit is not reached.
_HUES = ((7, "red"), (22, "orange"), (33, "yellow"), (85, "green"), (128, "blue"), (150, "purple"), (172, "pink"))


@dataclass(frozen=True, eq=False)
class Candidate:
    """One robot, arm or gripper in view.

    Attributes:
        mask: [H, W] bool.
        box: (x0, y0, x1, y1) pixels, ends exclusive.
        centre: mean (x, y) of its pixels.
        area: its pixels.
    """

    mask: NDArray[np.bool_]
    box: tuple[int, int, int, int]
    centre: tuple[float, float]
    area: int

    @classmethod
    def of(cls, mask: NDArray[np.bool_]) -> Candidate:
        """Measure a mask [H, W] that is not empty."""
        x, y, w, h = cv2.boundingRect(mask.view(np.uint8))
        rows, columns = np.nonzero(mask[y : y + h, x : x + w])
        centre = (float(columns.mean()) + x, float(rows.mean()) + y)
        return cls(mask, (int(x), int(y), int(x + w), int(y + h)), centre, len(rows))


def pieces(mask: NDArray[np.bool_]) -> list[Candidate]:
    """Pieces of a mask [H, W] from left to right; near ones count as one, crumbs not at all."""
    if not mask.any():
        return []
    height, width = mask.shape
    reach = 1 + 2 * max(1, round(GAP * float(np.hypot(height, width)) / 2))
    wide = cv2.dilate(mask.view(np.uint8), np.ones((reach, reach), np.uint8))
    count, labels = cv2.connectedComponents(wide)
    found = [Candidate.of(piece) for i in range(1, count) if (piece := mask & (labels == i)).any()]
    least = max(MIN_SHARE * mask.size, MIN_OF_LARGEST * max(c.area for c in found))
    return sorted((c for c in found if c.area >= least), key=lambda c: c.centre)


def candidates(parts: PartMasks, part: str) -> list[Candidate]:
    """Robots, arms or grippers in view, from left to right."""
    return pieces(parts[part].mask > 0)


def colour_shares(rgb: NDArray[np.uint8], mask: NDArray[np.bool_]) -> dict[str, float]:
    """Which share of a mask's pixels has which colour, as a camera sees it; shares of 0 are left out.

    The picture is [H, W, 3] uint8 RGB, the mask [H, W]; shares are 0 to 1.
    """
    hue, saturation, value = cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV)[mask].astype(int).T
    edges = np.array([limit for limit, _ in _HUES])
    names = np.array([name for _, name in _HUES] + ["red"])[np.searchsorted(edges, hue, side="right")]
    names = np.where((names == "orange") & (value < 120), "brown", names)
    plain = (saturation < 50) | ((value < 60) & (saturation < 110))
    greys = np.select([value < 70, value > 185], ["black", "white"], "grey")
    names = np.where(value < 35, "black", np.where(plain, greys, names))
    found, counts = np.unique(names, return_counts=True)
    return {str(name): int(n) / len(names) for name, n in zip(found, counts, strict=True)}
