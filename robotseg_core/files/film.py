# SPDX-License-Identifier: Apache-2.0
"""What a run over many frames leaves for people to look at: a video and a contact sheet, made as the frames come."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from robotseg_core.files.mask_files import write_png
from robotseg_core.files.overlay import contact_sheet

SHEET = 12
"""Pictures on a contact sheet."""


class Film:
    """A video and a contact sheet.

    Args:
        video: file of the video; None: none is made.
        sheet: file of the contact sheet; None: none is made.
        rate_hz: frames a second.
        count: frames that will come, for the sheet to show the whole; 1 where nobody knows.
        columns: of the sheet.
        width: of a picture on the sheet, in pixels.
    """

    def __init__(
        self, video: Path | None, sheet: Path | None, rate_hz: float, count: int, *, columns: int = 4, width: int = 320
    ) -> None:
        self.video, self.sheet, self.rate_hz = video, sheet, rate_hz
        self._columns, self._width = columns, width
        self.shown = 0
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._pictures: list[tuple[str, NDArray[np.uint8]]] = []
        self._every = max(1, -(-count // SHEET))

    def add(self, caption: str, picture: NDArray[np.uint8]) -> None:
        """The next frame, [H, W, 3] uint8 RGB; other sizes than the first are scaled to it."""
        if self.video is not None:
            if self._writer is None:
                self._size = (picture.shape[1], picture.shape[0])
                fourcc = cv2.VideoWriter.fourcc(*"mp4v")
                self._writer = cv2.VideoWriter(str(self.video), fourcc, self.rate_hz, self._size)
                if not self._writer.isOpened():
                    size = f"{self._size[0]} x {self._size[1]}"
                    print(f"{self.video} cannot be encoded at {size}; no video", file=sys.stderr)
            self._writer.write(cv2.resize(picture[..., ::-1], self._size))
        if self.sheet is not None and self.shown % self._every == 0:
            self._pictures.append((caption, picture))
        self.shown += 1

    def close(self) -> None:
        """Finish the video and write the contact sheet, if a frame came."""
        if self._writer is not None:
            self._writer.release()
        if self.sheet is not None and self._pictures:
            sheet = contact_sheet(self._pictures, columns=self._columns, width=self._width)
            write_png(self.sheet, sheet[..., ::-1])
