# SPDX-License-Identifier: Apache-2.0
"""Where weight files come from: the files known by name, where they are looked for, and how they are fetched."""

from __future__ import annotations

import argparse
import hashlib
import logging
import os
import sys
import sysconfig
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

CHUNK = 1 << 20


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


def cache_folder() -> Path:
    """Folder for downloaded weights: $ROBOTSEG_MODELS, else ``robotseg`` in the user's cache."""
    chosen = os.environ.get("ROBOTSEG_MODELS")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "robotseg"


def search_folders() -> list[Path]:
    """Folders in which a known file is looked for, first one first."""
    package = Path(__file__).resolve()
    # pip and colcon install ``share`` beside the ``lib`` that the package is in, at different depths.
    prefixes = [Path(sysconfig.get_path("data")), *package.parents[2:8]]
    installed = [prefix / "share" / "robotseg_ros" / "models" for prefix in prefixes]
    return [package.parents[2] / "models", *(folder for folder in installed if folder.is_dir()), cache_folder()]


def find_weights(source: str | Path) -> Path:
    """Path of a weight file.

    Args:
        source: path of a file, a preset's name (:data:`PRESET_FILES`) or the name of a known file.

    Raises:
        WeightsError: there is no such file; says how to obtain it.
    """
    name = PRESET_FILES.get(str(source), str(source))
    if Path(name).is_file():
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
        for line in sums.read_text(encoding="utf-8").splitlines():
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
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / file.filename
    # A name of its own: two processes that fetch the same file do not write into each other.
    partial = folder / f".{file.filename}.{os.getpid()}.part"
    log.warning("fetching %s from %s; licence: %s", file.filename, file.url, file.licence)
    digest = hashlib.sha256()
    done = 0
    try:
        with urllib.request.urlopen(file.url, timeout=60) as response, partial.open("wb") as out:
            length = response.headers.get("Content-Length")
            total = file.size or (int(length) if length else None)
            while chunk := response.read(CHUNK):
                out.write(chunk)
                digest.update(chunk)
                done += len(chunk)
                if progress:
                    progress(done, total)
            if total is not None and done != total:
                raise WeightsError(f"{file.url} gave {done} bytes, expected {total}")
        if file.sha256 and digest.hexdigest() != file.sha256:
            raise WeightsError(f"{file.url} has SHA-256 {digest.hexdigest()}, expected {file.sha256}")
        os.replace(partial, target)
    except (urllib.error.URLError, OSError) as error:
        raise WeightsError(f"cannot fetch {file.url}: {error}") from error
    finally:
        partial.unlink(missing_ok=True)
    return target


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
    print(f"\n{path}")
    return 0
