# SPDX-License-Identifier: Apache-2.0
"""Masks as features of a LeRobot data set: a copy of it with a picture and a validity for each frame and camera.

``observation.masks.top`` goes with ``observation.images.top``: a picture [H, W, 3] in the tables, its channels arm,
gripper and robot, 0 or 255, which LeRobot gives as a float tensor [3, H, W] of 0 and 1.  A PNG in the table and not a
video, because videos of data sets are lossy.  ``observation.masks.top.valid`` says whether the frame was answered: an
empty mask that is valid means "no robot seen".
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from tqdm import tqdm

from robotseg_core.lerobot.features import PICTURE, Shares, meta_files, with_columns, write_meta
from robotseg_core.lerobot.layout import DataSet, Episode, open_data_set
from robotseg_core.lerobot.tables import DataSetError, read_table
from robotseg_core.lerobot.video import read_frames
from robotseg_core.storage.new_folder import copy_all_but, unfinished
from robotseg_core.stream.robotseg import RobotSeg
from robotseg_core.types import PARTS, ModelFault, PartMasks

PREFIX = "observation.masks"


@dataclass(frozen=True)
class WithMasks:
    """What was made.

    Attributes:
        frames: pictures that were segmented, in this run and those before it.
        features: names of the features with masks.
        failed: frames that are not valid, and why.
    """

    frames: int
    features: tuple[str, ...]
    failed: tuple[str, ...]


def feature_of(camera: str) -> str:
    """The feature with the masks of a camera."""
    return f"{PREFIX}.{camera.rpartition('.')[2]}"


def add_masks(root: Path, out: Path, cameras: list[str] | None, load: Callable[[], RobotSeg]) -> WithMasks:
    """Copy a data set and add the masks of some cameras to the copy.

    Each episode is a video of its own: the stream begins anew.  What is interrupted goes on when it is called again.

    Args:
        root: of the data set.
        out: the new folder.
        cameras: names of features, also their ends; None: all.
        load: gives the model; called when everything else has been looked at.

    Raises:
        ValueError: the data set is not what it should be, has no such camera, or has masks already.
        OSError: something cannot be read or written, or ``out`` exists.
    """
    data = open_data_set(root)
    keys = data.chosen(cameras)
    names = {key: feature_of(key) for key in keys}
    there = sorted(set(names.values()) & set(data.info["features"]))
    if there:
        raise DataSetError(f"{root} has {', '.join(there)} already")
    if len(set(names.values())) < len(names):
        raise DataSetError(f"several of {', '.join(keys)} would give {feature_of(keys[0])}; choose one with --camera")
    if out.exists():
        raise FileExistsError(f"{out} exists; it is not overwritten")
    robotseg = load()
    print(robotseg.loaded)
    plan = {"what": "masks", "input": os.path.abspath(root), "cameras": keys, "model": str(robotseg.loaded)}
    with unfinished(out, plan) as work:
        files = data.data_files()
        copy_all_but(root, work.folder, {*files, *meta_files(data)})
        with tqdm(total=sum(e.length for e in data.episodes) * len(keys), desc=root.name, unit="frame") as bar:
            for file, episodes in files.items():
                if work.is_done(str(file)):
                    bar.update(sum(e.length for e in episodes) * len(keys))
                else:
                    work.note(str(file), _table(data, file, episodes, names, robotseg, work.folder, bar))
        shares, failed, sizes = _gathered(work.said)
        write_meta(data, work.folder, _features(names, sizes), shares)
    return WithMasks(sum(e.length for e in data.episodes) * len(keys), tuple(names.values()), tuple(failed))


def _table(
    data: DataSet, file: Path, episodes: tuple[Episode, ...], names: dict[str, str], robotseg: RobotSeg, target: Path,
    bar: tqdm[Any],
) -> dict[str, Any]:  # fmt: skip
    """Write one table with the new columns; what was found of its episodes, as JSON."""
    table = read_table(data.root / file)
    by_index = {episode.index: episode for episode in episodes}
    numbers = np.asarray(table.column("episode_index").to_numpy())
    ends = [*(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(numbers)]
    said: dict[str, Any] = {}
    (target / file).parent.mkdir(parents=True, exist_ok=True)
    partial = target / f"{file}.new"
    writer: pq.ParquetWriter | None = None
    try:
        for start, end in zip([0, *ends[:-1]], ends, strict=True):
            index = int(numbers[start])
            if index not in by_index or by_index[index].length != end - start or str(index) in said:
                raise DataSetError(
                    f"{data.root / file} has {end - start} rows of episode {index} from row {start} on, "
                    f"meta/ says {by_index[index].length if index in by_index else 'nothing of it'}"
                )
            rows = table.slice(start, end - start)
            columns: dict[str, pa.Array] = {}
            said[str(index)] = {}
            for key, name in names.items():
                found = _Found()
                stream = robotseg.stream()
                for number, rgb in enumerate(_pictures(data, by_index[index], key, rows)):
                    try:
                        found.add(stream.step(rgb, round(number * 1e9 / data.rate_hz)))
                    except ModelFault as error:
                        found.fail(rgb.shape[:2], f"episode {index}, frame {number}, {key}: {error}")
                    bar.update()
                columns[name] = pa.array(found.pictures, PICTURE)
                columns[f"{name}.valid"] = pa.array(found.valid, pa.bool_())
                said[str(index)][name] = found.said()
            grown = with_columns(rows, columns)
            writer = writer or pq.ParquetWriter(partial, grown.schema)
            writer.write_table(grown)
    except BaseException:
        if writer is not None:
            writer.close()
        partial.unlink(missing_ok=True)
        raise
    assert writer is not None
    writer.close()
    os.replace(partial, target / file)
    return said


def _pictures(data: DataSet, episode: Episode, key: str, rows: pa.Table) -> Iterator[NDArray[np.uint8]]:
    """Frames [H, W, 3] uint8 RGB of an episode."""
    if data.cameras[key].kind == "video":
        file, first = episode.videos[key]
        yield from read_frames(data.root / file, first, episode.length)
        return
    for number, cell in enumerate(rows.column(key)):
        coded = np.frombuffer(cell.as_py()["bytes"] or b"", np.uint8)
        bgr = cv2.imdecode(coded, cv2.IMREAD_COLOR) if coded.size else None
        if bgr is None:
            raise DataSetError(f"{data.root}: episode {episode.index} has no picture {number} of {key} in its table")
        yield np.ascontiguousarray(bgr[..., ::-1], np.uint8)


class _Found:
    """Masks of one episode and camera as cells of a column."""

    def __init__(self) -> None:
        self.pictures: list[dict[str, Any]] = []
        self.valid: list[bool] = []
        self.failed: list[str] = []
        self._ones = np.zeros(len(PARTS))
        self._pixels = 0
        self._size = (0, 0)

    def add(self, result: PartMasks) -> None:
        self._add(np.stack([result[part].mask for part in PARTS], -1), True)

    def fail(self, size: tuple[int, ...], why: str) -> None:
        self.failed.append(why)
        self._add(np.zeros((*size, len(PARTS)), np.uint8), False)

    def _add(self, masks: NDArray[np.uint8], valid: bool) -> None:
        # OpenCV writes the last channel first.
        good, coded = cv2.imencode(".png", masks[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])
        assert good
        self.pictures.append({"bytes": coded.tobytes(), "path": f"frame-{len(self.valid):06d}.png"})
        self.valid.append(valid)
        self._ones += (masks > 0).sum((0, 1))
        self._pixels += masks.shape[0] * masks.shape[1]
        self._size = (masks.shape[0], masks.shape[1])

    def said(self) -> dict[str, Any]:
        """Shares of ones, validity, size and failures, as JSON."""
        count = len(self.valid)
        return {
            "ones": (self._ones / max(1, self._pixels)).tolist(),
            "valid": sum(self.valid) / max(1, count),
            "count": count,
            "size": self._size,
            "failed": self.failed,
        }


def _gathered(
    said: dict[str, Any],
) -> tuple[dict[int, dict[str, Shares]], list[str], dict[str, tuple[int, int]]]:
    """Of all tables: shares by episode and feature, failures, size of each feature."""
    shares: dict[int, dict[str, Shares]] = {}
    failed: list[str] = []
    sizes: dict[str, tuple[int, int]] = {}
    for of_table in said.values():
        for index, of_episode in of_table.items():
            own = shares.setdefault(int(index), {})
            for name, found in of_episode.items():
                own[name] = Shares(tuple(found["ones"]), found["count"])
                own[f"{name}.valid"] = Shares((found["valid"],), found["count"])
                failed += found["failed"]
                sizes[name] = (found["size"][0], found["size"][1])
    return shares, failed, sizes


def _features(names: dict[str, str], sizes: dict[str, tuple[int, int]]) -> dict[str, dict[str, Any]]:
    """Entries of ``info.json``."""
    found: dict[str, dict[str, Any]] = {}
    for name in names.values():
        picture = {"dtype": "image", "shape": [*sizes[name], len(PARTS)], "names": ["height", "width", "channels"]}
        found[name] = picture
        found[f"{name}.valid"] = {"dtype": "bool", "shape": [1], "names": None}
    return found
