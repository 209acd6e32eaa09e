# SPDX-License-Identifier: Apache-2.0
"""Which of several robots is meant: the one in a region of the image, or the one that is near enough.

A category means every robot that is seen.  Here the mask is cut into pieces that hang together, in the image and, where
depth is given, in depth; a piece is meant as a whole or not at all, so that an arm which reaches out of the region is
not cut off at its border.  Two robots that touch in the image are told apart by depth alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

STEP_SHARE, STEP_M = 0.08, 0.08
"""Neighbouring cells hang together where their depths differ by no more than this share of it, and these metres."""
LEAST_PIECE = 0.02
"""Of a mask's cells that a piece must have to be judged by itself; smaller ones go with the nearest larger one."""
MAX_CORNERS = 64
"""Of a region."""
MAX_PIECES = 200
"""Pieces that are looked at; what is left, of noise, goes with the nearest of them."""

Depth = NDArray[np.uint16] | NDArray[np.float32]
"""[H, W], uint16 in mm or float32 in m; 0 and what is not finite was not measured."""
DepthSource = Depth | Callable[[], Depth | None]
"""A depth image, or what gives it, or None, once the model has worked on its frame: depth often comes later."""


@dataclass(frozen=True)
class Nearest:
    """Restricts which robot is meant.

    Attributes:
        region: corners (x, y) of a polygon as shares of the image's width and height, 0 to 1; three or more, or none:
            the whole image.
        max_depth: metres; 0: no limit.
        least: share of a piece's cells that must be in the region, and, of those with a depth, within ``max_depth``.
    """

    region: tuple[tuple[float, float], ...] = ()
    max_depth: float = 0.0
    least: float = 0.5

    def __post_init__(self) -> None:
        if 0 < len(self.region) < 3:
            raise ValueError(f"region has {len(self.region)} corners, must have at least 3, or none")
        for x, y in self.region:
            if not (0.0 <= x <= 1.0 and 0.0 <= y <= 1.0):
                raise ValueError(
                    f"region has the corner ({x:g}, {y:g}), must be shares of the image's width and height, 0 to 1"
                )
        if not (math.isfinite(self.max_depth) and self.max_depth >= 0):
            raise ValueError(f"max_depth is {self.max_depth}, must be 0 (no limit) or a number of metres")
        if not 0.0 < self.least <= 1.0:
            raise ValueError(f"least is {self.least}, must be above 0, and at most 1")

    def __bool__(self) -> bool:
        """Whether anything is restricted."""
        return bool(self.region) or self.max_depth > 0


def parse_region(text: str) -> tuple[tuple[float, float], ...]:
    """Corners of a region from ``x0,y0,x1,y1,...``; none from an empty text.

    Raises:
        ValueError: it is not pairs of numbers.
    """
    words = text.replace(",", " ").split()
    if len(words) > 2 * MAX_CORNERS:
        raise ValueError(f"region has {len(words)} numbers, must have at most {MAX_CORNERS} corners")
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        raise ValueError(f"region is {text[:80]!r}, must be numbers x0,y0,x1,y1,...") from None
    if len(numbers) % 2:
        raise ValueError(f"region has {len(numbers)} numbers, must be pairs x,y")
    return tuple(zip(numbers[0::2], numbers[1::2], strict=True))


def not_meant(
    marked: NDArray[np.bool_], nearest: Nearest, metres: NDArray[np.float32] | None = None
) -> NDArray[np.bool_]:
    """Cells [h, w] of what is marked that belong to a robot which is not meant.

    Args:
        marked: [h, w], what is marked as robot, on whatever grid over the whole image.
        nearest: what is meant.
        metres: [h, w] depth on the same grid, 0 where it was not measured (:func:`on_grid`); None: ``max_depth``
            restricts nothing.
    """
    if not marked.any():
        return np.zeros_like(marked)
    if metres is None or not nearest.max_depth:
        metres = np.zeros(marked.shape, np.float32)
    pieces, count = _pieces(marked, metres)
    cells = np.bincount(pieces[marked], minlength=count + 1)
    meant = np.ones(count + 1, bool)
    if nearest.region:
        inside = np.bincount(pieces[marked & fill_region(nearest.region, marked.shape)], minlength=count + 1)
        meant &= inside >= nearest.least * cells
    if nearest.max_depth:
        measured = np.bincount(pieces[marked & (metres > 0)], minlength=count + 1)
        near = np.bincount(pieces[marked & (metres > 0) & (metres <= nearest.max_depth)], minlength=count + 1)
        # What has no depth at all, glossy metal for one, is not known to be far.
        meant &= near >= nearest.least * measured
    return marked & ~meant[pieces]


