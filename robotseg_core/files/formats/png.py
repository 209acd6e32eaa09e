# SPDX-License-Identifier: Apache-2.0
"""One PNG a frame and part, in VRS layout: ``NAME/000|001|002/FRAME.png``, 0 or 255."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robotseg_core.files.mask_files import FOLDERS, write_png
from robotseg_core.types import PartMasks


class PngWriter:
    """Writes each frame at once, into its final place: what an interrupted run leaves are whole frames.

    A frame that cannot be read has the masks of the frame before it; one on which the model failed has none.
    """

    def __init__(self, out: Path, name: str) -> None:
        self._target = out / name
        for folder in FOLDERS.values():
            (self._target / folder).mkdir(parents=True, exist_ok=True)
        self._last: PartMasks | None = None
        self._waiting: list[str] = []

    def write(self, name: str, result: PartMasks) -> None:
        """The answer to a frame."""
        for earlier in self._waiting:
            # Nothing had been seen yet: there is nothing to repeat for them.
            self._masks(earlier, {part: np.zeros_like(result[part].mask) for part in FOLDERS})
        self._waiting, self._last = [], result
        self._masks(name, {part: result[part].mask for part in FOLDERS})

    def unknown(self, name: str, *, unreadable: bool) -> None:
        """A frame without an answer."""
        if unreadable and self._last is None:
            self._waiting.append(name)
        elif unreadable and self._last is not None:
            self._masks(name, {part: self._last[part].mask for part in FOLDERS})

    def close(self) -> list[Path]:
        """Nothing is left to do."""
        return [self._target]

    def discard(self) -> None:
        """Frames that were written stay."""

    def _masks(self, name: str, masks: dict[str, NDArray[np.uint8]]) -> None:
        for part, mask in masks.items():
            write_png(self._target / FOLDERS[part] / f"{name}.png", mask)
