# SPDX-License-Identifier: Apache-2.0
"""What a user has said is not a part, followed from frame to frame by where it was on the frame before."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

SAME = 0.3
"""Of what is excluded, or of a piece of the mask, that lies in the other where they are taken for the same thing."""

FLICKER = 2
"""Cells around it that stay excluded where the model leaves them out for a frame, and the part would grow into them."""
FORGET_AFTER = 15
"""Frames; what the model has not marked for so long is forgotten."""


class Excluded:
    """Cells that are to stay away from each part's mask, and what was left of it on the frame before.

    Args:
        parts: how many.
        side: cells, of the masks' square grid.
    """

    def __init__(self, parts: int, side: int) -> None:
        self._away = np.zeros((parts, side, side), bool)
        self._kept = np.zeros((parts, side, side), bool)
        self._unseen = np.zeros(parts, np.int64)

    def __bool__(self) -> bool:
        """Whether anything is excluded."""
        return bool(self._away.any())

    def clear(self, row: int | None = None) -> None:
        """Exclude nothing more, of one part or of all."""
        self._away[slice(None) if row is None else row] = False

    def tell(self, row: int, away: NDArray[np.bool_], kept: NDArray[np.bool_]) -> None:
        """Exclude ``away`` [h, w] from a part, beside what is excluded already; ``kept`` [h, w] is the part."""
        self._kept[row] = kept
        self._away[row] = (self._away[row] | away) & ~kept
        self._unseen[row] = 0

    def taken_from(self, masks: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """What is excluded from the masks [parts, h, w] of the next frame, [parts, h, w].

        A piece that lies where something excluded was, and not where the part was, goes whole.  One that lies on both
        is cut between them.
        """
        gone = np.zeros_like(masks)
        for row in np.flatnonzero(self._away.any(axis=(1, 2))):
            gone[row] = self._part(masks[row], self._away[row], self._kept[row])
            kept = masks[row] & ~gone[row]
            if gone[row].any():
                near = cv2.dilate(gone[row].view(np.uint8), np.ones((2 * FLICKER + 1,) * 2, np.uint8)) > 0
                self._away[row] = gone[row] | (self._away[row] & near)
                self._unseen[row] = 0
            else:
                self._unseen[row] += 1
            # A part that moves over it has covered it.
            self._away[row] &= ~kept
            if kept.any():
                self._kept[row] = kept
            if self._unseen[row] >= FORGET_AFTER:
                self.clear(int(row))
        return gone

    def _part(self, mask: NDArray[np.bool_], away: NDArray[np.bool_], kept: NDArray[np.bool_]) -> NDArray[np.bool_]:
        gone = np.zeros_like(mask)
        count, pieces = cv2.connectedComponents(mask.view(np.uint8), connectivity=8)
        areas = np.bincount(pieces.ravel(), minlength=count)
        on_away = np.bincount(pieces[away], minlength=count)
        on_kept = np.bincount(pieces[kept], minlength=count)
        least = SAME * np.count_nonzero(away)
        for index in range(1, count):
            if on_away[index] < min(least, SAME * areas[index]):
                continue
            piece = pieces == index
            gone |= piece & _nearer(away, kept) if on_kept[index] else piece
        return gone


def _nearer(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Cells [h, w] that lie nearer to one set of cells than to the other."""
    distances = [cv2.distanceTransform((~cells).view(np.uint8), cv2.DIST_L2, 5) for cells in (one, other)]
    return np.asarray(distances[0] < distances[1])
