# SPDX-License-Identifier: Apache-2.0
"""The formats by name: their writers, and what they have left in a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from robotseg_core.files.formats.coco import CocoWriter
from robotseg_core.files.formats.labels import LabelVideoWriter
from robotseg_core.files.formats.png import PngWriter, probability
from robotseg_core.files.formats.writer import MaskWriter
from robotseg_core.files.mask_files import FOLDERS, SOFT

FORMATS = {
    "png": "a PNG a frame and part (default)",
    "coco": "COCO JSON, masks as run-length code",
    "coco-gz": "the same, packed by gzip",
    "labels": "a lossless label video",
    "probability": "a PNG a frame, 0 to 255 for how likely a pixel is robot",
}
"""Names and what they are, for help texts."""


def make_writer(
    kind: str, out: Path, name: str, rate_hz: float, file_name: Callable[[str], str] = lambda name: name
) -> MaskWriter:
    """The writer of a format.

    Args:
        kind: one of :data:`FORMATS`.
        out: folder, made if need be.
        name: of the recording.
        rate_hz: frames a second.
        file_name: of a frame's picture, from the frame's name.

    Raises:
        ValueError: no such format.
        OSError: the folder cannot be written to.
    """
    if kind == "png":
        return PngWriter(out, name)
    if kind == "probability":
        return PngWriter(out, name, probability)
    if kind in ("coco", "coco-gz"):
        return CocoWriter(out, name, rate_hz, packed=kind == "coco-gz", file_name=file_name)
    if kind == "labels":
        return LabelVideoWriter(out, name, rate_hz)
    raise ValueError(f"format is {kind!r}, must be one of {', '.join(FORMATS)}")


def outputs_of(out: Path, name: str) -> list[Path]:
    """Files that any format has left of a recording of that name."""
    masks = [file for folder in (*FOLDERS.values(), SOFT) for file in sorted((out / name / folder).glob("*.png"))]
    others = [out / f"{name}{end}" for end in (".coco.json", ".coco.json.gz", "_labels.avi", "_labels.json")]
    return masks + [file for file in others if file.exists()]
