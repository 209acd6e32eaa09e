# SPDX-License-Identifier: Apache-2.0
"""A new folder that bears its name only when it is whole, and long work on it that can be taken up again."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from robotseg_core.storage.whole import sweep

PLAN = ".robotseg_plan.json"
"""In a partial folder: what is being made there, and which pieces of it are done."""
PARTIAL = ".partial"
"""At the end of the name of a folder that is not whole yet."""


class Unfinished:
    """A folder in the making, ``NAME.partial`` beside the final one.

    Attributes:
        folder: to write into.
        resumed: whether an earlier run with the same plan has begun it.
    """

    def __init__(self, folder: Path, plan: dict[str, Any], done: dict[str, Any], *, resumed: bool) -> None:
        self.folder, self.resumed, self._plan, self._done = folder, resumed, plan, done

    def is_done(self, piece: str) -> bool:
        """Whether a piece was finished, in this run or an earlier one."""
        return piece in self._done

    def note(self, piece: str, said: Any = None) -> None:
        """Say that a piece is whole on the disk; ``said`` (JSON) is kept with it."""
        self._done[piece] = said
        _write(self.folder / PLAN, {"plan": self._plan, "done": self._done})

    @property
    def said(self) -> dict[str, Any]:
        """What was said of each piece that is done, by its name, in the order in which they were done."""
        return dict(self._done)


@contextmanager
def unfinished(out: Path, plan: dict[str, Any]) -> Iterator[Unfinished]:
    """Make the folder ``out``: work goes into ``out.partial``, which takes the name ``out`` when the block ends well.

    A block that fails or is interrupted leaves the partial folder; the same plan goes on there, which is why each
    piece is told by :meth:`Unfinished.note`.  Nothing that is there already is overwritten.

    Args:
        out: the new folder.
        plan: what is made (JSON): input and options; work of another plan is not continued.

    Raises:
        FileExistsError: ``out`` exists, or its partial folder holds something else.
        RuntimeError: another process works on it.
        OSError: the disk says no.
    """
    out = Path(os.path.abspath(out))
    if out.exists() or out.is_symlink():
        raise FileExistsError(f"{out} exists; it is not overwritten")
    # As it comes back from the file: tuples are lists there.
    plan = json.loads(json.dumps(plan))
    folder = out.with_name(out.name + PARTIAL)
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(out.with_name(f".{out.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RuntimeError(f"another process is making {out}") from error
        work = _begin(folder, plan)
        yield work
        (folder / PLAN).unlink()
        os.rename(folder, out)
    finally:
        out.with_name(f".{out.name}.lock").unlink(missing_ok=True)
        os.close(lock)


def _begin(folder: Path, plan: dict[str, Any]) -> Unfinished:
    if folder.exists() or folder.is_symlink():
        try:
            kept = json.loads((folder / PLAN).read_text())
            same = kept["plan"] == plan
        except (OSError, ValueError, KeyError, TypeError):
            raise FileExistsError(f"{folder} exists and is no unfinished work of this command") from None
        if not same:
            changed = sorted(key for key in {*plan, *kept["plan"]} if plan.get(key) != kept["plan"].get(key))
            raise FileExistsError(
                f"{folder} is unfinished work of other settings ({', '.join(changed)}); remove it or give another --out"
            )
        return Unfinished(folder, plan, kept["done"], resumed=True)
    folder.mkdir()
    _write(folder / PLAN, {"plan": plan, "done": {}})
    return Unfinished(folder, plan, {}, resumed=False)


def _write(path: Path, content: dict[str, Any]) -> None:
    beside = path.with_name(f"{path.name}.new")
    beside.write_text(json.dumps(content))
    os.replace(beside, path)


@contextmanager
def replacing_folder(out: Path) -> Iterator[Path]:
    """A new folder beside ``out`` that takes its place when the block ends well, and is removed when it does not.

    Its name cannot be known beforehand; what a killed process has left of the same folder is removed by the next one.

    Raises:
        OSError: the disk says no.
    """
    out = Path(os.path.abspath(out))
    out.parent.mkdir(parents=True, exist_ok=True)
    sweep(out)
    partial = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".part", dir=out.parent))
    handle = os.open(partial, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        # Held as long as this process lives: the sign that it is at work.
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        made = partial / "made"
        made.mkdir()
        yield made
        if out.exists():
            # Aside, so that there is no moment with half of it.
            os.rename(out, partial / "before")
        os.rename(made, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        os.close(handle)


def copy_all_but(source: Path, target: Path, left_out: set[Path]) -> int:
    """Copy a tree, bytes and times of files, links followed; files that are there with the same size and time stay.

    Args:
        source: folder.
        target: folder, made if need be.
        left_out: files, relative to ``source``.

    Returns:
        Number of files that ``target`` has now of it.

    Raises:
        ValueError: ``target`` lies in ``source``, or a link there leads to a folder that it lies in: no copy would end.
        OSError: a file cannot be read or written.
    """
    count = 0
    if Path(os.path.realpath(target)).is_relative_to(os.path.realpath(source)):
        raise ValueError(f"{target} lies in {source}, which is to be copied there: give another --out")
    for root, folders, files in os.walk(source, followlinks=True):
        folders.sort()
        for name in folders:
            if Path(os.path.realpath(root)).is_relative_to(os.path.realpath(os.path.join(root, name))):
                raise ValueError(f"{os.path.join(root, name)} is a link to a folder that it lies in")
        below = Path(root).relative_to(source)
        (target / below).mkdir(parents=True, exist_ok=True)
        for name in sorted(files):
            if below / name in left_out:
                continue
            old, new = source / below / name, target / below / name
            now = old.stat()
            if not (new.is_file() and new.stat().st_size == now.st_size and new.stat().st_mtime_ns == now.st_mtime_ns):
                shutil.copyfile(old, new)
                os.utime(new, ns=(now.st_atime_ns, now.st_mtime_ns))
            count += 1
    return count
