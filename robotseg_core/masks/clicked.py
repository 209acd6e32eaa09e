# SPDX-License-Identifier: Apache-2.0
"""What clicks say of the pieces of a mask: a piece that is clicked on is meant, what is clicked off goes as a whole.

The model learned what clicks mean from targets that hang together; of the mask that it answers a click with, pieces
far from it are what the category alone would mark.  So a click decides for the piece that it lies in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

MAIN = 0.5
"""Of a mask's cells that a piece must have to lose only a lobe to a click that says "not this", not all of it; chosen,
as :data:`AROUND`, on the labelled frames that the card's figures are of."""
AROUND = 3.0
"""Distances from a click to the mask's border that go around it."""
PEAK = 7
"""Cells, side of the square in which a lobe's middle is the widest place."""
NECK = 0.6
"""Of the half width of the lobe that is clicked off, what is narrower may part it from another one."""
LEAST_WIDTH = 1.0
"""Cells from a lobe's middle to its border; thinner ones belong to the lobe beside them."""


@dataclass(frozen=True)
class Clicks:
    """Clicks on a mask's grid.

    Attributes:
        x, y: [n] int, cells.
        on: [n] bool; False says that this is not it.
    """

    x: NDArray[np.int64]
    y: NDArray[np.int64]
    on: NDArray[np.bool_]

    def marked(self, mask: NDArray[np.bool_]) -> bool:
        """Whether one of them lies in a mask [h, w]."""
        return bool(mask[self.y, self.x].any())


def not_clicked(mask: NDArray[np.bool_], clicks: Clicks) -> NDArray[np.bool_]:
    """The pieces of a mask [h, w] that are not clicked on, [h, w]; none where no click lies in the mask."""
    pieces = _pieces(mask)
    meant = _meant(pieces, clicks)
    return (pieces > 0) & ~np.isin(pieces, meant) if len(meant) else np.zeros_like(mask)


def apart(mask: NDArray[np.bool_], other: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pieces of a mask [h, w] that have no cell in another one, [h, w]."""
    pieces = _pieces(mask)
    return mask & ~np.isin(pieces, pieces[other])


def clicked_off(mask: NDArray[np.bool_], clicks: Clicks) -> NDArray[np.bool_]:
    """What goes of a mask [h, w] by the clicks that say "not this", [h, w].

    The piece that such a click lies in; of the mask's main piece, and of one that is also clicked on, only the lobe,
    and of a lobe that is most of the mask only what is around the click.
    """
    gone = np.zeros_like(mask)
    if clicks.on.all():
        return gone
    pieces = _pieces(mask)
    meant = _meant(pieces, clicks)
    most = MAIN * np.count_nonzero(mask)
    for x, y in zip(clicks.x[~clicks.on], clicks.y[~clicks.on], strict=True):
        if not mask[y, x]:
            continue
        piece = pieces == pieces[y, x]
        thing = piece
        if pieces[y, x] in meant or np.count_nonzero(piece) >= most:
            # The image's edge is a border, too.
            width = np.asarray(cv2.distanceTransform(np.pad(piece, 1).view(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1])
            thing = _lobe(piece, width, x, y)
            if np.count_nonzero(thing) > most:
                thing = piece & _disc(piece.shape, x, y, AROUND * float(width[y, x]))
        # Both are said of one thing: neither counts.
        if not thing[clicks.y[clicks.on], clicks.x[clicks.on]].any():
            gone |= thing
    return gone


def _pieces(mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    """The number of each cell's piece [h, w], 0 outside."""
    return np.asarray(cv2.connectedComponents(mask.view(np.uint8), connectivity=8)[1], np.int32)


def _meant(pieces: NDArray[np.int32], clicks: Clicks) -> NDArray[np.int32]:
    """Numbers of the pieces that are clicked on."""
    return np.setdiff1d(pieces[clicks.y[clicks.on], clicks.x[clicks.on]], 0)


def _lobe(piece: NDArray[np.bool_], width: NDArray[Any], x: int, y: int) -> NDArray[np.bool_]:
    """The part of a piece [h, w] around one of its cells, up to where it is narrow; all of it if it has no neck.

    ``width`` [h, w] is how far each cell is from the piece's border.
    """
    highest = cv2.dilate(width, np.ones((PEAK, PEAK), np.uint8))
    top = _climb(width, x, y)
    _, thick = cv2.connectedComponents((width > NECK * width[top]).view(np.uint8), connectivity=8)
    own = thick == thick[top]
    # Each other place that is as wide as any around it may be the middle of another lobe.
    others = (width >= highest) & (width > LEAST_WIDTH) & ~own
    count, markers = cv2.connectedComponents(others.view(np.uint8), connectivity=8)
    if count < 2:
        return piece
    markers[own], markers[~piece] = count, count + 1
    height = (255 * (1 - width / width.max())).astype(np.uint8)
    lobes = cv2.watershed(np.repeat(height[..., None], 3, axis=2), markers)
    grown = cv2.dilate((lobes == count).view(np.uint8), np.ones((3, 3), np.uint8))
    return np.asarray((grown > 0) & piece)


def _climb(width: NDArray[Any], x: int, y: int) -> tuple[int, int]:
    """Row and column of the widest place that steps of a few cells lead to from a cell, each to a wider one."""
    reach = PEAK // 2
    while True:
        top, left = max(0, y - reach), max(0, x - reach)
        around = width[top : y + reach + 1, left : x + reach + 1]
        row, column = np.unravel_index(int(around.argmax()), around.shape)
        if around[row, column] <= width[y, x]:
            return y, x
        y, x = top + int(row), left + int(column)


def _disc(shape: tuple[int, ...], x: int, y: int, radius: float) -> NDArray[np.bool_]:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return np.asarray((columns - x) ** 2 + (rows - y) ** 2 <= radius**2)
