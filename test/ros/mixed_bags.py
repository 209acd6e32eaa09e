# SPDX-License-Identifier: Apache-2.0
"""Small bags of several kinds, as other programs write them, and what is in one."""

import struct

import pytest

pytest.importorskip("rosbags", reason="bags need the extra 'bag'")
pytest.importorskip("mcap", reason="bags need the extra 'bag'")

import zstandard
from mcap.reader import make_reader
from mcap.records import Attachment, Metadata
from mcap.writer import CompressionType, Writer
from rosbags.rosbag2 import CompressionFormat, CompressionMode
from rosbags.rosbag2 import Writer as RosWriter
from rosbags.typesys import Stores, get_typestore
from small_models import moving_frames

from robotseg_ros.tools.bag_files import Bag
from robotseg_ros.tools.bag_messages import BagMessages
from robotseg_ros.tools.bag_records import Message, Topic
from robotseg_ros.tools.bag_writer import BagWriter

TYPES = get_typestore(Stores.ROS2_HUMBLE)
IMAGE = "sensor_msgs/msg/Image"
FRAMES = moving_frames(3)
ROW = b'{"speed": 0.5}'


def image(number, frame=FRAMES[0], encoding="rgb8"):
    header = TYPES.types["std_msgs/msg/Header"](
        stamp=TYPES.types["builtin_interfaces/msg/Time"](sec=1, nanosec=number), frame_id="wrist"
    )
    height, width = frame.shape[:2]
    fields = dict(header=header, height=height, width=width, encoding=encoding, is_bigendian=0, step=3 * width)
    return bytes(TYPES.serialize_cdr(TYPES.types[IMAGE](**fields, data=frame.reshape(-1)), IMAGE))


def write_mixed(path, *, images=None, compression=CompressionType.NONE, kind=IMAGE, chunk_size=2000):
    """As loggers write: a camera of ROS 2, a JSON channel, one without a schema, an attachment, metadata."""
    with path.open("wb") as file:
        writer = Writer(file, chunk_size=chunk_size, compression=compression)
        writer.start("ros2", "a logger")
        definition = TYPES.generate_msgdef(IMAGE, ros_version=2)[0].encode()
        camera = writer.register_channel("/cam", "cdr", writer.register_schema(kind, "ros2msg", definition))
        log = writer.register_channel("/log", "json", writer.register_schema("log", "jsonschema", b"{}"), {"who": "me"})
        bare = writer.register_channel("/bare", "protobuf", 0)
        writer.add_metadata("operator", {"site": "lab-3"})
        writer.add_metadata("rosbag2", {"serialized_metadata": "of the input, wrong for the copy"})
        for i, data in enumerate([image(i, frame) for i, frame in enumerate(FRAMES)] if images is None else images):
            writer.add_message(camera, 1000 + i, data, 900 + i, 70 + i)
            writer.add_message(log, 1000 + i, ROW, 5, 6)
            writer.add_message(bare, 1000 + i, b"\x08\x01", 7, 8)
        writer.add_attachment(11, 12, "calib.yaml", "text/yaml", b"fx: 1.0\n")
        writer.finish()
    return path


def contents(path):
    """All records of a whole MCAP file, as the package mcap reads them."""
    with path.open("rb") as file:
        reader = make_reader(file)
        messages = [
            (c.topic, c.message_encoding, s and s.name, m.log_time, m.publish_time, m.sequence, m.data)
            for s, c, m in reader.iter_messages()
        ]
        attachments = [(a.create_time, a.log_time, a.name, a.media_type, a.data) for a in reader.iter_attachments()]
        return messages, attachments, [(m.name, m.metadata) for m in reader.iter_metadata()]


def copy(source, folder, limit=2**20):
    """Every record through reader and writer, as ``robotseg bag`` does it, but for the masks."""
    bag, messages = Bag(source, limit), BagMessages()
    bag.topics()
    with BagWriter(folder, bag.compression, bag.profile, messages.hash_of) as writer:
        for record in bag.records():
            if isinstance(record, Topic):
                writer.add(messages.described(record))
            elif isinstance(record, Message):
                writer.write(record)
            elif isinstance(record, Attachment):
                writer.attach(record)
            elif isinstance(record, Metadata):
                writer.note(record)
    return folder / f"{folder.name}.mcap", bag.problems.lines()


def bomb(size):
    """An MCAP of a few bytes with a chunk that unpacks to ``size`` zeros."""
    packed = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(size))
    text = lambda t: struct.pack("<I", len(t)) + t  # noqa: E731
    record = lambda op, body: bytes([op]) + struct.pack("<Q", len(body)) + body  # noqa: E731
    return record, text, packed


def ros_bag(path, plugin, mode=CompressionMode.NONE):
    writer = RosWriter(path, version=9, storage_plugin=plugin)
    writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        camera = writer.add_connection("/cam", IMAGE, typestore=TYPES)
        for i, frame in enumerate(FRAMES):
            writer.write(camera, 1000 + i, image(i, frame))
    return path
