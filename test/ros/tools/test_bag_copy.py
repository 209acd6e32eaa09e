# SPDX-License-Identifier: Apache-2.0
"""Bags record by record: what other programs write, damage, limits; without a model where none is needed."""

import sqlite3
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("rosbags", reason="bags need the extra 'bag'")
pytest.importorskip("mcap", reason="bags need the extra 'bag'")

import zstandard
from mcap.reader import make_reader
from mcap.records import Attachment, Metadata
from mcap.writer import CompressionType, Writer
from rosbags.rosbag2 import CompressionFormat, CompressionMode, Reader, StoragePlugin
from rosbags.rosbag2 import Writer as RosWriter
from rosbags.typesys import Stores, get_typestore
from small_models import moving_frames, small_robotseg

from robotseg_core import cli
from robotseg_core.stream.robotseg import RobotSeg
from robotseg_core.types import ModelFault, State
from robotseg_ros.tools.bag_files import Bag
from robotseg_ros.tools.bag_messages import BagMessages, image_topics, ros_type
from robotseg_ros.tools.bag_records import BagError, Message, Topic, unpacked
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


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(RobotSeg, "load", classmethod(lambda cls, preset="nano", **_: small_robotseg()))


@pytest.mark.parametrize("compression", list(CompressionType))
def test_every_record_is_copied_with_its_times_and_packed_like_the_input(tmp_path, compression):
    source = write_mixed(tmp_path / "in.mcap", compression=compression)
    made, problems = copy(source, tmp_path / "out")
    assert problems == []
    before, after = contents(source), contents(made)
    assert after[0] == before[0] and len(after[0]) == 9 and after[0][0][3:6] == (1000, 900, 70)
    assert after[1] == before[1] == [(11, 12, "calib.yaml", "text/yaml", b"fx: 1.0\n")]
    # Of rosbag2's own record there is one, and it is about the copy.
    assert dict(after[2])["operator"] == {"site": "lab-3"} and [name for name, _ in after[2]].count("rosbag2") == 1
    assert "storage_identifier: mcap" in dict(after[2])["rosbag2"]["serialized_metadata"]
    with made.open("rb") as file:
        chunks = make_reader(file).get_summary().chunk_indexes
    packed = {CompressionType.NONE: "", CompressionType.LZ4: "lz4", CompressionType.ZSTD: "zstd"}[compression]
    assert {chunk.compression for chunk in chunks} == {packed}


def test_masks_beside_channels_that_are_not_ros(tmp_path, small, capsys):
    source = write_mixed(tmp_path / "in.mcap")
    assert cli.main(["bag", str(source), "--out", str(tmp_path / "out.mcap")]) == 0
    messages, attachments, _ = contents(tmp_path / "out.mcap")
    assert [m for m in messages if not m[0].startswith("/robotseg")] == contents(source)[0]
    masks = [m for m in messages if m[0] == "/robotseg/robot_mask"]
    # The image's own times.
    assert [m[3:5] for m in masks] == [(1000, 900), (1001, 901), (1002, 902)] and len(attachments) == 1
    assert capsys.readouterr().err.count("\n") <= 1


def test_a_folder_can_be_read_by_ros_although_it_holds_other_channels(tmp_path):
    copy(write_mixed(tmp_path / "in.mcap"), tmp_path / "out")
    text = (tmp_path / "out" / "metadata.yaml").read_text()
    assert "/cam" in text and "json" not in text and "message_count: 3" in text


@pytest.mark.parametrize("keep", [0, 3, 60, 200])
def test_a_message_that_was_cut_off_is_copied_unread(tmp_path, small, capsys, keep):
    images = [image(0), image(1)[:keep], image(2)]
    source = write_mixed(tmp_path / "in.mcap", images=images)
    assert cli.main(["bag", str(source), "--out", str(tmp_path / "out.mcap")]) == 1
    said = capsys.readouterr().err
    assert f"1 images could not be read and have no masks; the first: number 1: the message of {keep} bytes" in said
    messages, _, _ = contents(tmp_path / "out.mcap")
    assert [m[-1] for m in messages if m[0] == "/cam"] == images
    assert sum(m[0] == "/robotseg/parts" for m in messages) == 2


