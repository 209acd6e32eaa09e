# SPDX-License-Identifier: Apache-2.0
"""robotseg bag: small bags written with rosbags, masks added by a small model, and read back."""

import subprocess
import sys

import cv2
import numpy as np
import pytest
from patience import PATIENCE_S
from small_models import moving_frames, small_robotseg

pytest.importorskip("rosbags", reason="bags need the extra 'bag'")

from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from robotseg_core import cli
from robotseg_core.types import PARTS, State
from robotseg_ros.tools import bag
from robotseg_ros.tools.bag_messages import BagMessages

pytestmark = pytest.mark.usefixtures("small")

TYPES = get_typestore(Stores.ROS2_HUMBLE)
RAW, COMPRESSED, TEXT = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage", "std_msgs/msg/String"
FRAMES = moving_frames(4)
T0 = 1_700_000_000_123_456_789


def header(number):
    stamp = TYPES.types["builtin_interfaces/msg/Time"](sec=(T0 + number) // 10**9, nanosec=(T0 + number) % 10**9)
    return TYPES.types["std_msgs/msg/Header"](stamp=stamp, frame_id="wrist")


def raw_image(number, frame, step=None):
    height, width = frame.shape[:2]
    return TYPES.serialize_cdr(
        TYPES.types[RAW](
            header=header(number),
            height=height,
            width=width,
            encoding="rgb8",
            is_bigendian=0,
            step=width * 3 if step is None else step,
            data=frame.reshape(-1),
        ),
        RAW,
    )


def png(number, frame):
    data = cv2.imencode(".png", frame[..., ::-1])[1].reshape(-1)
    return TYPES.serialize_cdr(TYPES.types[COMPRESSED](header=header(number), format="png", data=data), COMPRESSED)


def write_bag(path, plugin, topics, broken=()):
    """A bag with a text topic and image topics, four frames each; those numbers in ``broken`` have a short step."""
    with Writer(path, version=8, storage_plugin=plugin) as writer:
        text = writer.add_connection("/notes", TEXT, typestore=TYPES)
        cameras = [(writer.add_connection(name, kind, typestore=TYPES), kind) for name, kind in topics]
        for number, frame in enumerate(FRAMES):
            time = T0 + number * 33_000_000 + 5_000
            note = TYPES.serialize_cdr(TYPES.types[TEXT](data=f"note {number}"), TEXT)
            writer.write(text, time - 1, note)
            for connection, kind in cameras:
                step = 3 if number in broken else None
                data = raw_image(number, frame, step) if kind == RAW else png(number, frame)
                writer.write(connection, time, data)
    return path


def read(path):
    """All messages of a bag, in order: (topic, time, bytes)."""
    with Reader(path) as reader:
        return [(connection.topic, time, bytes(data)) for connection, time, data in reader.messages()]


@pytest.fixture
def recorded(tmp_path):
    folder = write_bag(tmp_path / "recorded", StoragePlugin.MCAP, [("/camera", RAW)])
    (folder / "recorded.mcap").rename(tmp_path / "in.mcap")
    return tmp_path / "in.mcap"


def expected_masks():
    stream = small_robotseg().stream()
    return [stream.step(frame, T0 + number) for number, frame in enumerate(FRAMES)]


def test_masks_follow_their_image_with_its_time_stamp_and_frame(recorded, tmp_path):
    out = tmp_path / "deep" / "out.mcap"
    assert cli.main(["bag", str(recorded), "--out", str(out)]) == 0
    messages = read(out)
    added = [f"/robotseg/{part}_mask" for part in PARTS] + ["/robotseg/parts"]
    assert [topic for topic, _, _ in messages] == ["/notes", "/camera", *added] * 4
    # All of the input is there as it was.
    assert [m for m in messages if m[0] not in added] == read(recorded)
    types = BagMessages().types
    for number, result in enumerate(expected_masks()):
        of_frame = messages[6 * number : 6 * number + 6]
        assert len({time for _, time, _ in of_frame[1:]}) == 1
        for part, (_, _, data) in zip(PARTS, of_frame[2:5], strict=True):
            image = types.deserialize_cdr(data, RAW)
            assert (image.header.stamp.sec, image.header.stamp.nanosec) == divmod(T0 + number, 10**9)
            assert (image.header.frame_id, image.encoding, image.step) == ("wrist", "mono8", 80)
            assert np.array_equal(image.data.reshape(60, 80), result[part].mask)
        said = types.deserialize_cdr(of_frame[5][2], "robotseg_ros/msg/PartMasks")
        assert said.state == result.state != State.STALE and [p.name for p in said.parts] == list(PARTS)
        assert [p.area for p in said.parts] == [result[part].area for part in PARTS]
        assert said.header.frame_id == "wrist" and said.preset == "small"


def test_same_bag_gives_the_same_bytes(recorded, tmp_path):
    for folder in ("one", "two"):
        assert cli.main(["bag", str(recorded), "--out", str(tmp_path / folder / "out.mcap")]) == 0
    assert (tmp_path / "one" / "out.mcap").read_bytes() == (tmp_path / "two" / "out.mcap").read_bytes()


@pytest.mark.parametrize("kind", [RAW, COMPRESSED])
@pytest.mark.parametrize("plugin", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_every_kind_of_bag_and_of_image_gives_the_same_masks(tmp_path, plugin, kind):
    source = write_bag(tmp_path / "in", plugin, [("/camera", kind)])
    assert cli.main(["bag", str(source), "--out", str(tmp_path / "out"), "--prefix", "/left/"]) == 0
    # A folder this time, with its metadata.
    assert (tmp_path / "out" / "metadata.yaml").is_file()
    robot = [data for topic, _, data in read(tmp_path / "out") if topic == "/left/robot_mask"]
    types = BagMessages().types
    for data, result in zip(robot, expected_masks(), strict=True):
        assert np.array_equal(types.deserialize_cdr(data, RAW).data.reshape(60, 80), result["robot"].mask)


def test_image_that_cannot_be_read_is_copied_without_masks_and_reported(tmp_path, capsys):
    source = write_bag(tmp_path / "in", StoragePlugin.MCAP, [("/camera", RAW)], broken={2})
    assert cli.main(["bag", str(source), "--out", str(tmp_path / "out.mcap")]) == 1
    assert "1 images could not be read" in (said := capsys.readouterr().err)
    assert "number 2: step is 3, must be at least 240" in said
    topics = [topic for topic, _, _ in read(tmp_path / "out.mcap")]
    assert topics.count("/camera") == 4 and topics.count("/robotseg/arm_mask") == 3


def test_of_several_cameras_one_must_be_chosen(tmp_path, capsys):
    source = write_bag(tmp_path / "in", StoragePlugin.MCAP, [("/wrist", RAW), ("/front/compressed", COMPRESSED)])
    arguments = ["bag", str(source), "--out", str(tmp_path / "out.mcap")]
    assert cli.main(arguments) == 2
    said = capsys.readouterr().err
    assert "choose one with --camera: /front/compressed (CompressedImage, 4 messages), /wrist (Image, 4" in said
    assert cli.main([*arguments, "--camera", "/side"]) == 2
    assert "no image topic /side; it has /front/compressed" in capsys.readouterr().err
    assert cli.main([*arguments, "--camera", "/wrist"]) == 0
    assert [topic for topic, _, _ in read(tmp_path / "out.mcap")].count("/robotseg/parts") == 4


def test_bag_without_images_says_what_it_has(tmp_path, capsys):
    source = write_bag(tmp_path / "in", StoragePlugin.MCAP, [])
    assert cli.main(["bag", str(source), "--out", str(tmp_path / "out.mcap")]) == 2
    assert "has no image topic; it has /notes" in capsys.readouterr().err
    assert not (tmp_path / "out.mcap").exists()


def test_nothing_is_overwritten_and_nothing_half_done_is_left(recorded, tmp_path, capsys, monkeypatch):
    (tmp_path / "out.mcap").write_bytes(b"mine")
    assert cli.main(["bag", str(recorded), "--out", str(tmp_path / "out.mcap")]) == 2
    assert "exists; it is not overwritten" in capsys.readouterr().err
    assert (tmp_path / "out.mcap").read_bytes() == b"mine"

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mcap.writer.Writer.add_message", full)
    assert cli.main(["bag", str(recorded), "--out", str(tmp_path / "new.mcap")]) == 2
    assert "No space left" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"recorded", "in.mcap", "out.mcap"}


def test_topics_that_are_there_already_are_not_mixed(recorded, tmp_path, capsys):
    assert cli.main(["bag", str(recorded), "--out", str(tmp_path / "once.mcap")]) == 0
    arguments = ["bag", str(tmp_path / "once.mcap"), "--camera", "/camera", "--out", str(tmp_path / "twice.mcap")]
    assert cli.main(arguments) == 2
    assert "has /robotseg/arm_mask, " in capsys.readouterr().err
    assert cli.main([*arguments, "--prefix", "second"]) == 0
    assert [topic for topic, _, _ in read(tmp_path / "twice.mcap")].count("/second/arm_mask") == 4


@pytest.mark.parametrize(("name", "content"), [("absent.mcap", None), ("a.mcap", b"no bag"), ("a.txt", b"no bag")])
def test_what_is_no_bag_is_said_in_one_line(tmp_path, capsys, name, content):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert cli.main(["bag", str(tmp_path / name), "--out", str(tmp_path / "out.mcap")]) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1 and name in said


def test_missing_rosbags_is_named(recorded, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "rosbags.rosbag2", None)
    assert cli.main(["bag", str(recorded), "--out", str(tmp_path / "out.mcap")]) == 2
    assert "pip install rosbags" in capsys.readouterr().err


def test_no_ros_is_loaded():
    code = (
        "import sys, robotseg_ros.tools.bag, robotseg_ros.tools.bag_messages; "
        "sys.exit(any(name.partition('.')[0] in ('rclpy', 'sensor_msgs') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=PATIENCE_S).returncode == 0
    assert bag.TOPICS == ("arm_mask", "gripper_mask", "robot_mask")
