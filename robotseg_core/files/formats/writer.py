# SPDX-License-Identifier: Apache-2.0
"""What every format does: takes the answers to a recording's frames one by one, and leaves files under their names."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Protocol

from robotseg_core.types import PartMasks


class MaskWriter(Protocol):
    """Masks of one recording, frame by frame.

    Files get their names in :meth:`close`; a writer that is not closed is given up by :meth:`discard`.
    """

    def write(self, name: str, result: PartMasks) -> None:
        """The answer to a frame, with masks [H, W] uint8 of all parts; ``name`` is the frame's.

        Raises:
            ValueError: the format cannot hold it.
        """
        ...

    def unknown(self, name: str, *, unreadable: bool) -> None:
        """A frame without an answer: it could not be read, or the model failed on it."""
        ...

    def close(self) -> list[Path]:
        """Finish; returns the files or folders that were made."""
        ...

    def discard(self) -> None:
        """Leave nothing; may follow :meth:`close`, and does nothing then."""
        ...


class InTheMaking:
    """A hidden folder beside the final places of files, from which they are moved when they are whole.

    Args:
        out: folder of the final places, made if need be.
        name: of the recording, for the name of the hidden folder.
    """

    def __init__(self, out: Path, name: str) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self._out, self._folder = out, Path(tempfile.mkdtemp(prefix=f".{name}.", dir=out))

    def place(self, name: str) -> Path:
        """Where to write a file or folder that will be called ``name``."""
        return self._folder / name

    def finish(self) -> list[Path]:
        """Move everything to its place."""
        made = []
        for path in sorted(self._folder.iterdir()):
            target = self._out / path.name
            if target.is_dir():
                # An empty one was left there; a full one is another's, and moving fails.
                target.rmdir()
            os.replace(path, target)
            made.append(target)
        self._folder.rmdir()
        return made

    def discard(self) -> None:
        """Remove what was not moved."""
        shutil.rmtree(self._folder, ignore_errors=True)