def test_a_fault_of_the_model_is_no_empty_mask(tmp_path, small, capsys, monkeypatch):
    robotseg = small_robotseg()
    stream = robotseg.stream()
    step, calls = stream.step, []

    def bad(rgb, stamp):
        calls.append(stamp)
        if len(calls) == 2:
            raise ModelFault("not finite")
        return step(rgb, stamp)

    monkeypatch.setattr(stream, "step", bad)
    monkeypatch.setattr(robotseg, "stream", lambda: stream)
    monkeypatch.setattr(RobotSeg, "load", classmethod(lambda *_, **__: robotseg))
    source = write_mixed(tmp_path / "in.mcap")
    assert cli.main(["bag", str(source), "--out", str(tmp_path / "out.mcap")]) == 1
    assert "1 images have no masks, the model failed; the first: number 1: not finite" in capsys.readouterr().err
    messages, _, _ = contents(tmp_path / "out.mcap")
    types = BagMessages().types
    said = [types.deserialize_cdr(m[-1], "robotseg_ros/msg/PartMasks") for m in messages if m[0] == "/robotseg/parts"]
    assert [s.state == State.FAULT for s in said] == [False, True, False] and len(said[1].parts) == 0
    assert [m[3] for m in messages if m[0] == "/robotseg/robot_mask"] == [1000, 1002]


def test_of_a_file_that_was_cut_off_all_before_it_is_read_and_the_repair_is_named(tmp_path):
    whole = write_mixed(tmp_path / "whole.mcap").read_bytes()
    counts = []
    for keep in range(len(whole) - 1, 100, -len(whole) // 20):
        (tmp_path / "cut.mcap").write_bytes(whole[:keep])
        made, problems = copy(tmp_path / "cut.mcap", tmp_path / f"out{keep}")
        counts.append(len(contents(made)[0]))
        assert counts[-1] == 9 or any("mcap recover" in line for line in problems)
    assert counts[0] == 9 and counts == sorted(counts, reverse=True) and counts[-1] < 3


@pytest.mark.parametrize("number", range(3))
def test_a_damaged_chunk_is_left_out_and_the_others_are_read(tmp_path, number):
    """Also the first one, which names the topics: the summary names them once more."""
    frames = [np.full((60, 80, 3), value, np.uint8) for value in (50, 51, 52)]
    source = write_mixed(tmp_path / "in.mcap", images=[image(i, f) for i, f in enumerate(frames)], chunk_size=100)
    data = bytearray(source.read_bytes())
    data[data.index(frames[number].tobytes()) + 99] ^= 1
    source.write_bytes(data)
    made, problems = copy(source, tmp_path / "out")
    assert len(problems) == 1 and problems[0].startswith("1 damaged places; the first: chunk")
    assert "checksum is wrong" in problems[0] and "mcap recover" in problems[0]
    kept = [m[-1] for m in contents(made)[0] if m[0] == "/cam"]
    assert kept == [image(i, frame) for i, frame in enumerate(frames) if i != number]


def bomb(size):
    """An MCAP of a few bytes with a chunk that unpacks to ``size`` zeros."""
    packed = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(size))
    text = lambda t: struct.pack("<I", len(t)) + t  # noqa: E731
    record = lambda op, body: bytes([op]) + struct.pack("<Q", len(body)) + body  # noqa: E731
    return record, text, packed


@pytest.mark.parametrize("said", ["truly", "as small"])
def test_what_unpacks_to_more_than_the_limit_is_left_out_unpacked(tmp_path, said):
    size, limit = 50_000_000, 2**20
    record, text, packed = bomb(size)
    claimed = size if said == "truly" else 1000
    chunk = struct.pack("<QQQI", 0, 0, claimed, 0) + text(b"zstd") + struct.pack("<Q", len(packed)) + packed
    whole = write_mixed(tmp_path / "in.mcap").read_bytes()
    end = whole.index(record(1, text(b"ros2") + text(b"a logger"))) + 9 + 20
    (tmp_path / "in.mcap").write_bytes(whole[:end] + record(6, chunk) + whole[end:])
    made, problems = copy(tmp_path / "in.mcap", tmp_path / "out", limit)
    assert len(problems) == 1 and "unpacks to" in problems[0] and len(contents(made)[0]) == 9


