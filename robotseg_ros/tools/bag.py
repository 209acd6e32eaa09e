# SPDX-License-Identifier: Apache-2.0
"""``robotseg bag``: add mask topics to a recorded bag, every frame in order, without ROS.

Reads ROS 2 bags (a folder, or a single .mcap or .db3 file) by the ``rosbags`` package and writes MCAP.  Everything of
the input is copied as it is; the masks of an image follow it with its time, stamp and frame.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from robotseg_core.model_arguments import add_model_arguments, load_model
from robotseg_core.stream.robotseg import RobotSeg
from robotseg_core.types import PARTS
from robotseg_ros.common.image_codec import CodecError
from robotseg_ros.tools.bag_messages import BagMessages, image_topics

if TYPE_CHECKING:
    from rosbags.interfaces import Connection
    from rosbags.rosbag2 import Reader, Writer

TOPICS = tuple(f"{part}_mask" for part in PARTS)
UNKNOWN_HASH = "RIHS01_" + "0" * 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``robotseg bag``."""
    parser.add_argument("input", type=Path, help="ROS 2 bag: a folder, or a .mcap or .db3 file")
    parser.add_argument("--out", required=True, type=Path, help="new bag: a file with .mcap, else a folder")
    parser.add_argument("--camera", help="image topic; may be left out where the bag has only one")
    parser.add_argument("--prefix", default="/robotseg", help="of the topics that are added (default /robotseg)")
    add_model_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Add the masks.

    Returns:
        0, or 1 when images could not be read; they are copied, without masks.

    Raises:
        ValueError: the bag cannot be read, has no such image topic or several, or has the new topics already.
        OSError: a file cannot be read or written, or the output exists.
    """
    try:
        import rosbags.rosbag2  # noqa: F401
    except ImportError as error:
        raise ValueError("reading bags needs the package rosbags: pip install rosbags") from error
    out: Path = arguments.out
    if out.exists():
        raise FileExistsError(f"{out} exists; it is not overwritten")
    with opened(arguments.input) as reader:
        camera = choose_camera(reader, arguments.camera)
        taken = {connection.topic for connection in reader.connections}
        prefix = "/" + arguments.prefix.strip("/")
        twice = sorted(taken & {f"{prefix}/{topic}" for topic in (*TOPICS, "parts")})
        if twice:
            raise ValueError(f"{arguments.input} has {', '.join(twice)} already; give another --prefix")
        # Only now: loading takes a while, and all that can be wrong before has been looked at.
        robotseg = load_model(arguments)
        print(robotseg.loaded)
        out.parent.mkdir(parents=True, exist_ok=True)
        # Complete or not there at all: moved to its place at the end.
        with TemporaryDirectory(prefix=".robotseg-bag-", dir=out.parent) as folder:
            # The file of a bag bears the name of its folder, and says so inside.
            made = Path(folder) / (out.stem if out.suffix == ".mcap" else out.name)
            copier = _Copier(reader, camera, prefix, robotseg)
            copier.copy(made)
            (made / f"{made.name}.mcap" if out.suffix == ".mcap" else made).rename(out)
    print(f"{copier.segmented} images of {camera.topic} -> {out}")
    if copier.refused:
        first = copier.refused[0]
        print(f"{len(copier.refused)} images could not be read and have no masks; the first: {first}", file=sys.stderr)
    return 1 if copier.refused else 0


@contextmanager
def opened(path: Path) -> Iterator[Reader]:
    """Open a bag.

    Raises:
        ValueError: it is not one, or is damaged.
        OSError: it is not there.
    """
    from rosbags.rosbag2 import Reader, ReaderError

    try:
        with Reader(path) as reader:
            yield reader
    except ReaderError as error:
        raise ValueError(f"{path}: {error}") from error


def choose_camera(reader: Reader, topic: str | None) -> Connection:
    """The connection of the image topic asked for, or of the only one.

    Raises:
        ValueError: there is none of that name, none at all, or several; the message lists those that there are.
    """
    images = image_topics(reader.connections)
    listed = ", ".join(f"{c.topic} ({c.msgtype.rpartition('/')[2]}, {c.msgcount} messages)" for c in images)
    if not images:
        there = ", ".join(sorted({c.topic for c in reader.connections})) or "nothing"
        raise ValueError(f"{reader.path} has no image topic; it has {there}")
    if topic is None and len(images) > 1:
        raise ValueError(f"{reader.path} has several image topics, choose one with --camera: {listed}")
    chosen = [c for c in images if topic is None or c.topic == topic]
    if not chosen:
        raise ValueError(f"{reader.path} has no image topic {topic}; it has {listed}")
    return chosen[0]


class _Copier:
    """Copies a bag and puts masks behind the images of one topic."""

    def __init__(self, reader: Reader, camera: Connection, prefix: str, robotseg: RobotSeg) -> None:
        self._reader, self._camera, self._prefix, self._robotseg = reader, camera, prefix, robotseg
        self._messages = BagMessages()
        self.segmented = 0
        self.refused: list[str] = []

    def copy(self, path: Path) -> None:
        """Write the new bag, a folder."""
        from rosbags.rosbag2 import StoragePlugin, Writer

        stream = self._robotseg.stream()
        with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
            copies = self._add_copies(writer)
            outputs = self._add_outputs(writer)
            with tqdm(total=self._camera.msgcount, desc=self._camera.topic, unit="frame") as bar:
                for connection, time, data in self._reader.messages():
                    writer.write(copies[_key(connection)], time, data)
                    if connection.topic != self._camera.topic or connection.msgtype != self._camera.msgtype:
                        continue
                    bar.update()
                    frame = self._read(data, connection.msgtype)
                    if frame is None:
                        continue
                    header, stamp, rgb = frame
                    result = stream.step(rgb, stamp)
                    for part in PARTS:
                        raw = self._messages.mask(header, result[part].mask)
                        writer.write(outputs[f"{part}_mask"], time, raw)
                    writer.write(outputs["parts"], time, self._messages.parts(header, result, self._robotseg))
                    self.segmented += 1

    def _read(self, data: bytes, kind: str) -> tuple[Any, int, NDArray[np.uint8]] | None:
        try:
            return self._messages.image(data, kind)
        except CodecError as error:
            self.refused.append(f"number {self.segmented + len(self.refused)}: {error}")
            return None

    def _add_copies(self, writer: Writer) -> dict[Any, Connection]:
        copies: dict[Any, Connection] = {}
        for connection in self._reader.connections:
            if _key(connection) in copies:
                continue
            definition, digest = self._messages.definition(connection)
            copies[_key(connection)] = writer.add_connection(
                connection.topic,
                connection.msgtype,
                msgdef=definition,
                rihs01=digest or UNKNOWN_HASH,
                serialization_format=connection.ext.serialization_format,  # type: ignore[union-attr]
                offered_qos_profiles=connection.ext.offered_qos_profiles,  # type: ignore[union-attr]
            )
        return copies

    def _add_outputs(self, writer: Writer) -> dict[str, Connection]:
        kinds = {topic: self._messages.IMAGE for topic in TOPICS} | {"parts": self._messages.PART_MASKS}
        return {
            topic: writer.add_connection(f"{self._prefix}/{topic}", kind, typestore=self._messages.types)
            for topic, kind in kinds.items()
        }


def _key(connection: Connection) -> tuple[str, str]:
    return connection.topic, connection.msgtype
