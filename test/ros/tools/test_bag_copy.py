# SPDX-License-Identifier: Apache-2.0
"""Bags record by record, what other programs write included; without a model where none is needed."""

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="bags need the extra 'bag'")
pytest.importorskip("mcap", reason="bags need the extra 'bag'")

from mcap.reader import make_reader
from mcap.writer import CompressionType, Writer
from mixed_bags import FRAMES, IMAGE, TYPES, contents, copy, image, ros_bag, write_mixed
from rosbags.rosbag2 import CompressionMode, Reader, StoragePlugin
from small_models import small_robotseg

from robotseg_core import cli
from robotseg_core.stream.robotseg import RobotSeg
from robotseg_core.types import ModelFault, State
from robotseg_ros.tools.bag_files import Bag
from robotseg_ros.tools.bag_messages import BagMessages, image_topics, ros_type
from robotseg_ros.tools.bag_records import BagError, Message


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