@given(st.binary(max_size=2000), st.sampled_from(["", "zstd", "lz4"]), st.integers(0, 3000), st.integers(1, 2000))
@settings(max_examples=200, deadline=None)
def test_nothing_unpacks_to_another_size_than_it_says_or_above_the_limit(data, compression, size, limit):
    import lz4.frame

    packed = {"": bytes, "zstd": zstandard.compress, "lz4": lz4.frame.compress}[compression](data)
    try:
        got = unpacked(packed, compression, size, limit)
    except ValueError:
        assert size != len(data) or size > limit
        return
    assert got == data and len(got) == size <= limit


@given(st.binary(max_size=300), st.sampled_from(["zstd", "lz4", "brotli"]))
@settings(deadline=None)
def test_garbage_is_no_packed_data(data, compression):
    with pytest.raises(ValueError):
        unpacked(data + b"\1", compression, None)


@given(st.integers(0, 10**6), st.binary(max_size=9), st.integers(0, 400))
@settings(max_examples=150, deadline=None)
def test_whatever_is_done_to_a_file_it_is_read_or_refused(tmp_path_factory, at, garbage, cut):
    folder = tmp_path_factory.mktemp("damaged")
    data = write_mixed(folder / "in.mcap", compression=CompressionType.LZ4).read_bytes()
    at %= len(data)
    (folder / "in.mcap").write_bytes((data[:at] + garbage + data[at + len(garbage) :])[: len(data) - cut])
    try:
        made, _ = copy(folder / "in.mcap", folder / "out")
    except BagError:
        return
    assert len(contents(made)[0]) <= 9


def ros_bag(path, plugin, mode=CompressionMode.NONE):
    writer = RosWriter(path, version=9, storage_plugin=plugin)
    writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        camera = writer.add_connection("/cam", IMAGE, typestore=TYPES)
        for i, frame in enumerate(FRAMES):
            writer.write(camera, 1000 + i, image(i, frame))
    return path


@pytest.mark.parametrize("mode", [CompressionMode.NONE, CompressionMode.MESSAGE, CompressionMode.FILE])
@pytest.mark.parametrize("plugin", list(StoragePlugin))
def test_bags_of_every_packing_give_the_same_messages_packed_again(tmp_path, plugin, mode):
    made, problems = copy(ros_bag(tmp_path / "in", plugin, mode), tmp_path / "out")
    assert problems == []
    assert [m[-1] for m in contents(made)[0]] == [image(i, frame) for i, frame in enumerate(FRAMES)]
    with Reader(tmp_path / "out") as reader:
        assert [bytes(data) for _, _, data in reader.messages()] == [image(i, f) for i, f in enumerate(FRAMES)]
        assert reader.connections[0].digest == TYPES.hash_rihs01(IMAGE)
    packed = b"zstd" in made.read_bytes()
    assert packed == (mode is not CompressionMode.NONE)


def test_a_message_above_the_limit_in_a_bag_packed_by_messages_is_said(tmp_path):
    source = ros_bag(tmp_path / "in", StoragePlugin.SQLITE3, CompressionMode.MESSAGE)
    made, problems = copy(source, tmp_path / "out", 9999)
    assert contents(made)[0] == [] and problems[0].startswith("3 messages are not in the copy; the first: /cam at 1000")


