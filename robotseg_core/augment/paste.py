# SPDX-License-Identifier: Apache-2.0
"""The robot of another video, to be pasted over this one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from robotseg_core.augment.backgrounds import covering
from robotseg_core.augment.clip import Clip, Masks, Rgb
from robotseg_core.augment.smooth import smoothed, unsmoothed
from robotseg_core.augment.survey import survey
from robotseg_core.stream.stream import Stream

MOST = 600
"""Frames of a donor that are used."""


@dataclass(frozen=True)
class _Cut:
    """A robot cut out of a frame of ``size``: its box, its pixels, how much of them is robot (0 to 255), parts."""

    top: int
    left: int
    rgb: Rgb
    alpha: NDArray[np.uint8]
    arm: NDArray[np.bool_]
    gripper: NDArray[np.bool_]


class Donor:
    """Frames of a robot, cut out; a shorter donor goes forth and back.

    Args:
        clip: its video.
        stream: gives a new stream of the model.
        tell: called after each frame, twice.

    Raises:
        ValueError: no robot is found in it, or it cannot be read.
    """

    def __init__(self, clip: Clip, stream: Callable[[], Stream], tell: Callable[[], object] = lambda: None) -> None:
        self.name = clip.name
        seen = survey(clip, stream, tell, most=MOST)
        if not seen.found:
            raise ValueError(f"no robot is found in {clip.name}, so that none can be pasted")
        self._size = seen.size
        self._cuts: list[_Cut | None] = []
        frames = (pair for pair, _ in zip(clip.frames(), range(len(seen.masks)), strict=False))
        for frame in (unsmoothed if clip.given else smoothed)(frames, seen.masks):
            alpha = np.asarray(frame.alpha * 255 + 0.5, np.uint8)
            x, y, width, height = cv2.boundingRect(alpha)
            box = slice(y, y + height), slice(x, x + width)
            cut = _Cut(y, x, frame.rgb[box].copy(), alpha[box].copy(), *(m[box].copy() for m in _parts(frame.masks)))
            self._cuts.append(cut if width else None)
            tell()

    def __len__(self) -> int:
        return len(self._cuts)

    def frame(self, number: int, height: int, width: int) -> tuple[Rgb, NDArray[np.float32], Masks]:
        """A frame of the donor as large as asked for: picture, alpha [height, width] 0 to 1, masks.

        The donor's picture fills the frame, its middle in the middle; what sticks out is cut off.
        """
        period = max(1, 2 * len(self._cuts) - 2)
        place = number % period
        cut = self._cuts[min(place, period - place)]
        whole = np.zeros((*self._size, 6), np.uint8)
        if cut is not None:
            box = slice(cut.top, cut.top + cut.rgb.shape[0]), slice(cut.left, cut.left + cut.rgb.shape[1])
            whole[box] = np.dstack([cut.rgb, cut.alpha, cut.arm * np.uint8(255), cut.gripper * np.uint8(255)])
        rgb, others = covering(whole[..., :3], height, width), covering(whole[..., 3:], height, width)
        arm, gripper = others[..., 1] > 127, others[..., 2] > 127
        return rgb, np.asarray(others[..., 0] / 255, np.float32), Masks(arm & ~gripper, gripper)


def _parts(masks: Masks) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    return masks.arm, masks.gripper
