# SPDX-License-Identifier: Apache-2.0
"""What lies where in a LeRobot data set.

Version 2 (2.0, 2.1) has a table and, for each camera, a video of each episode::

    meta/info.json  meta/episodes.jsonl  meta/tasks.jsonl  meta/episodes_stats.jsonl (2.0: meta/stats.json)
    data/chunk-000/episode_000000.parquet
    videos/chunk-000/observation.images.top/episode_000000.mp4

Version 3 puts many episodes into one file; where an episode begins is said in the table of episodes::

    meta/info.json  meta/tasks.parquet  meta/stats.json  meta/episodes/chunk-000/file-000.parquet
    data/chunk-000/file-000.parquet
    videos/observation.images.top/chunk-000/file-000.mp4

Layout and names are those of the package ``lerobot`` 0.4.4.  Needs the extra ``lerobot``: pyarrow, PyAV.
"""

from __future__ import annotations

import json
import re
import string
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyarrow.lib import ArrowException

from robotseg_core.lerobot.tables import DataSetError, count_rows, read_table
from robotseg_core.storage.documents import read_json, read_text
from robotseg_core.storage.file_kinds import explain

INFO = Path("meta/info.json")
MOST_FRAMES = 10**8
"""Of an episode, and of a video before it."""
MOST_EPISODES = 1_000_000
"""In a data set."""
LONGEST_KEY = 200
"""Characters of a camera's name."""
_NUMBER = re.compile(r"(0?[1-9]?d?)?")
"""How a number may be written in the name of a file: ``03d``."""


@dataclass(frozen=True)
class Camera:
    """A feature with pictures.

    Attributes:
        key: its name, ``observation.images.top``.
        kind: ``video`` (mp4 files) or ``image`` (PNG in the tables).
    """

    key: str
    kind: str


@dataclass(frozen=True)
class Episode:
    """One recording.

    Attributes:
        index: its number.
        length: frames.
        data: its table, relative to the root.
        videos: by camera, its video file relative to the root and the number of its first frame there.
    """

    index: int
    length: int
    data: Path
    videos: dict[str, tuple[Path, int]]


@dataclass(frozen=True)
class DataSet:
    """A data set on the disk.

    Attributes:
        root: its folder.
        info: what ``meta/info.json`` says.
        version: 2 or 3.
        rate_hz: frames a second.
        cameras: features with pictures, by their names.
        episodes: in order.
    """

    root: Path
    info: dict[str, Any]
    version: int
    rate_hz: float
    cameras: dict[str, Camera]
    episodes: tuple[Episode, ...]

    def chosen(self, keys: list[str] | None, kinds: tuple[str, ...] = ("video", "image")) -> tuple[str, ...]:
        """Cameras by name or by the end of it (``top``); all of these kinds where none is named.

        Raises:
            DataSetError: there is none, or several of that name.
        """
        there = ", ".join(f"{c.key} ({c.kind})" for c in self.cameras.values()) or "none"
        found = []
        for key in keys or [c.key for c in self.cameras.values() if c.kind in kinds]:
            fitting = [name for name in self.cameras if name == key or name.endswith(f".{key}")]
            if len(fitting) != 1:
                raise DataSetError(f"{self.root} has {len(fitting)} cameras called {key}; it has {there}")
            if self.cameras[fitting[0]].kind not in kinds:
                raise DataSetError(f"{fitting[0]} of {self.root} is kept as {self.cameras[fitting[0]].kind}, "
                                   f"must be {' or '.join(kinds)}")  # fmt: skip
            found.append(fitting[0])
        if not found:
            raise DataSetError(f"{self.root} has no camera kept as {' or '.join(kinds)}; it has {there}")
        return tuple(dict.fromkeys(found))

    def video_files(self, key: str) -> dict[Path, tuple[Episode, ...]]:
        """Video files of a camera, relative to the root, with their episodes in the order of their frames."""
        files: dict[Path, list[Episode]] = {}
        for episode in self.episodes:
            files.setdefault(episode.videos[key][0], []).append(episode)
        return {path: tuple(sorted(held, key=lambda e: e.videos[key][1])) for path, held in files.items()}

    def data_files(self) -> dict[Path, tuple[Episode, ...]]:
        """Tables, relative to the root, with their episodes."""
        files: dict[Path, list[Episode]] = {}
        for episode in self.episodes:
            files.setdefault(episode.data, []).append(episode)
        return {path: tuple(held) for path, held in files.items()}


def is_data_set(path: Path) -> bool:
    """Whether a folder says that it is a LeRobot data set."""
    return (path / INFO).is_file()