def test_without_metadata_the_files_are_read_in_natural_order_and_the_repair_is_named(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for i in (10, 2, 1):
        write_mixed(folder / f"in_{i}.mcap", images=[image(i)])
    made, problems = copy(folder, tmp_path / "out")
    assert [m[-1] for m in sorted(contents(made)[0]) if m[0] == "/cam"] and "ros2 bag reindex" in problems[0]
    bag = Bag(folder)
    assert [m.data for m in bag.records() if isinstance(m, Message) and m.topic.name == "/cam"] == [
        image(1),
        image(2),
        image(10),
    ]
    (folder / "metadata.yaml").write_text("rosbag2_bagfile_information: {relative_file_paths: [in_2.mcap, gone.mcap]}")
    made, problems = copy(folder, tmp_path / "again")
    assert "1 missing files; the first: gone.mcap" in problems[0]
    (folder / "metadata.yaml").write_text("[&a [*a")
    assert "metadata.yaml is damaged" in copy(folder, tmp_path / "third")[1][0]


def test_a_damaged_database_says_what_repairs_it(tmp_path):
    folder = ros_bag(tmp_path / "in", StoragePlugin.SQLITE3)
    (file,) = folder.glob("*.db3")
    data = bytearray(file.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 9000] = bytes(9000)
    file.write_bytes(data[:-4096])
    try:
        _, problems = copy(folder, tmp_path / "out")
    except BagError as error:
        problems = [str(error)]
    assert ".recover" in problems[0]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.bag", b"#ROSBAG V2.0\n", "rosbags-convert"),
        ("a.mcap", b"#ROSBAG V2.0\n", "rosbags-convert"),
        ("a.mcap", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("a.db3", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("a.mcap", b"", "it is empty"),
        ("a.txt", b"text", "must end with .mcap or .db3"),
    ],
)
def test_what_is_no_bag_is_called_by_its_name(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BagError, match=words):
        Bag(tmp_path / name).topics()
    with pytest.raises(BagError, match="no ROS 2 bag" if name.endswith(("bag", "txt")) else words):
        Bag(tmp_path).topics()


def test_names_of_types_of_the_first_distributions(tmp_path):
    source = write_mixed(tmp_path / "in.mcap", kind="sensor_msgs/Image")
    (topic,) = image_topics(Bag(source).topics())
    assert (topic.name, topic.kind, ros_type(topic.kind)) == ("/cam", "sensor_msgs/Image", IMAGE)


def test_a_topic_of_another_encoding_is_no_camera(tmp_path, small, capsys):
    with (tmp_path / "in.mcap").open("wb") as file:
        writer = Writer(file)
        writer.start("")
        writer.register_channel("/cam", "json", writer.register_schema(IMAGE, "jsonschema", b"{}"))
        writer.finish()
    assert cli.main(["bag", str(tmp_path / "in.mcap"), "--out", str(tmp_path / "out.mcap")]) == 2
    assert "has no image topic; it has /cam (sensor_msgs/msg/Image)" in capsys.readouterr().err


def test_a_packed_database_that_says_it_is_huge_is_not_unpacked(tmp_path):
    database = sqlite3.connect(tmp_path / "x.db3")
    database.execute("create table messages (a)")
    database.commit()
    database.close()
    data = bytearray((tmp_path / "x.db3").read_bytes())
    data[28:32] = b"\xff" * 4
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "x.db3.zstd").write_bytes(zstandard.compress(bytes(data)))
    with pytest.raises(BagError, match="bytes, .* are free"):
        Bag(folder).topics()


def test_checksums_of_attachments_are_checked(tmp_path):
    source = write_mixed(tmp_path / "in.mcap")
    data = source.read_bytes()
    source.write_bytes(data.replace(b"fx: 1.0\n", b"fx: 2.0\n", 1))
    assert zlib.crc32(data) != zlib.crc32(source.read_bytes())
    _, problems = copy(source, tmp_path / "out")
    assert "attachment calib.yaml of in.mcap has a wrong checksum" in problems[0]


def test_images_recorded_out_of_order_are_said(tmp_path, small, capsys):
    with (tmp_path / "in.mcap").open("wb") as file:
        writer = Writer(file)
        writer.start("ros2")
        definition = TYPES.generate_msgdef(IMAGE, ros_version=2)[0].encode()
        camera = writer.register_channel("/cam", "cdr", writer.register_schema(IMAGE, "ros2msg", definition))
        for time in (5, 9, 7):
            writer.add_message(camera, time, image(time, np.ascontiguousarray(FRAMES[0])), time)
        writer.finish()
    assert cli.main(["bag", str(tmp_path / "in.mcap"), "--out", str(tmp_path / "out.mcap")]) == 1
    assert "1 images were recorded before the image that stands before them" in capsys.readouterr().err
