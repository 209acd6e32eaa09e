# SPDX-License-Identifier: Apache-2.0
"""Where weight files come from: the files known by name, where they are looked for, and how they are fetched."""

from __future__ import annotations

import argparse
import hashlib
import http.client
import logging
import os
import stat
import sys
import sysconfig
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import robotseg_core
from robotseg_core.storage import user_cache
from robotseg_core.storage.whole import replacing

log = logging.getLogger(__name__)

CHUNK = 1 << 20
TIMEOUT_S = 60.0
"""Longest silence of a server."""
MAX_SIZE = 4 << 30
"""Largest file that is fetched where its size is not known, bytes."""


class WeightsError(RuntimeError):
    """A weight file is absent, damaged or made for another model; the message says what to do."""


@dataclass(frozen=True)
class WeightFile:
    """A weight file known by name.

    Attributes:
        filename: its name on disk.
        licence: terms under which its owner gives it.
        page: where a person finds it.
        url: direct address, None where only a person with a browser can get it.
        sha256: None where its owner publishes none and none was recorded.
        size: bytes, None where unknown.
    """

    filename: str
    licence: str
    page: str
    url: str | None = None
    sha256: str | None = None
    size: int | None = None

    def how_to_get(self) -> str:
        """One sentence for whoever misses the file."""
        folder = cache_folder()
        if self.url is None:
            return (
                f"download {self.filename} by hand from {self.page} and put it into {folder} (licence: {self.licence})"
            )
        return f"run `robotseg fetch {self.filename}`, or download {self.url} into {folder} (licence: {self.licence})"


KNOWN_FILES: dict[str, WeightFile] = {
    file.filename: file
    for file in (
        WeightFile(
            filename="nano.safetensors",
            licence="Apache-2.0",
            page="models/ of this repository",
        ),
        WeightFile(
            filename="robotseg.pt",
            licence="none stated by its authors; ask them before any use beyond research",
            page="https://github.com/showlab/RobotSeg (section Download, OneDrive or BaiduDisk)",
        ),
        WeightFile(
            filename="sam2.1_hiera_tiny.pt",
            licence="Apache-2.0",
            page="https://github.com/facebookresearch/sam2",
            url="https://dl.fbaipublicfiles.com/segment_anything_2/092824/sam2.1_hiera_tiny.pt",
            sha256="7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69",
            size=156_008_466,
        ),
    )
}

PRESET_FILES: dict[str, str] = {"nano": "nano.safetensors", "base": "robotseg.pt"}
"""File that a preset's name stands for."""


def cache_folder() -> Path | None:
    """Folder for downloaded weights: $ROBOTSEG_MODELS, else ``robotseg`` in the user's cache."""
    chosen = os.environ.get("ROBOTSEG_MODELS")
    return Path(chosen) if chosen else user_cache.cache_folder()


def search_folders() -> list[Path]:
    """Folders in which a known file is looked for, first one first."""
    package = Path(robotseg_core.__file__).resolve().parent
    # pip and colcon install ``share`` beside the ``lib`` that the package is in, at different depths.
    prefixes = [Path(sysconfig.get_path("data")), *package.parents[:6]]
    installed = [prefix / "share" / "robotseg_ros" / "models" for prefix in prefixes]
    folders = [package.parent / "models", *(folder for folder in installed if folder.is_dir()), cache_folder()]
    return [folder for folder in folders if folder is not None and not anybodys(folder)]


def anybodys(folder: Path) -> bool:
    """Whether anybody could put a file of any name into a folder."""
    try:
        return bool(folder.stat().st_mode & stat.S_IWOTH)
    except OSError:
        return False


