# SPDX-License-Identifier: Apache-2.0
"""What is kept between runs: where, and whether it may be believed."""

from __future__ import annotations

import hashlib
import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from robotseg_core.storage.whole import locked, replacing, write_whole

log = logging.getLogger(__name__)


def cache_folder() -> Path | None:
    """``robotseg`` in the user's cache (``$XDG_CACHE_HOME``, by default ``~/.cache``); None for a user without a home.

    As the XDG specification says, a relative path in the variable counts for nothing.
    """
    chosen = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(chosen):
        return Path(chosen) / "robotseg"
    try:
        return Path.home() / ".cache" / "robotseg"
    except RuntimeError:
        return None


def writable_cache_folder() -> Path | None:
    """The same, made if need be; None, said in the log, where it cannot be written to."""
    folder = cache_folder()
    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if os.access(folder, os.W_OK | os.X_OK):
                return folder
        except OSError:
            pass
    log.warning("cache folder %s is not writable; what it should hold is made anew at every start", folder)
    return None


def read_trusted(path: Path) -> bytes:
    """The content of a file that this user or root has written and that nobody else could have changed.

    Raises:
        OSError: it is not there, cannot be read, or may be another's; the message says which.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise PermissionError(f"{path.name} is no file")
        if found.st_uid not in (os.geteuid(), 0):
            raise PermissionError(f"{path.name} belongs to user {found.st_uid}")
        if found.st_mode & stat.S_IWOTH:
            raise PermissionError(f"{path.name} can be written by anybody")
        return file.read()


def kept(name: str, make: Callable[[Path], None]) -> bytes:
    """The content of a file of the cache, made if there is no good one.

    Beside it lies its SHA-256.  A file without one, with another one, of another user or that anybody can write to is
    made anew, which is said in the log.  Where nothing can be kept it is made every time, and nothing is left behind.

    Args:
        name: of the file; holds all that the content depends on.
        make: writes the file to the path it is given.
    """
    folder = writable_cache_folder()
    if folder is not None:
        try:
            with locked(folder / name, waiting=f"another process is busy with {name}; waiting for it"):
                return _kept(folder / name, make)
        except OSError as error:
            log.warning("%s cannot be kept in %s: %s", name, folder, error)
    with TemporaryDirectory(prefix="robotseg_") as temporary:
        path = Path(temporary) / name
        make(path)
        return path.read_bytes()


def kept_anew(name: str, make: Callable[[Path], None]) -> bytes:
    """:func:`kept`, but made in any case: in the place of what is there."""
    folder = writable_cache_folder()
    if folder is not None:
        (folder / f"{name}.sha256").unlink(missing_ok=True)
        (folder / name).unlink(missing_ok=True)
    return kept(name, make)


def _kept(path: Path, make: Callable[[Path], None]) -> bytes:
    beside = path.with_name(f"{path.name}.sha256")
    if path.exists() or path.is_symlink():
        try:
            content, digest = read_trusted(path), read_trusted(beside).decode("ascii", "replace").split()
            if digest[:1] == [hashlib.sha256(content).hexdigest()]:
                return content
            reason = "its checksum is wrong"
        except FileNotFoundError:
            reason = "there is no checksum of it"
        except OSError as error:
            reason = str(error)
        log.warning("%s is made anew: %s", path.name, reason)
    with replacing(path) as partial:
        make(partial)
        content = partial.read_bytes()
    write_whole(beside, f"{hashlib.sha256(content).hexdigest()}  {path.name}\n".encode())
    return content
