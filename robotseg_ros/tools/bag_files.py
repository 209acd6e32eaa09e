# SPDX-License-Identifier: Apache-2.0
"""A recorded bag: which files belong to it, in which order, and what is in them.

Read are folders with or without ``metadata.yaml`` and single files, .mcap and .db3, packed or not.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import apsw
import yaml
import zstandard
from mcap.reader import make_reader
from rosbags.interfaces import Connection, MessageDefinitionFormat
from rosbags.rosbag2 import ReaderError
from rosbags.rosbag2.metadata import dump_qos_v9
from rosbags.rosbag2.storage_sqlite3 import Sqlite3Reader

from robotseg_core.files.natural import natural
from robotseg_core.storage.file_kinds import explain
from robotseg_ros.tools.bag_records import BagError, McapFile, Message, Problems, Record, Topic
from robotseg_ros.tools.bag_unpacking import MAX_UNPACKED, unpacked

SUFFIXES = (".mcap", ".db3")
PACKED = (".zst", ".zstd")
MAX_YAML = 8 * 2**20
"""Largest metadata.yaml that is read, bytes."""


class SqliteFile:
    """Messages of one SQLite file in the order of their times; arguments as of :class:`McapFile`.

    A packed file is unpacked into a temporary folder, up to the size that its own header names.
    """

    def __init__(self, path: Path, problems: Problems, limit: int, message_compression: str = "") -> None:
        self.path, self._problems, self._limit, self._inner = path, problems, limit, message_compression
        self.profile = "ros2"
        self.compression = "zstd" if path.suffix in PACKED or message_compression else ""

    def again(self, problems: Problems) -> SqliteFile:
        """A second reader of the same file."""
        return SqliteFile(self.path, problems, self._limit, self._inner)

    def records(self) -> Iterator[Record]:
        """All topics, then all messages.

        Raises:
            BagError: it is no SQLite bag.
        """
        if self.path.suffix not in PACKED:
            yield from self._records(self.path)
            return
        with TemporaryDirectory(prefix="robotseg_bag_") as folder:
            yield from self._records(self._whole(Path(folder)))

    def _whole(self, folder: Path) -> Path:
        target = folder / self.path.stem
        try:
            with self.path.open("rb") as file, target.open("wb") as out:
                reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
                head = reader.read(100)
                # Of SQLite's file header: size of a page (1 stands for 65536), number of pages.
                page, pages = int.from_bytes(head[16:18], "big"), int.from_bytes(head[28:32], "big")
                size, free = (65536 if page == 1 else page) * pages, shutil.disk_usage(folder).free
                if not head.startswith(b"SQLite format 3\0") or size > free:
                    raise BagError(f"{self.path} unpacks to {size} bytes, {free} are free in {folder.parent}")
                out.write(head)
                left = size - len(head)
                while left > 0 and (piece := reader.read(min(left, 1 << 20))):
                    out.write(piece)
                    left -= len(piece)
        except zstandard.ZstdError as error:
            raise BagError(f"{self.path} cannot be unpacked: {error}") from error
        return target

    def _records(self, path: Path) -> Iterator[Record]:
        reader = Sqlite3Reader(path)
        try:
            reader.open()
        except (ReaderError, apsw.Error, ValueError, KeyError, TypeError) as error:
            raise BagError(f"{self.path}{explain(path)}: {error}; {_RECOVER}") from error
        try:
            topics = {connection.id: sqlite_topic(connection) for connection in reader.connections}
            yield from topics.values()
            for connection, time, data in reader.messages(reader.connections):
                try:
                    data = unpacked(data, self._inner, None, self._limit) if self._inner else bytes(data)
                except (ValueError, TypeError) as error:
                    self._problems.add("messages are not in the copy", f"{connection.topic} at {time} ns: {error}")
                    continue
                yield Message(topics[connection.id], time, time, 0, data)
        except (ReaderError, apsw.Error, sqlite3.Error) as error:
            self._problems.add("damaged places", f"{self.path.name} cannot be read any further: {error}; {_RECOVER}")
        finally:
            reader.close()


_RECOVER = "`sqlite3 OLD.db3 .recover | sqlite3 NEW.db3` makes a whole file of it"


def sqlite_topic(connection: Connection) -> Topic:
    """A topic of an SQLite bag as MCAP would have it."""
    definition, ext = connection.msgdef, connection.ext
    encodings = {MessageDefinitionFormat.MSG: "ros2msg", MessageDefinitionFormat.IDL: "ros2idl"}
    qos = yaml.safe_dump(dump_qos_v9(ext.offered_qos_profiles), sort_keys=False)  # type: ignore[union-attr]
    metadata = {"offered_qos_profiles": "" if qos.strip() == "[]" else qos}
    if connection.digest:
        metadata["topic_type_hash"] = connection.digest
    return Topic(
        connection.topic,
        ext.serialization_format,  # type: ignore[union-attr]
        connection.msgtype,
        encodings.get(definition.format, ""),
        definition.data.encode(),
        tuple(metadata.items()),
    )


class Bag:
    """A bag on disk.

    Args:
        path: folder, or .mcap or .db3 file.
        limit: largest message or chunk that is unpacked, bytes.

    Attributes:
        problems: what could not be read so far.

    Raises:
        BagError: it is no ROS 2 bag; the message says what it is where that can be told.
        OSError: it is not there or cannot be read.
    """

    def __init__(self, path: Path, limit: int = MAX_UNPACKED) -> None:
        self.path, self.problems, self._limit = path, Problems(), limit
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist")
        files, mode = self._listed() if path.is_dir() else ([path], "")
        self._files = [self._file(file, mode) for file in files]

    def again(self) -> Bag:
        """A second reader of the same bag, whose problems are its own."""
        return Bag(self.path, self._limit)

    def _file(self, path: Path, mode: str) -> McapFile | SqliteFile:
        names = path.suffixes[-2:] if path.suffix in PACKED else [path.suffix]
        inner = "zstd" if mode == "message" else ""
        if ".mcap" in names:
            return McapFile(path, self.problems, self._limit, inner)
        if ".db3" in names:
            return SqliteFile(path, self.problems, self._limit, inner)
        raise BagError(f"{path} is no ROS 2 bag{explain(path)}: its name must end with .mcap or .db3")

    def _listed(self) -> tuple[list[Path], str]:
        """Files in the order of recording, and how they are packed (``""``, ``message``, ``file``)."""
        there = sorted(
            (file for file in self.path.iterdir() if {*file.suffixes[-2:]} & {*SUFFIXES} and file.is_file()),
            key=lambda file: natural(file.name),
        )
        try:
            with open(os.open(self.path / "metadata.yaml", os.O_RDONLY | os.O_NONBLOCK), "rb") as stream:
                text = stream.read(MAX_YAML + 1) or b""
            if len(text) > MAX_YAML:
                raise ValueError(f"it has more than {MAX_YAML} bytes")
            content: Any = yaml.safe_load(text)["rosbag2_bagfile_information"]
            # Names alone: a bag does not reach outside its folder.
            listed = [self.path / Path(_text(name)).name for name in content["relative_file_paths"]]
            mode = _text(content.get("compression_mode") or "").lower()
            packing = _text(content.get("compression_format") or "")
        except FileNotFoundError:
            return self._without_metadata(there, "there is no metadata.yaml")
        except (yaml.YAMLError, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            return self._without_metadata(there, f"metadata.yaml is damaged: {error}".splitlines()[0])
        if mode in ("message", "file") and packing != "zstd":
            raise BagError(f"{self.path} is packed by {packing!r}, must be zstd")
        for file in listed:
            if not file.is_file():
                self.problems.add("missing files", f"{file.name}, which metadata.yaml names")
        found = [file for file in listed if file.is_file()]
        if not found:
            raise BagError(f"{self.path} has none of the files that its metadata.yaml names: {_names(listed)}")
        return found, "" if mode == "none" else mode

    def _without_metadata(self, there: list[Path], why: str) -> tuple[list[Path], str]:
        if not there:
            others = [file for file in sorted(self.path.iterdir()) if file.is_file()][:3]
            hint = next((f" {file.name}{said}" for file in others if (said := explain(file))), "")
            raise BagError(f"{self.path} is no ROS 2 bag: {why}, and no .mcap or .db3 file.{hint}")
        self.problems.add(
            "doubts about the order of files",
            f"{why}; read in the order of their names: {_names(there)}; `ros2 bag reindex {self.path}` makes a new one",
        )
        return there, ""

    @property
    def compression(self) -> str:
        """Of the files, known after :meth:`topics`: ``lz4``, ``zstd`` or empty."""
        # A damaged place may name any other.
        return next((file.compression for file in self._files if file.compression in ("lz4", "zstd")), "")

    @property
    def profile(self) -> str:
        """MCAP profile of the first file, known after :meth:`topics`."""
        return self._files[0].profile

    def topics(self) -> dict[Topic, int]:
        """Topics and their numbers of messages, from the index where there is a sound one, else by reading all."""
        counts: dict[Topic, int] = {}
        for file in self._files:
            found = _indexed(file)
            if found is None:
                found = self._scanned(file)
            for topic, count in found.items():
                counts[topic] = counts.get(topic, 0) + count
        return counts

    def _scanned(self, file: McapFile | SqliteFile) -> dict[Topic, int]:
        found: dict[Topic, int] = {}
        # What is wrong is noted when the bag is copied.
        reader = file.again(Problems())
        for record in reader.records():
            if isinstance(record, Topic):
                found.setdefault(record, 0)
            elif isinstance(record, Message):
                found[record.topic] = found.get(record.topic, 0) + 1
        file.compression, file.profile = reader.compression, reader.profile
        return found

    def records(self) -> Iterator[Record]:
        """All records of all files, in order."""
        for file in self._files:
            yield from file.records()


def _indexed(file: McapFile | SqliteFile) -> dict[Topic, int] | None:
    """Topics by the summary of a sound MCAP file; None for others."""
    if not isinstance(file, McapFile) or file.path.suffix in PACKED:
        return None
    try:
        with file.path.open("rb") as stream:
            reader = make_reader(stream)
            summary, file.profile = reader.get_summary(), reader.get_header().profile
    except Exception:  # Damaged in whatever way: it is read record by record.
        return None
    if summary is None or summary.statistics is None or not summary.channels:
        return None
    file.compression = file.compression or next((c.compression for c in summary.chunk_indexes if c.compression), "")
    found: dict[Topic, int] = {}
    for number, channel in summary.channels.items():
        schema = summary.schemas.get(channel.schema_id)
        if schema is None and channel.schema_id:
            return None
        named = (schema.name, schema.encoding, schema.data) if schema else ("", "", b"")
        topic = Topic(channel.topic, channel.message_encoding, *named, tuple(channel.metadata.items()))
        file.indexed[number] = topic
        found[topic] = found.get(topic, 0) + summary.statistics.channel_message_counts.get(number, 0)
    return found


def _text(value: Any) -> str:
    """A value that is a text. Any other is not turned into one: YAML's aliases make endless ones of a few lines."""
    if not isinstance(value, str):
        raise TypeError(f"it has a {type(value).__name__} where a text is expected")
    return value


def _names(files: list[Path]) -> str:
    return ", ".join(file.name for file in files[:5]) + (f" and {len(files) - 5} more" if len(files) > 5 else "")
