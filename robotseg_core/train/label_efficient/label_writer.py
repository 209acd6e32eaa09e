# SPDX-License-Identifier: Apache-2.0
"""Labelled frames of one input as overlapping training videos in VRS layout, with contact sheets of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from robotseg_core.files.mask_files import FOLDERS, write_png
from robotseg_core.files.overlay import contact_sheet, overlay
from robotseg_core.types import PartMasks

SHORTEST = 4
"""Frames of the shortest video: a clip of label-efficient training (7, there and back) has as many different ones."""
JPEG_QUALITY = 95
TILE = 320
"""Width of a picture of the contact sheets, pixels."""
PAGE = 96
"""Pictures of one contact sheet."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A frame, ready to be written.

    Attributes:
        name: file stem.
        jpeg: the encoded picture.
        masks: [H, W] uint8, 0 or 255, by part; None where the frame is not kept.
        tile: RGB, small, the masks drawn over it; None where the frame is not kept.
    """

    name: str
    jpeg: NDArray[np.uint8]
    masks: dict[str, NDArray[np.uint8]] | None
    tile: NDArray[np.uint8] | None


class LabelWriter:
    """Cuts the frames of one input into overlapping videos; holds no more of them than one video has.

    Args:
        root: folder of ``image/`` and ``mask_gt/``, made when the first video is written.
        name: videos are called ``<name>_<k>``.
        window, step: frames of a video, and from its start to the start of the next.
        first: write the masks of each video's first frame only.
    """

    def __init__(self, root: Path, name: str, *, window: int, step: int, first: bool) -> None:
        self.root, self.name, self.window, self.step, self.first = root, name, window, step, first
        self.videos = 0
        self._open: list[list[Picture]] = []
        self._since = step
        self._tiles: list[tuple[str, NDArray[np.uint8]]] = []
        self._pages = 0

    def add(self, name: str, rgb: NDArray[np.uint8], result: PartMasks | None) -> None:
        """Take the next frame, with its masks if they are believed; a video starts with one that has them.

        Raises:
            OSError: a file cannot be written.
        """
        if result is not None and self._since >= self.step:
            self._open.append([])
            self._since = 0
        self._since += 1
        if not self._open:
            return
        picture = _picture(name, rgb, result)
        for video in self._open:
            video.append(picture)
        if len(self._open[0]) == self.window:
            self._write(self._open.pop(0))

    def close(self) -> None:
        """Write the videos that the end of the input cuts short, and the rest of the contact sheet."""
        for video in self._open:
            if len(video) >= SHORTEST:
                self._write(video)
        self._open.clear()
        if self._tiles:
            self._write_sheet()

    def _write(self, pictures: list[Picture]) -> None:
        video = f"{self.name}_{self.videos:03d}"
        images, masks = self.root / "image" / video, self.root / "mask_gt" / video
        for folder in (images, *(masks / part for part in FOLDERS.values())):
            folder.mkdir(parents=True)
        for i, picture in enumerate(pictures):
            (images / f"{picture.name}.jpg").write_bytes(picture.jpeg.tobytes())
            if picture.masks is not None and (i == 0 or not self.first):
                for part, mask in picture.masks.items():
                    write_png(masks / FOLDERS[part] / f"{picture.name}.png", mask)
        self.videos += 1
        # What was labelled: the first frame, or three of all, a row for each video.
        shown = pictures[:1] if self.first else [pictures[i] for i in (0, len(pictures) // 2, -1)]
        self._tiles += [(f"{video}: {p.name}", p.tile) for p in shown if p.tile is not None]
        if len(self._tiles) >= PAGE:
            self._write_sheet()

    def _write_sheet(self) -> None:
        folder = self.root / "sheets"
        folder.mkdir(parents=True, exist_ok=True)
        sheet = contact_sheet(self._tiles, columns=4 if self.first else 3, width=TILE)
        write_png(folder / f"{self.name}_{self._pages}.png", sheet[..., ::-1])
        self._tiles.clear()
        self._pages += 1


def _picture(name: str, rgb: NDArray[np.uint8], result: PartMasks | None) -> Picture:
    good, jpeg = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not good:
        raise OSError(f"frame {name} of {rgb.shape[1]} x {rgb.shape[0]} pixels cannot be encoded as JPEG")
    if result is None:
        return Picture(name, np.asarray(jpeg, np.uint8), None, None)
    size = (TILE, max(1, round(TILE * rgb.shape[0] / rgb.shape[1])))
    tile = np.asarray(cv2.resize(overlay(rgb, result), size, interpolation=cv2.INTER_AREA), np.uint8)
    return Picture(name, np.asarray(jpeg, np.uint8), {part: result[part].mask for part in FOLDERS}, tile)
