# SPDX-License-Identifier: Apache-2.0
"""The report of a GPU as it grows: sections, each in its box of time, on disk after every one."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from robotseg_core.bench.gpu_table import markdown


class TooLong(Exception):
    """A section has used up its box of time."""


@contextmanager
def box(seconds: float) -> Iterator[None]:
    """Raise :class:`TooLong` in the main thread after so many seconds."""

    def end(number: int, frame: object) -> None:
        raise TooLong(f"not done within its box of {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, max(1.0, seconds))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class _Notes(logging.Handler):
    """Warnings of the product while a section runs: what fell back to something slower."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


class Report:
    """Sections by name, on disk after each."""

    def __init__(self, folder: Path, seconds: float) -> None:
        self.folder, self._seconds, self._began = folder, seconds, time.perf_counter()
        folder.mkdir(parents=True, exist_ok=True)
        self.data: dict[str, Any] = {"seconds_allowed": seconds, "sections": {}}

    @property
    def left(self) -> float:
        """Seconds left."""
        return self._seconds - (time.perf_counter() - self._began)

    def section(
        self, name: str, work: Callable[[dict[str, Any]], None], *, needs: float = 3.0, most: float = 1e9
    ) -> None:
        """Run ``work``, which fills a dictionary, for ``most`` seconds; skipped where less than ``needs`` are left."""
        found: dict[str, Any] = {}
        self.data["sections"][name] = found
        if self.left < needs:
            found["skipped"] = f"{self.left:.0f} s were left, it takes about {needs:.0f}"
        else:
            notes, began = _Notes(), time.perf_counter()
            logging.getLogger("robotseg_core").addHandler(notes)
            try:
                with box(min(self.left, most)):
                    work(found)
            except Exception as problem:
                found["failed"] = f"{type(problem).__name__}: {problem}"
                found["traceback"] = traceback.format_exc()
            finally:
                logging.getLogger("robotseg_core").removeHandler(notes)
                if notes.lines:
                    found["notes"] = list(dict.fromkeys(notes.lines))
                found["took_s"] = round(time.perf_counter() - began, 1)
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()
        self.write()
        state = found.get("failed") or found.get("skipped") or "done"
        print(f"[{time.perf_counter() - self._began:6.1f} s] {name}: {state}", flush=True)
        if "traceback" in found:
            print(found["traceback"], file=sys.stderr, flush=True)

    def write(self) -> None:
        """Both files, complete or as they were."""
        self.data["seconds_taken"] = round(time.perf_counter() - self._began, 1)
        for name, text in (("gpu.json", json.dumps(self.data, indent=1)), ("gpu.md", markdown(self.data))):
            partial = self.folder / f".{name}.part"
            partial.write_text(text + "\n")
            os.replace(partial, self.folder / name)
