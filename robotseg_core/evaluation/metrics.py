# SPDX-License-Identifier: Apache-2.0
"""Region similarity J and boundary accuracy F of masks, and what of a video they are averaged over (SPEC 10.4).

Everything that has to be decided, in one place:

* J is the IoU; two empty masks give 1.
* The boundary is where a pixel differs from its right, lower or lower right neighbour.  A boundary pixel is matched
  if the other mask has one within ``ceil(0.008 * diagonal)`` pixels (Euclidean, that distance included).
* Frames count from the first on which the object is in the truth **or** in the answer; the first and the last frame
  of a video count like all others; frames without truth do not count.
* An object that is in no frame of the truth has no score (what is marked there counts as false pixels).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]

TOLERANCE = 0.008
"""Boundary tolerance as a part of the image diagonal."""


def iou(a: Mask, b: Mask) -> float:
    """J: intersection over union of two masks [H, W], 0 to 1; 1 where both are empty."""
    union = int(np.count_nonzero(a | b))
    return int(np.count_nonzero(a & b)) / union if union else 1.0


def boundary(mask: Mask) -> Mask:
    """One pixel wide boundary of a mask [H, W], displaced by half a pixel towards the origin.

    The last row is compared with its right, the last column with its lower neighbour only; the last pixel is none.
    """
    edge = np.zeros_like(mask)
    edge[:-1, :-1] = (mask[:-1, :-1] ^ mask[:-1, 1:]) | (mask[:-1, :-1] ^ mask[1:, :-1])
    edge[:-1, :-1] |= mask[:-1, :-1] ^ mask[1:, 1:]
    edge[-1, :-1] = mask[-1, :-1] ^ mask[-1, 1:]
    edge[:-1, -1] = mask[:-1, -1] ^ mask[1:, -1]
    return edge


def tolerance(shape: tuple[int, ...]) -> int:
    """Distance in pixels up to which boundaries of an [H, W] image match."""
    return math.ceil(TOLERANCE * math.hypot(shape[0], shape[1]))


def boundary_f(answer: Mask, truth: Mask) -> float:
    """F: harmonic mean of boundary precision and recall of two masks [H, W], 0 to 1.

    Without any boundary in both F is 1, in one of them 0.  A mask of the whole image has no boundary.
    """
    edge_answer, edge_truth = boundary(answer), boundary(truth)
    if not edge_answer.any() or not edge_truth.any():
        # One of precision and recall is 1 and the other 0, or both are 1.
        return float(edge_answer.any() == edge_truth.any())
    reach = tolerance(truth.shape)
    # All that is asked for lies within the box of both boundaries.
    x, y, width, height = cv2.boundingRect((edge_answer | edge_truth).view(np.uint8))
    box = slice(y, y + height), slice(x, x + width)
    edge_answer, edge_truth = edge_answer[box], edge_truth[box]
    precision = float((_distance_to(edge_truth)[edge_answer] <= reach).mean())
    recall = float((_distance_to(edge_answer)[edge_truth] <= reach).mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _distance_to(edge: Mask) -> NDArray[np.float32]:
    """Exact Euclidean distance of each pixel to the nearest one of ``edge``: what a disk's dilation reaches."""
    return np.asarray(cv2.distanceTransform((~edge).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE), np.float32)


@dataclass(frozen=True)
class FrameScore:
    """One counted frame of one object.

    Attributes:
        index: of the frame in the video, from 0.
        name: of its file, without suffix.
        j: region similarity, 0 to 1.
        f: boundary accuracy, 0 to 1.
    """

    index: int
    name: str
    j: float
    f: float


class ObjectCounter:
    """Scores of one object, frame by frame."""

    def __init__(self) -> None:
        self.frames: list[FrameScore] = []
        self.in_truth = False
        self._occurred = False

    def add(self, index: int, name: str, answer: Mask, truth: Mask) -> None:
        """Count the masks [H, W] of one annotated frame; it is left out while the object has not yet occurred."""
        self.in_truth |= bool(truth.any())
        self._occurred |= self.in_truth or bool(answer.any())
        if self._occurred:
            self.frames.append(FrameScore(index, name, iou(answer, truth), boundary_f(answer, truth)))
