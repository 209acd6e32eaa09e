# SPDX-License-Identifier: Apache-2.0
"""Packs: training pictures with their labels in a few files that travel, and what is read from them.

A pack is a ZIP file without compression: ``index.json`` and, for every frame, ``NNNNNN.webp`` (RGB, a square),
``NNNNNN.png`` (parts: 0 none, 1 arm, 2 gripper; absent where there is none or nobody knows) and ``NNNNNNi.png`` (what
of the scene a pixel belongs to, 8 bit, 0 nothing in particular; absent where nobody knows).  The index:

    {"schema": 1, "videos": [{"name": "a", "source": "rendered", "first": 0, "labelled": [true, ...],
      "groups": [{"role": "gripper", "ids": [3, 4]}, ...],
      "parts": [{"1": [area, x0, y0, x1, y1], "3": ...}, ...], "things": [{"3": [...], ...}, ...]}]}

Groups are what a hint may mean: an object, a link, a whole robot, a region of a photograph.  ``parts`` (1 arm,
2 gripper, 3 robot) and ``things`` (by id) tell for each frame what is seen where: area as a share of the frame, and a
box in [-1, 1].
"""

from __future__ import annotations

import concurrent.futures
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

SCHEMA = 1
SOURCES = ("rendered", "real", "photo", "bare")
"""Rendered videos; real frames with robots; photographs; pictures of hands, desks and machines without robots."""
ROLES = ("object", "link", "arm", "gripper", "robot", "region")
IDS = 256
_MEASURE = 112
"""Side at which boxes and areas are measured, pixels."""

Seen = dict[int, tuple[float, float, float, float, float]]
"""Area (share of the frame) and box x0, y0, x1, y1 in [-1, 1] of each value that occurs."""


@dataclass(frozen=True)
class Group:
    """Ids that together are one thing: ``role`` one of :data:`ROLES`."""

    role: str
    ids: tuple[int, ...]


@dataclass(frozen=True)
class PackedVideo:
    """Frames ``first`` to ``stop - 1`` of a pack or a pool, in order of time.

    Attributes:
        name: of the video or picture.
        source: one of :data:`SOURCES`.
        first: number of its first frame.
        labelled: of each frame, whether its parts are known.
        groups: what its ids mean.
        parts: of each frame: 1 arm, 2 gripper, 3 robot.
        things: of each frame, by id.
    """

    name: str
    source: str
    first: int
    labelled: tuple[bool, ...]
    groups: tuple[Group, ...]
    parts: tuple[Seen, ...]
    things: tuple[Seen, ...]

    def __post_init__(self) -> None:
        if self.source not in SOURCES:
            raise ValueError(f"source of video {self.name} is {self.source!r}, must be one of {SOURCES}")
        if not self.labelled or not len(self.labelled) == len(self.parts) == len(self.things):
            raise ValueError(
                f"video {self.name} has {len(self.labelled)} frames, {len(self.parts)} lists of parts and "
                f"{len(self.things)} of things; must be the same number, at least 1"
            )

    @property
    def stop(self) -> int:
        """One past the last frame."""
        return self.first + len(self.labelled)


@dataclass(frozen=True, eq=False)
class Pictures:
    """Decoded packs, squares of one side: F frames.

    Attributes:
        videos: in the order of their frames.
        bgr: [F, S, S, 3] uint8.
        part: [F, S, S] uint8, 0 none, 1 arm, 2 gripper.
        ids: [F, S, S] uint8.
    """

    videos: tuple[PackedVideo, ...]
    bgr: NDArray[np.uint8]
    part: NDArray[np.uint8]
    ids: NDArray[np.uint8]


def measure(values: NDArray[np.uint8]) -> Seen:
    """What occurs in a map [S, S] beside 0, and where."""
    small = cv2.resize(values, (_MEASURE, _MEASURE), interpolation=cv2.INTER_NEAREST)
    out: Seen = {}
    for value in np.unique(small[small > 0]):
        x, y, w, h = cv2.boundingRect(cv2.inRange(small, int(value), int(value)))
        area = float(np.count_nonzero(small == value)) / small.size
        x0, y0, x1, y1 = (round(2 * v / _MEASURE - 1, 3) for v in (x, y, x + w, y + h))
        out[int(value)] = (round(area, 5), x0, y0, x1, y1)
    return out


def _square(image: NDArray[np.uint8], side: int, *, smooth: bool) -> NDArray[np.uint8]:
    if image.shape[:2] == (side, side):
        return image
    how = cv2.INTER_NEAREST if not smooth else cv2.INTER_AREA if image.shape[0] > side else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (side, side), interpolation=how), np.uint8)


def _decode(data: bytes, flags: int, what: str) -> NDArray[np.uint8]:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if image is None:
        raise ValueError(f"{what} cannot be decoded")
    return np.asarray(image, np.uint8)


def _seen(frames: list[dict[str, Any]]) -> tuple[Seen, ...]:
    return tuple({int(k): tuple(v) for k, v in frame.items()} for frame in frames)