def open_data_set(root: Path) -> DataSet:
    """Read what a data set says of itself; files that it names are there.

    Raises:
        DataSetError: it says something else than the layout, or a file is missing.
        OSError: something cannot be read.
    """
    path = root / INFO
    try:
        info = read_json(path)
        version = int(str(info["codebase_version"]).lstrip("v").partition(".")[0])
        rate, features, layout = float(info["fps"]), dict(info["features"]), str(info["data_path"])
        cameras = {k: Camera(k, f["dtype"]) for k, f in features.items() if f["dtype"] in ("video", "image")}
    except (FileNotFoundError, NotADirectoryError):
        raise DataSetError(f"{root} is no LeRobot data set: it has no {INFO}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataSetError(f"{path} cannot be read{explain(path)}: {type(error).__name__} {error}") from error
    if version not in (2, 3):
        raise DataSetError(f"{path} is of version {info['codebase_version']}, must be v2 or v3")
    for key in cameras:
        if not 0 < len(key) <= LONGEST_KEY or key in (".", "..") or any(c in "/\\" or not c.isprintable() for c in key):
            raise DataSetError(f"{path} has a camera {key[:LONGEST_KEY]!r}: masks could not have that name")
    if not 0 < rate <= 1000:
        raise DataSetError(f"{path} says {rate} frames a second, must be above 0 and at most 1000")
    videos = [key for key, camera in cameras.items() if camera.kind == "video"]
    paths = layout, str(info.get("video_path") or "")
    try:
        read = _episodes_2 if version == 2 else _episodes_3
        episodes = tuple(sorted(read(root, info, videos, *paths, rate), key=lambda episode: episode.index))
    except (ValueError, KeyError, TypeError, IndexError, ArithmeticError, ArrowException) as error:
        raise DataSetError(f"{root / 'meta'} does not say which episodes there are: {error!r}") from error
    if not episodes:
        raise DataSetError(f"{root} has no episodes")
    twice = [index for index, count in Counter(episode.index for episode in episodes).items() if count > 1]
    if twice:
        raise DataSetError(f"{root} has several episodes {twice[0]}: their masks would be mixed")
    for episode in episodes:
        first = min((first for _, first in episode.videos.values()), default=0)
        if not (0 <= episode.index and 1 <= episode.length <= MOST_FRAMES and 0 <= first <= MOST_FRAMES):
            raise DataSetError(
                f"{root}: episode {episode.index} has {episode.length} frames from frame {first} of a video on; must "
                f"have 1 to {MOST_FRAMES}"
            )
        for file in (episode.data, *(video for video, _ in episode.videos.values())):
            if file.is_absolute() or ".." in file.parts:
                raise DataSetError(f"{path} places {file} outside the data set")
            if not (root / file).is_file():
                raise DataSetError(f"{root} has no {file}, which episode {episode.index} needs")
    return DataSet(root, info, version, rate, cameras, episodes)


def _episodes_2(
    root: Path, info: dict[str, Any], videos: list[str], data_path: str, video_path: str, rate: float
) -> list[Episode]:
    size, found = int(info["chunks_size"]), []
    for line in read_text(root / "meta" / "episodes.jsonl").splitlines():
        if line.strip():
            said = json.loads(line)
            index = int(said["episode_index"])
            place = {"episode_chunk": index // size, "episode_index": index}
            found.append(
                Episode(
                    index,
                    int(said["length"]),
                    _place(data_path, **place),
                    {key: (_place(video_path, video_key=key, **place), 0) for key in videos},
                )
            )
    return found


def _episodes_3(
    root: Path, info: dict[str, Any], videos: list[str], data_path: str, video_path: str, rate: float
) -> list[Episode]:
    files = episode_tables(root)
    rows = sum(count_rows(file) for file in files)
    if rows > MOST_EPISODES:
        raise DataSetError(f"{rows} episodes, must be at most {MOST_EPISODES}")
    columns = ["episode_index", "length", "data/chunk_index", "data/file_index"]
    columns += [f"videos/{key}/{name}" for key in videos for name in ("chunk_index", "file_index", "from_timestamp")]
    found = []
    for file in files:
        for row in read_table(file, columns).to_pylist():
            places = {}
            for key in videos:
                said = {name: row[f"videos/{key}/{name}"] for name in ("chunk_index", "file_index", "from_timestamp")}
                place = _place(video_path, video_key=key, **said)
                places[key] = place, round(float(said["from_timestamp"]) * rate)
            data = _place(data_path, chunk_index=row["data/chunk_index"], file_index=row["data/file_index"])
            found.append(Episode(int(row["episode_index"]), int(row["length"]), data, places))
    return found


def _place(template: str, **values: Any) -> Path:
    """The file that a template of ``info.json`` names.

    Raises:
        ValueError: it is no such template.  One of Python's could read attributes, or be a gigabyte long.
    """
    for _, name, form, turned in string.Formatter().parse(template):
        if name is not None and (name not in values or turned or not _NUMBER.fullmatch(form or "")):
            raise ValueError(f"template {template[:200]!r} has {{{name[:40]}}}, known are {', '.join(values)}")
    return Path(template.format(**values))


def episode_tables(root: Path) -> list[Path]:
    """Tables of episodes of version 3."""
    return sorted((root / "meta" / "episodes").glob("*/*.parquet"))
