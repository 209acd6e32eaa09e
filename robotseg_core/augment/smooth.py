# SPDX-License-Identifier: Apache-2.0
"""Masks smoothed over time, so that the edges of what is pasted do not flicker.

Each frame's mask is a field of signed distances to its edge.  Those of the frames around it are carried to it along
the optical flow and averaged: an edge that jumps to and fro comes to rest, a piece that is missing in one frame is
voted back in, and what moves is not smeared, as it would be by averaging in place.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from robotseg_core.augment.clip import Masks, PackedMasks, Rgb

Field = NDArray[np.float32]

REACH = 2
"""Frames before and after that a frame is averaged with."""
WEIGHTS = (3.0, 2.0, 1.0)
"""Of the frame itself, of those next to it, of those after the next."""
DEEP = 8.0
"""Distances are cut off here, pixels: a vote, not a measure, away from the edge."""
FLOW_SIDE = 320
"""Longer side of the pictures in which motion is measured, pixels."""


@dataclass(frozen=True)
class Smoothed:
    """A frame with the masks to use for it.

    Attributes:
        name: of the frame.
        rgb: [H, W, 3] uint8.
        masks: of the frame.
        alpha: [H, W] float32, 0 to 1: how much of a pixel is robot, soft over a pixel on each side of the edge.
    """

    name: str
    rgb: Rgb
    masks: Masks
    alpha: Field


def distances(mask: NDArray[np.bool_]) -> Field:
    """Signed distance to the edge of a mask [H, W] in pixels, positive inside, between -8 and 8."""
    ones = mask.astype(np.uint8)
    if not ones.any() or ones.all():
        return np.full(mask.shape, DEEP if ones.all() else -DEEP, np.float32)
    inside = cv2.distanceTransform(ones, cv2.DIST_L2, 3) - cv2.distanceTransform(1 - ones, cv2.DIST_L2, 3)
    # A pixel's centre is half a pixel away from the edge between it and its neighbour.
    return np.asarray(np.clip(inside - np.sign(inside) * 0.5, -DEEP, DEEP), np.float32)


class Motion:
    """Optical flow between frames, by OpenCV's DIS."""

    def __init__(self) -> None:
        self._dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)

    def small(self, rgb: Rgb) -> NDArray[np.uint8]:
        """[h, w] uint8: the picture in which motion is measured."""
        scale = min(1.0, FLOW_SIDE / max(rgb.shape[:2]))
        size = max(16, round(rgb.shape[1] * scale)), max(16, round(rgb.shape[0] * scale))
        return np.asarray(cv2.resize(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA))

    def between(self, here: NDArray[np.uint8], there: NDArray[np.uint8]) -> Field:
        """[h, w, 2]: where each pixel of one small picture is in the other, minus where it is."""
        return np.asarray(self._dis.calc(here, there, np.zeros((*here.shape, 2), np.float32)), np.float32)


def carried(field: Field, flow: Field) -> Field:
    """A field [H, W] of another frame, seen from this one: ``flow`` [h, w, 2] leads from here to there."""
    height, width = field.shape
    across = np.array([width / flow.shape[1], height / flow.shape[0]], np.float32)
    moved = cv2.resize(flow, (width, height), interpolation=cv2.INTER_LINEAR) * across
    moved[..., 0] += np.arange(width, dtype=np.float32)
    moved[..., 1] += np.arange(height, dtype=np.float32)[:, None]
    x, y = np.ascontiguousarray(moved[..., 0]), np.ascontiguousarray(moved[..., 1])
    return np.asarray(cv2.remap(field, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)


def soft(robot: Field) -> Field:
    """Signed distances -> 0 to 1, over one pixel on each side of the edge."""
    return np.asarray(np.clip(0.5 + robot / 2, 0, 1), np.float32)


@dataclass
class _Waiting:
    name: str
    rgb: Rgb
    small: NDArray[np.uint8]
    # Robot, and arm minus gripper; None where nothing is known.
    fields: tuple[Field, Field] | None
    # To the next frame, and to the one before.
    ahead: Field | None = None
    back: Field | None = None


def smoothed(frames: Iterator[tuple[str, Rgb]], masks: PackedMasks) -> Iterator[Smoothed]:
    """Frames of a video with their masks smoothed over time.

    Args:
        frames: (name, [H, W, 3] uint8 RGB), all of one size.
        masks: as many as frames.
    """
    motion = Motion()
    window: deque[_Waiting] = deque(maxlen=2 * REACH + 1)
    number = -1
    for number, (name, rgb) in enumerate(frames):
        found = masks[number]
        fields = (distances(found.robot), distances(found.arm) - distances(found.gripper)) if found else None
        new = _Waiting(name, rgb, motion.small(rgb), fields)
        if window:
            window[-1].ahead = motion.between(window[-1].small, new.small)
            new.back = motion.between(new.small, window[-1].small)
        window.append(new)
        if number >= REACH:
            yield _average(list(window), len(window) - 1 - REACH)
    # The last frames have fewer after them.
    held = list(window)
    for place in range(max(0, len(held) - min(REACH, number + 1)), len(held)):
        yield _average(held, place)


def unsmoothed(frames: Iterator[tuple[str, Rgb]], masks: PackedMasks) -> Iterator[Smoothed]:
    """The same with the masks as they are, for masks that are exact."""
    for number, (name, rgb) in enumerate(frames):
        nothing = np.zeros(rgb.shape[:2], bool)
        found = masks[number] or Masks(nothing, nothing)
        yield Smoothed(name, rgb, found, soft(distances(found.robot)))


def _average(held: list[_Waiting], place: int) -> Smoothed:
    here = held[place]
    shape = here.rgb.shape[:2]
    total, weight = [np.zeros(shape, np.float32), np.zeros(shape, np.float32)], 0.0
    for step in range(-REACH, REACH + 1):
        other = place + step
        if not 0 <= other < len(held) or held[other].fields is None:
            continue
        fields = held[other].fields
        assert fields is not None
        for kind in range(2):
            field = fields[kind]
            # From frame to frame, back to where we are.
            for at in range(other, place, -1 if step > 0 else 1):
                flow = held[at - 1].ahead if step > 0 else held[at + 1].back
                assert flow is not None
                field = carried(field, flow)
            total[kind] += WEIGHTS[abs(step)] * field
        weight += WEIGHTS[abs(step)]
    if not weight:
        nothing = np.zeros(shape, bool)
        return Smoothed(here.name, here.rgb, Masks(nothing, nothing), np.zeros(shape, np.float32))
    robot, lead = total[0] / weight, total[1] / weight
    inside = robot > 0
    return Smoothed(here.name, here.rgb, Masks(inside & (lead >= 0), inside & (lead < 0)), soft(robot))