def find_weights(source: str | Path) -> Path:
    """Path of a weight file.

    Args:
        source: a preset's name (:data:`PRESET_FILES`), which is looked for in :func:`search_folders` alone and never in
            the current folder; or the path of a file; or the name of a known file, where there is no such path.

    Raises:
        WeightsError: there is no such file; says how to obtain it.
    """
    name = PRESET_FILES.get(str(source), str(source))
    if str(source) not in PRESET_FILES and Path(name).is_file():
        return Path(name)
    known = KNOWN_FILES.get(Path(name).name)
    if name in KNOWN_FILES:
        for folder in search_folders():
            if (folder / name).is_file():
                return folder / name
        looked = ", ".join(str(folder) for folder in search_folders())
        raise WeightsError(f"no weights {name} in {looked}: {KNOWN_FILES[name].how_to_get()}")
    advice = f": {known.how_to_get()}" if known else f"; presets are {', '.join(PRESET_FILES)}"
    raise WeightsError(f"no weight file {source}{advice}")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def expected_sha256(path: Path) -> str | None:
    """What a file's SHA-256 should be: from ``SHA256SUMS`` beside it, else from the known files; None: unknown."""
    sums = path.parent / "SHA256SUMS"
    if sums.is_file():
        # A name in another encoding is no reason to stop.
        for line in sums.read_text(encoding="utf-8", errors="replace").splitlines():
            digest, _, name = line.partition(" ")
            if name.strip().lstrip("*") == path.name:
                return digest.lower()
    known = KNOWN_FILES.get(path.name)
    return known.sha256 if known else None


def download(
    file: WeightFile, folder: Path | None = None, *, progress: Callable[[int, int | None], None] | None = None
) -> Path:
    """Fetch a known file, check its size and hash, and only then give it its name.

    Args:
        file: one of :data:`KNOWN_FILES` that has an address.
        folder: where to put it; default :func:`cache_folder`.
        progress: called with (bytes so far, bytes in all or None).

    Raises:
        WeightsError: no address, no connection, or the size or hash is wrong; nothing is left behind then.
    """
    if file.url is None:
        raise WeightsError(f"{file.filename} cannot be fetched by a program: {file.how_to_get()}")
    folder = folder or cache_folder()
    if folder is None:
        raise WeightsError(f"there is no folder for {file.filename}: set ROBOTSEG_MODELS")
    target = folder / file.filename
    log.warning("fetching %s from %s; licence: %s", file.filename, file.url, file.licence)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(target) as partial:
            digest = _receive(file, partial, progress)
            if file.sha256 and digest != file.sha256:
                raise WeightsError(f"{file.url} has SHA-256 {digest}, expected {file.sha256}")
    except (http.client.HTTPException, OSError, ValueError) as error:
        raise WeightsError(f"cannot fetch {file.url}: {type(error).__name__}: {error}") from error
    return target


def _receive(file: WeightFile, partial: Path, progress: Callable[[int, int | None], None] | None) -> str:
    """Write what the server sends, never more than the file has; returns its SHA-256."""
    assert file.url is not None
    digest, done = hashlib.sha256(), 0
    with urllib.request.urlopen(file.url, timeout=TIMEOUT_S) as response, partial.open("wb") as out:
        length = response.headers.get("Content-Length")
        said = int(length) if length and length.isdecimal() else None
        total = file.size or said
        if said is not None and said != total:
            raise WeightsError(f"{file.url} says it has {said} bytes, expected {total}")
        most = MAX_SIZE if total is None else total
        while chunk := response.read(CHUNK):
            done += len(chunk)
            if done > most:
                raise WeightsError(f"{file.url} gave {done} bytes and goes on, expected {most}")
            out.write(chunk)
            digest.update(chunk)
            if progress:
                progress(done, total)
    if total is not None and done != total:
        raise WeightsError(f"{file.url} gave {done} bytes, expected {total}")
    return digest.hexdigest()


def main(argv: Sequence[str] | None = None) -> int:
    """``robotseg fetch NAME``: fetch a known file, or say how a person gets it; returns the exit code."""
    parser = argparse.ArgumentParser(prog="robotseg fetch", description="Fetch a weight file into the model folder.")
    parser.add_argument("name", choices=sorted(KNOWN_FILES), help="file to fetch")
    parser.add_argument("--folder", type=Path, help=f"where to put it (default {cache_folder()})")
    arguments = parser.parse_args(argv)

    def show(done: int, total: int | None) -> None:
        whole = f" of {total / 1e6:.0f}" if total else ""
        print(f"\r{done / 1e6:.0f}{whole} MB", end="", file=sys.stderr, flush=True)

    try:
        path = download(KNOWN_FILES[arguments.name], arguments.folder, progress=show)
    except WeightsError as error:
        print(f"robotseg fetch: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    print(f"\n{path}")
    return 0
