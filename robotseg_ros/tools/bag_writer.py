# SPDX-License-Identifier: Apache-2.0
"""A new bag: MCAP by the package ``mcap``, with the ``metadata.yaml`` that ROS 2 expects beside it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import yaml
from mcap import records as mcap
from mcap.writer import CompressionType, Writer
from rosbags.rosbag2 import ReaderError
from rosbags.rosbag2.metadata import dump_qos_v9, parse_qos

from robotseg_ros.tools.bag_records import Message, Topic

COMPRESSION = {"": CompressionType.NONE, "lz4": CompressionType.LZ4, "zstd": CompressionType.ZSTD}
UNKNOWN_HASH = "RIHS01_" + "0" * 64
ROSBAG2 = "rosbag2"
"""Name of the metadata record in which rosbag2 keeps what ``metadata.yaml`` says."""


class BagWriter:
    """Writes records in the order in which they are given; used as a context manager.

    Args:
        folder: new folder of the bag; the file bears its name.
        compression: of chunks: ``lz4``, ``zstd`` or empty.
        profile: MCAP profile.
        hash_of: gives the hash of a type where the bag has none; empty for one that is not known.
    """

    def __init__(self, folder: Path, compression: str, profile: str, hash_of: Callable[[str], str]) -> None:
        self.folder, self._compression, self._profile, self._hash_of = folder, compression, profile, hash_of
        self.file = folder / f"{folder.name}.mcap"
        self._schemas: dict[tuple[str, str, bytes], int] = {}
        self._channels: dict[Topic, int] = {}
        self._counts: dict[Topic, int] = {}
        self._times: tuple[int, int] | None = None

    def __enter__(self) -> BagWriter:
        self.folder.mkdir()
        self._stream: IO[bytes] = self.file.open("xb")
        self._writer = Writer(self._stream, compression=COMPRESSION[self._compression])
        self._writer.start(self._profile, "robotseg_ros")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                said = self._metadata()
                text = yaml.safe_dump(said, sort_keys=False)
                self._writer.add_metadata(ROSBAG2, {"serialized_metadata": text})
                self._writer.finish()
                (self.folder / "metadata.yaml").write_text(
                    yaml.safe_dump({"rosbag2_bagfile_information": said}, sort_keys=False), encoding="utf-8"
                )
        finally:
            self._stream.close()

    def add(self, topic: Topic) -> None:
        """Make a topic known; once is enough, and :meth:`write` does it by itself."""
        if topic in self._channels:
            return
        schema = 0
        if topic.kind or topic.schema_encoding:
            key = (topic.kind, topic.schema_encoding, topic.schema)
            if key not in self._schemas:
                self._schemas[key] = self._writer.register_schema(*key)
            schema = self._schemas[key]
        self._counts[topic] = 0
        self._channels[topic] = self._writer.register_channel(topic.name, topic.encoding, schema, dict(topic.metadata))

    def write(self, message: Message) -> None:
        """Write a message with its own times and sequence number."""
        self.add(message.topic)
        self._writer.add_message(
            self._channels[message.topic], message.log_time, message.data, message.publish_time, message.sequence
        )
        self._counts[message.topic] += 1
        first, last = self._times or (message.log_time, message.log_time)
        self._times = min(first, message.log_time), max(last, message.log_time)

    def attach(self, attachment: mcap.Attachment) -> None:
        """Write an attachment."""
        self._writer.add_attachment(
            attachment.create_time, attachment.log_time, attachment.name, attachment.media_type, attachment.data
        )

    def note(self, metadata: mcap.Metadata) -> None:
        """Write a metadata record; rosbag2's own is made anew at the end."""
        if metadata.name != ROSBAG2:
            self._writer.add_metadata(metadata.name, metadata.metadata)

    def _metadata(self) -> dict[str, Any]:
        """What ``metadata.yaml`` says, of ROS 2's topics: its readers refuse a bag that names any other."""
        first, last = self._times or (0, 0)
        ros = [topic for topic in self._counts if topic.encoding == "cdr"]
        span = {
            "duration": {"nanoseconds": last - first},
            "starting_time": {"nanoseconds_since_epoch": first},
            "message_count": sum(self._counts[topic] for topic in ros),
        }
        return {
            "version": 9,
            "storage_identifier": "mcap",
            "relative_file_paths": [self.file.name],
            **span,
            "topics_with_message_count": [
                {"topic_metadata": self._described(topic), "message_count": self._counts[topic]} for topic in ros
            ],
            "compression_format": "",
            "compression_mode": "",
            # A copy: YAML would otherwise refer from one to the other.
            "files": [{"path": self.file.name, **copy.deepcopy(span)}],
            "custom_data": None,
            "ros_distro": "rosbags",
        }

    def _described(self, topic: Topic) -> dict[str, Any]:
        metadata = dict(topic.metadata)
        try:
            qos = dump_qos_v9(parse_qos(metadata.get("offered_qos_profiles", "")))
        except (ReaderError, KeyError, TypeError, AttributeError):
            # Not what ROS writes there; it stays in the file as it is.
            qos = []
        return {
            "name": topic.name,
            "type": topic.kind,
            "serialization_format": topic.encoding,
            "offered_qos_profiles": qos,
            "type_description_hash": metadata.get("topic_type_hash") or self._hash_of(topic.kind) or UNKNOWN_HASH,
        }