def fill_region(region: Sequence[tuple[float, float]], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Cells [h, w] of which the centre is in a polygon of shares of width and height."""
    height, width = shape
    # Centres of pixels are whole numbers for OpenCV; 8 bits of fraction.
    corners = np.array([(x * width - 0.5, y * height - 0.5) for x, y in region]) * 256
    canvas = np.zeros((height, width), np.uint8)
    cv2.fillPoly(canvas, [np.round(corners).astype(np.int32)], 1, shift=8)
    return canvas.view(np.bool_)


def check_depth(depth: Depth, height: int, width: int) -> None:
    """See that a depth image can be aligned with an image of this size: as large, or smaller or larger as a whole.

    Raises:
        ValueError: its type or its proportions are others.
    """
    if depth.ndim != 2 or depth.dtype not in (np.uint16, np.float32) or not depth.size:
        raise ValueError(f"depth is {depth.dtype} {depth.shape}, must be uint16 (mm) or float32 (m) [H, W]")
    if abs(depth.shape[1] * height - depth.shape[0] * width) > max(height, width) * max(depth.shape) / 50:
        raise ValueError(
            f"depth is of {depth.shape[1]} x {depth.shape[0]} pixels, the image of {width} x {height}: they are not "
            f"of one view, the depth must be aligned with the image"
        )


def come(source: DepthSource | None, height: int, width: int) -> Depth | None:
    """The depth image of a frame of this size, if there is one.

    Raises:
        ValueError: as of :func:`check_depth`.
    """
    depth = source() if callable(source) else source
    if depth is not None:
        check_depth(depth, height, width)
    return depth


def on_grid(depth: Depth, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Depth [H, W] at the centres of a grid's cells, m; 0 where nothing was measured."""
    rows, columns = (((np.arange(n) + 0.5) * side / n).astype(int) for n, side in zip(shape, depth.shape, strict=True))
    sampled = depth[np.ix_(rows, columns)]
    metres = sampled.astype(np.float32) * np.float32(1e-3 if depth.dtype == np.uint16 else 1.0)
    return np.where(np.isfinite(metres) & (metres > 0), metres, np.float32(0))


def _pieces(marked: NDArray[np.bool_], metres: NDArray[np.float32]) -> tuple[NDArray[np.int32], int]:
    """Number of the piece of every cell that is marked, from 1 on, [h, w], and how many there are."""
    labels = np.zeros(marked.shape, np.int32)
    count = 0
    blobs, blob, stats, _ = cv2.connectedComponentsWithStats(marked.view(np.uint8), connectivity=8)
    for index in range(1, blobs):
        own = blob == index
        pieces = _in_depth(own & (metres > 0), metres, least=max(1, round(LEAST_PIECE * stats[index, 4])))
        if not pieces:
            pieces = [own]
        seeds = np.zeros(marked.shape, np.int32)
        for piece in pieces:
            count += 1
            seeds[piece] = count
        labels[own] = _nearest_label(seeds)[own]
    return labels, count


def _in_depth(measured: NDArray[np.bool_], metres: NDArray[np.float32], *, least: int) -> list[NDArray[np.bool_]]:
    """Parts of a blob without steps in depth, of at least so many cells, and more than a rim."""
    # Logarithms: one step for all distances.
    logs = np.where(measured, np.log(np.maximum(metres, 0.05)), 0).astype(np.float32)
    barrier = np.pad(~measured, 1, constant_values=True).astype(np.uint8)
    pieces = []
    for _ in range(MAX_PIECES):
        open_cells = barrier[1:-1, 1:-1] == 0
        if not open_cells.any():
            break
        y, x = np.unravel_index(int(open_cells.argmax()), open_cells.shape)
        step = math.log1p(max(STEP_SHARE, STEP_M / float(metres[y, x])))
        flags = 8 | cv2.FLOODFILL_MASK_ONLY | (2 << 8)
        cv2.floodFill(logs, barrier, (int(x), int(y)), 0, step, step, flags)
        piece = barrier[1:-1, 1:-1] == 2
        barrier[1:-1, 1:-1][piece] = 1
        # A rim around the robot, two cells wide, is background that the mask or the depth's edge is off by.
        if np.count_nonzero(piece) >= least and cv2.erode(piece.view(np.uint8), np.ones((3, 3), np.uint8)).any():
            pieces.append(piece)
    return pieces


def _nearest_label(seeds: NDArray[np.int32]) -> NDArray[np.int32]:
    """Every cell's nearest seed number."""
    free = (seeds == 0).astype(np.uint8)
    _, owner = cv2.distanceTransformWithLabels(free, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    # Which number each zero cell of ``free`` has among them.
    of = np.zeros(int(owner.max()) + 1, np.int32)
    taken = seeds > 0
    of[owner[taken]] = seeds[taken]
    return np.asarray(of[owner])
