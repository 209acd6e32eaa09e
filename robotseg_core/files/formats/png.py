# SPDX-License-Identifier: Apache-2.0
"""Pictures of each frame: parts in VRS layout, ``NAME/000|001|002/FRAME.png``, or the robot's probability."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robotseg_core.files.mask_files import FOLDERS, SOFT, write_png
from robotseg_core.masks.soft import robot_probability
from robotseg_core.types import PartMasks

Pictures = Callable[[PartMasks], dict[str, NDArray[np.uint8]]]
"""Of an answer: pictures [H, W] by folder."""


def masks(result: PartMasks) -> dict[str, NDArray[np.uint8]]:
    """Arm, gripper and robot by their folders, each [H, W] uint8, 0 or 255."""
    return {folder: result[part].mask for part, folder in FOLDERS.items()}


def probability(result: PartMasks) -> dict[str, NDArray[np.uint8]]:
    """How likely each pixel is robot, [H, W] uint8, 0 to 255."""
    return {SOFT: robot_probability(result)}


class PngWriter:
    """Writes each frame at once, into its final place: what an interrupted run leaves are whole frames.

    A frame that cannot be read has the pictures of the frame before it; one on which the model failed has none.

    Args:
        out: folder.
        name: of the recording.
        pictures: what is written of an answer.
    """

    def __init__(self, out: Path, name: str, pictures: Pictures = masks) -> None:
        self._target, self._pictures = out / name, pictures
        self._last: PartMasks | None = None
        self._waiting: list[str] = []

    def write(self, name: str, result: PartMasks) -> None:
        """The answer to a frame."""
        made = self._pictures(result)
        for earlier in self._waiting:
            # Nothing had been seen yet: there is nothing to repeat for them.
            self._files(earlier, {folder: np.zeros_like(picture) for folder, picture in made.items()})
        self._waiting, self._last = [], result
        self._files(name, made)

    def unknown(self, name: str, *, unreadable: bool) -> None:
        """A frame without an answer."""
        if unreadable and self._last is None:
            self._waiting.append(name)
        elif unreadable and self._last is not None:
            self._files(name, self._pictures(self._last))

    def close(self) -> list[Path]:
        """Nothing is left to do."""
        return [self._target]

    def discard(self) -> None:
        """Frames that were written stay."""

    def _files(self, name: str, made: dict[str, NDArray[np.uint8]]) -> None:
        for folder, picture in made.items():
            (self._target / folder).mkdir(parents=True, exist_ok=True)
            write_png(self._target / folder / f"{name}.png", picture)
