# SPDX-License-Identifier: Apache-2.0
"""Files that appear whole or not at all, also in folders that others can write to and after a loss of power."""

from __future__ import annotations

import fcntl
import glob
import logging
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

log = logging.getLogger(__name__)

LEFT_BEHIND_S = 60.0
"""A partial file that nobody holds any more is removed when it is older than this."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A partial file beside ``path`` that takes its place, on the disk, when the block ends well.

    Its name cannot be known beforehand and it is made anew, so no link that lies there is followed.  It is removed when
    the block fails; what a killed process has left of the same file is removed by the next one.

    Raises:
        OSError: the folder is not there, cannot be written to or is full.
    """
    path = Path(path)
    sweep(path)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    partial = Path(name)
    try:
        # Held as long as this process lives: the sign that it is at work.
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield partial
        with partial.open("rb") as written:
            os.fsync(written.fileno())
            os.fchmod(written.fileno(), 0o666 & ~umask())
        os.replace(partial, path)
        _sync_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)
        os.close(handle)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file by :func:`replacing`."""
    with replacing(path) as partial:
        partial.write_bytes(content)


@contextmanager
def locked(path: Path, *, waiting: str = "") -> Iterator[None]:
    """Hold the lock that goes with a file; the system drops the lock of a process that dies.

    Args:
        path: of the file; the lock is a hidden file beside it, which is never written to nor followed as a link.
        waiting: said in the log when another process holds it.

    Raises:
        OSError: the lock is a link, or cannot be opened.
    """
    lock = path.with_name(f".{path.name}.lock")
    handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting:
                log.warning("%s", waiting)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def umask() -> int:
    """The permissions that files of this process do not get."""
    # The only way to read it is to set it.
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def sweep(path: Path) -> None:
    """Remove partial files and folders of ``path`` that killed processes have left: old ones that nobody holds."""
    with suppress(OSError):
        for left in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
            with suppress(OSError):
                handle = os.open(left, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    status = os.fstat(handle)
                    if time.time() - status.st_mtime > LEFT_BEHIND_S:
                        shutil.rmtree(left) if stat.S_ISDIR(status.st_mode) else left.unlink()
                finally:
                    os.close(handle)