def read_index(path: Path) -> list[PackedVideo]:
    """The videos of a pack.

    Raises:
        ValueError: of another schema, damaged, or of other frames than the pack has.
        OSError: it cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as pack:
            packed = next((e.filename for e in pack.infolist() if e.compress_type != zipfile.ZIP_STORED), None)
            if packed is not None:
                # It could unpack to any size.
                raise ValueError(f"{packed[:80]} is compressed, must be stored")
            names = set(pack.NameToInfo)
            index = json.loads(pack.read("index.json"))
        if index.get("schema") != SCHEMA:
            raise ValueError(f"{path} has schema {index.get('schema')!r}, must be {SCHEMA}")
        videos = [
            PackedVideo(
                name=v["name"],
                source=v["source"],
                first=v["first"],
                labelled=tuple(v["labelled"]),
                groups=tuple(Group(g["role"], tuple(g["ids"])) for g in v["groups"]),
                parts=_seen(v["parts"]),
                things=_seen(v["things"]),
            )
            for v in index["videos"]
        ]
        follows = 0
        for video in videos:
            if video.first != follows:
                raise ValueError(f"video {video.name} begins with frame {video.first}, must with {follows}")
            follows = video.stop
        # Memory is taken by the number of frames.
        missing = next((n for n in range(follows) if f"{n:06d}.webp" not in names), None)
        if missing is not None:
            raise ValueError(f"frame {missing} is missing")
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no pack: {type(error).__name__} {error}") from error
    except ValueError as error:
        raise ValueError(f"{path} is no pack: {error}") from error
    return videos


def read_packs(paths: Sequence[Path], side: int, *, workers: int) -> Pictures:
    """Decode packs by ``workers`` threads (the decoder runs outside the interpreter's lock).

    Raises:
        ValueError: no packs, or one that cannot be read.
    """
    if not paths:
        raise ValueError("there are no packs to read")
    videos: list[PackedVideo] = []
    jobs: list[tuple[Path, range, int]] = []
    total = 0
    for path in paths:
        own = read_index(path)
        count = max(v.stop for v in own)
        videos += [PackedVideo(**{**vars(v), "first": total + v.first}) for v in own]
        jobs += [(path, range(i, min(i + 16, count)), total) for i in range(0, count, 16)]
        total += count
    bgr = np.empty((total, side, side, 3), np.uint8)
    part, ids = np.zeros((total, side, side), np.uint8), np.zeros((total, side, side), np.uint8)

    def decode(job: tuple[Path, range, int]) -> None:
        path, numbers, at = job
        with zipfile.ZipFile(path) as pack:
            for n in numbers:
                colour = _decode(pack.read(f"{n:06d}.webp"), cv2.IMREAD_COLOR, f"frame {n} of {path}")
                bgr[at + n] = _square(colour, side, smooth=True)
                for target, name in ((part, f"{n:06d}.png"), (ids, f"{n:06d}i.png")):
                    if name in pack.NameToInfo:
                        grey = _decode(pack.read(name), cv2.IMREAD_GRAYSCALE, f"{name} of {path}")
                        target[at + n] = _square(grey, side, smooth=False)

    with concurrent.futures.ThreadPoolExecutor(max(1, workers)) as pool:
        for _ in pool.map(decode, jobs):
            pass
    if part.size and part.max() > 2:
        raise ValueError(f"a part map holds {part.max()}, must hold 0 none, 1 arm, 2 gripper")
    return Pictures(tuple(videos), bgr, part, ids)


class PackWriter:
    """Writes a pack frame by frame.

    Args:
        path: the pack.
        quality: of the WebP pictures, 1 to 100.
    """

    def __init__(self, path: Path, quality: int = 80) -> None:
        self.path, self.quality = path, quality
        self._zip = zipfile.ZipFile(path, "w", zipfile.ZIP_STORED)
        self._videos: list[dict[str, Any]] = []
        self._frames = 0
        self.bytes = 0

    def _put(self, name: str, suffix: str, image: NDArray[np.uint8], options: list[int]) -> None:
        good, data = cv2.imencode(suffix, image, options)
        if not good:
            raise ValueError(f"{name} of {self.path} cannot be encoded as {suffix}")
        self._zip.writestr(name, data.tobytes())
        self.bytes += len(data)

    def begin(self, name: str, source: str, groups: Sequence[Group] = ()) -> None:
        """Begin a video."""
        self._videos.append(
            {
                "name": name,
                "source": source,
                "first": self._frames,
                "labelled": [],
                "groups": [{"role": g.role, "ids": list(g.ids)} for g in groups],
                "parts": [],
                "things": [],
            }
        )

    def add(self, bgr: NDArray[np.uint8], part: NDArray[np.uint8] | None, ids: NDArray[np.uint8] | None = None) -> None:
        """Add a frame [S, S, 3] to the video; ``part`` None: its parts are not known."""
        video, n = self._videos[-1], self._frames
        self._put(f"{n:06d}.webp", ".webp", bgr, [cv2.IMWRITE_WEBP_QUALITY, self.quality])
        seen: Seen = {}
        if part is not None and part.any():
            self._put(f"{n:06d}.png", ".png", part, [cv2.IMWRITE_PNG_COMPRESSION, 6])
            seen = measure(part)
            seen[3] = measure((part > 0).astype(np.uint8)).get(1, (0.0, 0.0, 0.0, 0.0, 0.0))
        if ids is not None and ids.any():
            self._put(f"{n:06d}i.png", ".png", ids, [cv2.IMWRITE_PNG_COMPRESSION, 6])
        video["labelled"].append(part is not None)
        video["parts"].append(seen)
        video["things"].append({} if ids is None else measure(ids))
        self._frames += 1

    def close(self) -> None:
        """Complete the file."""
        self._zip.writestr("index.json", json.dumps({"schema": SCHEMA, "videos": self._videos}))
        self._zip.close()
