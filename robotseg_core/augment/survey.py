# SPDX-License-Identifier: Apache-2.0
"""The first look at a video: masks of all frames, and what choices for the whole of it rest on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from robotseg_core.augment.clip import Clip, Masks, PackedMasks, Rgb
from robotseg_core.augment.flicker import Flicker
from robotseg_core.stream.stream import Stream
from robotseg_core.types import ModelFault

SAMPLES = 24
"""Frames that are kept of a video, evenly spread, at most."""
STILL_PX = 1.0
"""A camera that moves the corners of the picture by less is taken to stand still."""
HALF = 0.5
"""A mask of a smaller share of the usual area has missed part of the robot."""
KEEP_OFF = 9
"""Pixels around a robot that tell nothing of what is behind it: its soft border, its shadow's begin."""


@dataclass(frozen=True)
class Survey:
    """What is known of a video.

    Attributes:
        masks: of each frame.
        samples: some frames [H, W, 3] uint8 with their robot masks [H, W] bool.
        size: height, width.
        unknown: frames without a mask, because the model failed on them.
        found: frames with a robot.
        exact: whether the masks were given.
        flicker_px: of the masks as they are; None: cannot be told.
    """

    masks: PackedMasks
    samples: tuple[tuple[Rgb, NDArray[np.bool_]], ...]
    size: tuple[int, int]
    unknown: int
    found: int
    exact: bool
    flicker_px: float | None

    def colour(self) -> NDArray[np.float32]:
        """[3] mean colour of the robot in OpenCV's float Lab; grey where there is no robot."""
        seen = [cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[robot] for rgb, robot in self.samples]
        pixels = np.concatenate(seen) if seen else np.zeros((0, 3), np.float32)
        return np.asarray(pixels.mean(0) if len(pixels) else (50, 0, 0), np.float32)

    def whole(self) -> tuple[tuple[Rgb, NDArray[np.bool_]], ...]:
        """Samples in which the robot was found as a whole, as far as its area tells: half of the usual one at least.

        A frame in which it was missed says that the robot is the background.
        """
        areas = np.array([np.count_nonzero(robot) for _, robot in self.samples])
        if self.exact or not areas.any():
            return self.samples
        least = HALF * float(np.median(areas[areas > 0]))
        return tuple(sample for sample, area in zip(self.samples, areas, strict=True) if area >= least)

    def still(self) -> bool:
        """Whether the camera stands still, as far as the background of the samples tells."""
        (first, robot), *others = self.samples
        grey = cv2.cvtColor(first, cv2.COLOR_RGB2GRAY)
        free = 255 - cv2.dilate(robot.astype(np.uint8) * 255, np.ones((15, 15), np.uint8))
        points = cv2.goodFeaturesToTrack(grey, 300, 0.01, 8, mask=free)
        if points is None or len(points) < 8:
            return False
        height, width = grey.shape
        corners = np.array([[[0, 0]], [[width, 0]], [[0, height]], [[width, height]]], np.float32)
        for rgb, _ in others:
            there = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
            moved, good, _ = cv2.calcOpticalFlowPyrLK(grey, there, points, np.zeros_like(points))
            kept = good.ravel() > 0
            if kept.sum() < 8:
                return False
            affine, _ = cv2.estimateAffinePartial2D(points[kept], moved[kept], ransacReprojThreshold=1.5)
            if affine is None:
                return False
            shift = np.abs(cv2.transform(corners, affine) - corners).max()
            if shift > STILL_PX:
                return False
        return True


def survey(
    clip: Clip, stream: Callable[[], Stream], tell: Callable[[], object] = lambda: None, *, most: int | None = None
) -> Survey:
    """Look at all frames of a video once.

    Args:
        clip: the video.
        stream: gives a new stream of the model; not called where masks are given.
        tell: called after each frame.
        most: frames to look at; None: all.

    Raises:
        ValueError: it has no frames, frames of several sizes, or one that cannot be read.
    """
    running = None if clip.given else stream()
    masks, flicker = PackedMasks(), Flicker()
    samples: list[tuple[Rgb, NDArray[np.bool_]]] = []
    size: tuple[int, int] | None = None
    every = max(1, -(-clip.count // SAMPLES))
    unknown = found = 0
    for number, (name, rgb) in enumerate(clip.frames()):
        if most is not None and number >= most:
            break
        shape = (rgb.shape[0], rgb.shape[1])
        size = size or shape
        if shape != size:
            raise ValueError(
                f"{clip.name}: frame {name} is {shape[1]} x {shape[0]}, the first one {size[1]} x {size[0]}; "
                "frames of a video must be of one size"
            )
        one: Masks | None
        if running is None:
            assert clip.given is not None
            one = clip.given(name, shape)
        else:
            try:
                result = running.step(rgb)
                one = Masks(result["arm"].mask > 0, result["gripper"].mask > 0)
            except ModelFault:
                one = None
        masks.add(one)
        unknown += one is None
        if one is not None:
            robot = one.robot
            found += bool(robot.any())
            flicker.add(rgb, robot)
            if number % every == 0:
                samples.append((rgb, robot))
        tell()
    if size is None:
        raise ValueError(f"{clip.name} has no frames")
    return Survey(masks, tuple(samples), size, unknown, found, running is None, flicker.pixels)
