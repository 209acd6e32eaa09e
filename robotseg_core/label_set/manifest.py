# SPDX-License-Identifier: Apache-2.0
"""The manifest of a labelled data set: what was labelled by which weights, and what failed and why.

``OUT/manifest.jsonl`` has a line that says what the run is, then a line for each attempt at a clip; of several the last
one counts.  Lines are only ever added.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from robotseg_core.label_set.clips import Clip
from robotseg_core.label_set.labeller import DONE, FAILED, MASKS, RECORD, LabelSettings, Outcome

FILE = "manifest.jsonl"
FORMAT = 1


class Manifest:
    """The manifest of one folder, held by one process; made by :func:`hold`.

    Attributes:
        entries: last line of each clip, by its key.
    """

    def __init__(self, out: Path, header: dict[str, Any]) -> None:
        self._path = out / FILE
        self.entries: dict[str, dict[str, Any]] = {}
        if self._path.exists():
            self._read(header)
        else:
            self._add(header)

    def _read(self, header: dict[str, Any]) -> None:
        content = self._path.read_bytes()
        whole = content.rfind(b"\n") + 1
        try:
            first, *lines = [json.loads(line) for line in content[:whole].splitlines()]
            said = dict(first)
            self.entries = {line["clip"]: line for line in lines}
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{self._path} is no manifest of `robotseg label-set`: {error}") from error
        other = [key for key in header if said.get(key) != header[key]]
        if other and not self.entries and not (self._path.parent / MASKS).exists():
            # A run that ended before its first clip, as where no cluster answered, binds nobody.
            self._path.unlink()
            self._add(header)
            return
        if other:
            raise ValueError(
                f"{self._path} is of another run: its {other[0]} is {said.get(other[0])!r}, now it is "
                f"{header[other[0]]!r}; give another --out"
            )
        if whole < len(content):
            # The line in which the last run was cut off.
            os.truncate(self._path, whole)

    def _add(self, line: dict[str, Any]) -> None:
        with self._path.open("ab") as file:
            file.write(f"{json.dumps(line)}\n".encode())
            file.flush()
            os.fsync(file.fileno())

    def add(self, clip: Clip, outcome: Outcome) -> None:
        """Note what became of a clip."""
        line = {"clip": clip.key, "input": str(clip.path), **asdict(outcome)}
        del line["key"]
        self._add(line)
        self.entries[clip.key] = line

    def adopt(self, clips: list[Clip], out: Path, settings: LabelSettings) -> None:
        """Note clips whose masks are there though no line says so: the process that made them died in between.

        Raises:
            FileExistsError: a folder of that name is none of this run.
        """
        for clip in clips:
            folder = out / MASKS / clip.key
            if self.is_done(clip) or not folder.exists():
                continue
            try:
                said = json.loads((folder / RECORD).read_text())
                same = all(said[key] == value for key, value in settings.identity.items())
                counts = {key: said[key] for key in ("frames", "masked", "unreadable", "faulty")}
            except (OSError, ValueError, KeyError):
                same, counts = False, {}
            if not same:
                raise FileExistsError(f"{folder} exists and is not of this run; give another --out")
            self.add(clip, Outcome(clip.key, DONE, **counts))

    def is_done(self, clip: Clip) -> bool:
        """Whether a clip is labelled."""
        return self.entries.get(clip.key, {}).get("state") == DONE

    def failed(self, clips: list[Clip]) -> list[tuple[str, str]]:
        """Clips that failed, and why."""
        lines = [self.entries[clip.key] for clip in clips if clip.key in self.entries]
        return [(line["clip"], line["error"]) for line in lines if line["state"] == FAILED]


@contextmanager
def hold(out: Path, *, root: Path, layout: str, settings: LabelSettings) -> Iterator[Manifest]:
    """The manifest of ``out``, which no other process can hold meanwhile.

    Raises:
        ValueError: ``out`` has labels of another run: of other weights, settings or data.
        RuntimeError: another process labels into ``out``.
        OSError: it cannot be written to.
    """
    out.mkdir(parents=True, exist_ok=True)
    handle = os.open(out / f".{FILE}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError(f"another process labels into {out}") from None
        header = {"robotseg_label_set": FORMAT, "root": os.path.abspath(root), "layout": layout, **settings.identity}
        yield Manifest(out, header)
    finally:
        os.close(handle)
