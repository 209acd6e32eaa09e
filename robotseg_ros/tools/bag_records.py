# SPDX-License-Identifier: Apache-2.0
"""MCAP and SQLite files of ROS 2 bags, record by record.

Nothing in a file is believed before it is checked: lengths against what is there, sizes against a limit before
anything is unpacked, checksums afterwards.  What cannot be read is named in :class:`Problems` and reading goes on
with what follows.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import zstandard
from mcap import records as mcap
from mcap.data_stream import ReadDataStream
from mcap.exceptions import EndOfFile
from mcap.opcode import Opcode

from robotseg_core.storage.file_kinds import explain
from robotseg_ros.tools.bag_unpacking import unpacked

MAGIC = b"\x89MCAP0\r\n"
REPAIR = "`mcap recover` makes a whole file of it"


class BagError(ValueError):
    """A bag that cannot be read; the message says why and what to do."""


@dataclass
class Problems:
    """What of a bag could not be read or copied, by kind: how often, and the first of each in words."""

    counts: dict[str, int] = field(default_factory=dict)
    first: dict[str, str] = field(default_factory=dict)

    def add(self, kind: str, words: str) -> None:
        """Count one; ``kind`` is a noun in the plural."""
        self.counts[kind] = self.counts.get(kind, 0) + 1
        self.first.setdefault(kind, words)

    def lines(self) -> list[str]:
        """One line for each kind."""
        return [f"{count} {kind}; the first: {self.first[kind]}" for kind, count in self.counts.items()]


@dataclass(frozen=True)
class Topic:
    """A channel with its schema.

    Attributes:
        name: of the topic.
        encoding: of its messages: ``cdr`` for ROS 2, also ``json``, ``protobuf``, ...
        kind: name of the type, as the file has it.
        schema_encoding: of ``schema``; empty where there is none.
        schema: definition of the type.
        metadata: of the channel, in order.
    """

    name: str
    encoding: str
    kind: str
    schema_encoding: str = ""
    schema: bytes = b""
    metadata: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Message:
    """A message as it was recorded; times in nanoseconds."""

    topic: Topic
    log_time: int
    publish_time: int
    sequence: int
    data: bytes


Record = Topic | Message | mcap.Attachment | mcap.Metadata


class _Body(ReadDataStream):
    """The body of a record; reading past its end is an error."""

    def __init__(self, body: bytes) -> None:
        super().__init__(BytesIO(body))

    def read(self, length: int) -> bytes:
        data = super().read(length)
        if len(data) < length:
            raise EndOfFile("it ends before its last field")
        return data


class McapFile:
    """Records of one MCAP file, whole or not, packed as a whole by zstd or not.

    Args:
        path: of the file.
        problems: what cannot be read is noted there.
        limit: largest message or chunk that is unpacked, bytes.
        message_compression: of each message by itself (rosbag2's mode ``message``); empty: none.
    """

    def __init__(self, path: Path, problems: Problems, limit: int, message_compression: str = "") -> None:
        self.path, self._problems, self._limit, self._inner = path, problems, limit, message_compression
        self.compression, self.profile = message_compression, "ros2"
        self._schemas: dict[int, mcap.Schema] = {}
        self._topics: dict[int, Topic] = {}
        self.indexed: dict[int, Topic] = {}
        """Topics by their numbers, from the file's summary: what is damaged may be the place that names them."""

    def again(self, problems: Problems) -> McapFile:
        """A second reader of the same file."""
        return McapFile(self.path, problems, self._limit, self._inner)

    def records(self) -> Iterator[Record]:
        """All records in the order of the file.

        Raises:
            BagError: it is no MCAP file.
        """
        self._schemas.clear()
        self._topics = dict(self.indexed)
        packed = self.path.suffix in (".zst", ".zstd")
        with self.path.open("rb") as file:
            stream: Any = file
            left: int | None = self.path.stat().st_size
            if packed:
                stream, left = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True), None
                self.compression = "zstd"
            try:
                magic = stream.read(len(MAGIC))
                if magic != MAGIC:
                    start = magic.hex(" ") or "nothing"
                    raise BagError(f"{self.path} is no MCAP file{explain(self.path)}: it begins with {start}")
                yield from self._top(stream, None if left is None else left - len(MAGIC))
            except zstandard.ZstdError as error:
                self._damaged(f"{self.path.name} cannot be unpacked any further: {error}")

    def _damaged(self, words: str) -> None:
        self._problems.add("damaged places", f"{words}; {REPAIR}")

    def _top(self, stream: IO[bytes], left: int | None) -> Iterator[Record]:
        """Records up to the end of the data section."""
        number = 0
        while True:
            head = stream.read(9)
            if len(head) < 9:
                self._damaged(f"{self.path.name} ends without a closing record, after {number} records")
                return
            opcode, length = head[0], int.from_bytes(head[1:], "little")
            most = self._limit if left is None else left - 9
            if length > most:
                self._damaged(f"record {number} of {self.path.name} says it has {length} bytes, there are {most}")
                return
            body = stream.read(length)
            while len(body) < length and (more := stream.read(length - len(body))):
                body += more
            left = None if left is None else left - 9 - length
            if len(body) < length:
                self._damaged(f"record {number} of {self.path.name} has {len(body)} of {length} bytes")
                return
            if opcode in (Opcode.DATA_END, Opcode.FOOTER):
                return
            if opcode == Opcode.CHUNK:
                yield from self._chunk(number, body)
            else:
                yield from self._one(number, opcode, body)
            number += 1

    def _chunk(self, number: int, body: bytes) -> Iterator[Record]:
        try:
            chunk = mcap.Chunk.read(_Body(body))
            raw = unpacked(chunk.data, chunk.compression, chunk.uncompressed_size, self._limit)
            self.compression = self.compression or chunk.compression
            if chunk.uncompressed_crc and zlib.crc32(raw) != chunk.uncompressed_crc:
                raise ValueError("its checksum is wrong")
        except Exception as error:  # Whatever a damaged record makes of the parser.
            self._damaged(f"chunk {number} of {self.path.name} is left out: {_said(error)}")
            return
        view, at = memoryview(raw), 0
        while at + 9 <= len(view):
            opcode, length = view[at], int.from_bytes(view[at + 1 : at + 9], "little")
            if length > len(view) - at - 9:
                self._damaged(f"a record in chunk {number} of {self.path.name} says it has {length} bytes")
                return
            yield from self._one(number, opcode, bytes(view[at + 9 : at + 9 + length]))
            at += 9 + length

    def _one(self, number: int, opcode: int, body: bytes) -> Iterator[Record]:
        try:
            record = self._parsed(opcode, body)
        except Exception as error:
            self._damaged(f"record {number} of {self.path.name} is left out: {_said(error)}")
            return
        if record is not None:
            yield record

    def _parsed(self, opcode: int, body: bytes) -> Record | None:
        stream = _Body(body)
        if opcode == Opcode.HEADER:
            self.profile = stream.read_prefixed_string() if body[:4] != bytes(4) else ""
        elif opcode == Opcode.SCHEMA:
            schema = mcap.Schema.read(stream)
            self._schemas[schema.id] = schema
        elif opcode == Opcode.CHANNEL:
            channel = mcap.Channel.read(stream)
            schema = self._schemas.get(channel.schema_id, mcap.Schema(0, b"", "", ""))
            topic = Topic(
                channel.topic,
                channel.message_encoding,
                schema.name,
                schema.encoding,
                schema.data,
                tuple(channel.metadata.items()),
            )
            self._topics[channel.id] = topic
            return topic
        elif opcode == Opcode.MESSAGE:
            message = mcap.Message.read(stream, len(body))
            topic = self._topics[message.channel_id]
            data = unpacked(message.data, self._inner, None, self._limit) if self._inner else message.data
            return Message(topic, message.log_time, message.publish_time, message.sequence, data)
        elif opcode == Opcode.ATTACHMENT:
            attachment = mcap.Attachment.read(stream)
            crc = int.from_bytes(body[-4:], "little")
            if crc and zlib.crc32(body[:-4]) != crc:
                self._damaged(f"attachment {attachment.name} of {self.path.name} has a wrong checksum")
            return attachment
        elif opcode == Opcode.METADATA:
            return mcap.Metadata.read(stream)
        elif opcode not in _KNOWN:
            self._problems.add("records of an unknown kind are not in the copy", f"number {opcode:#x}")
        return None


_KNOWN = frozenset(int(opcode) for opcode in Opcode)


def _said(error: Exception) -> str:
    return f"channel {error} is not known" if isinstance(error, KeyError) else str(error) or type(error).__name__
