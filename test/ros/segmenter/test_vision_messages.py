# SPDX-License-Identifier: Apache-2.0
"""Messages of vision_msgs: made by a stand-in everywhere, by the genuine package where it is installed."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
from fake_model import FakeModel, robot_picture
from rclpy.lifecycle import TransitionCallbackReturn
from ros_client import wait_until
from std_msgs.msg import Header

from robotseg_ros.segmenter.vision_messages import VisionMessages


@pytest.fixture
def stand_in(monkeypatch):
    """Classes with the fields of vision_msgs 4.1 that are used."""

    def message(**fields):
        return lambda **given: SimpleNamespace(**{name: make() for name, make in fields.items()} | given)

    package, msg = ModuleType("vision_msgs"), ModuleType("vision_msgs.msg")
    centre = message(position=message(x=float, y=float), theta=float)
    msg.ObjectHypothesisWithPose = message(hypothesis=message(class_id=str, score=float))
    msg.Detection2D = message(header=Header, results=list, id=str, bbox=message(center=centre, size_x=float))
    msg.Detection2DArray = message(header=Header, detections=list)
    msg.VisionClass = message(class_id=int, class_name=str)
    msg.LabelInfo = message(header=Header, class_map=list, threshold=float)
    package.msg = msg
    monkeypatch.setitem(sys.modules, "vision_msgs", package)
    monkeypatch.setitem(sys.modules, "vision_msgs.msg", msg)


@pytest.fixture(params=["stand-in", "genuine"])
def vision(request):
    if request.param == "stand-in":
        request.getfixturevalue("stand_in")
    else:
        pytest.importorskip("vision_msgs.msg", reason="vision_msgs is in no Python registry; a ROS workspace has it")
    return VisionMessages()


def test_a_detection_for_each_part_that_is_seen(vision):
    seen = SimpleNamespace(name="gripper", score=0.75, present=True, roi=(10, 20, 5, 4))
    unseen = SimpleNamespace(name="arm", score=0.1, present=False, roi=(0, 0, 0, 0))
    header = Header(frame_id="wrist_camera")
    array = vision.detections(header, SimpleNamespace(parts=(unseen, seen)))
    assert array.header.frame_id == "wrist_camera" and len(array.detections) == 1
    (detection,) = array.detections
    assert (detection.id, detection.header.frame_id) == ("gripper", "wrist_camera")
    (result,) = detection.results
    assert (result.hypothesis.class_id, result.hypothesis.score) == ("gripper", 0.75)
    # Columns 10 to 14, rows 20 to 23.
    box = detection.bbox
    assert (box.center.position.x, box.center.position.y, box.size_x, box.size_y) == (12.0, 21.5, 5.0, 4.0)


def test_labels_are_those_of_the_label_image(vision):
    info = vision.label_info(Header())
    classes = [(entry.class_id, entry.class_name) for entry in info.class_map]
    assert classes == [(0, "background"), (1, "arm"), (2, "gripper")] and info.threshold == 0.0


def test_they_are_published_where_they_are_asked_for(client, start_segmenter):
    msg = pytest.importorskip("vision_msgs.msg", reason="vision_msgs is in no Python registry; a ROS workspace has it")
    start_segmenter(FakeModel(), vision_msgs=True)
    heard = client.hear(msg.Detection2DArray, "/robotseg/detections")
    client.wait_for_camera_subscriber()
    client.listen("parts")
    client.send_until(robot_picture(), 1_000_000_000, "parts", 3)
    wait_until(lambda: heard, "detections")
    assert {detection.id for detection in heard[-1].detections} == {"arm", "gripper", "robot"}


def test_without_the_package_the_node_says_what_is_missing(start_segmenter, monkeypatch, stderr):
    for name in [name for name in sys.modules if name.partition(".")[0] == "vision_msgs"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "vision_msgs", None)
    loaded = []
    node = start_segmenter(FakeModel(), activate=False, vision_msgs=True)
    node._load_model = lambda options: loaded.append(options)
    assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
    assert "vision_msgs is true, but the package vision_msgs is not installed" in stderr.read()
    # Said before the time that a model takes to load.
    assert not loaded


def test_by_default_nothing_of_it_is_advertised(start_segmenter):
    node = start_segmenter(FakeModel())
    topics = {publisher.topic_name for publisher in node.publishers}
    assert "/robotseg/label_info" in topics
    assert not {"/robotseg/detections", "/robotseg/vision_label_info"} & topics
