# SPDX-License-Identifier: Apache-2.0
"""Layouts of videos that are augmented: which pieces they consist of, and where the new pictures go.

A piece is finished or not: a folder of frames, or a video file.  All files that are no pictures of a piece are copied
byte for byte.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from robotseg_core.augment.change import Changed
from robotseg_core.augment.clip import Clip


class Sink(Protocol):
    """Takes the frames of a piece in order."""

    def write(self, clip: Clip, frame: Changed) -> None:
        """The next frame."""
        ...


@dataclass(frozen=True)
class Piece:
    """What is made in one go: its name, and its videos in order."""

    name: str
    clips: tuple[Clip, ...]


class Layout(Protocol):
    """A folder, or file, of videos.

    Attributes:
        pieces: in order.
        left_out: files, relative to the root, that are not copied.
    """

    pieces: tuple[Piece, ...]
    left_out: set[Path]

    def sink(self, piece: Piece, target: Path) -> AbstractContextManager[Sink]:
        """Where the new frames of a piece go; ``target`` is the root of what is made."""
        ...
