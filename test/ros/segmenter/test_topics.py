# SPDX-License-Identifier: Apache-2.0
"""Inputs by image_transport's names, and the outputs beside the masks: labels, camera_info, compressed variants."""

import time

import cv2
import numpy as np
import pytest
import rclpy
from fake_model import FakeModel, robot_picture
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from ros_client import pixels, wait_until
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from robotseg_ros.common import compressed_codec as compressed
from robotseg_ros.common.messages import stamp_ns, to_compressed
from robotseg_ros.msg import LabelInfo

SECOND = 1_000_000_000
STAMP = 1_700_000_000_123_456_789
LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def publish_until(publisher, message, condition, what):
    def sent():
        publisher.publish(message)
        time.sleep(0.02)
        return condition()

    wait_until(sent, what)


def decoded(message):
    return cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_UNCHANGED)


@pytest.mark.parametrize(
    ("parameters", "topic"),
    [
        ({"transport": "compressed"}, "/camera/image_raw/compressed"),
        ({"camera": "/wrist/color/compressed"}, "/wrist/color/compressed"),
        ({"camera": "/wrist/color/compressed", "transport": "compressed"}, "/wrist/color/compressed"),
    ],
)
def test_compressed_images_are_answered_with_their_own_header(client, start_segmenter, parameters, topic):
    start_segmenter(FakeModel(), **parameters)
    client.listen("parts", "gripper_mask")
    camera = client.advertise(CompressedImage, topic)
    data = bytes(cv2.imencode(".png", robot_picture()[..., ::-1])[1])
    message = to_compressed(client.header(STAMP), data, "rgb8; png compressed bgr8")
    publish_until(camera, message, lambda: client.heard["gripper_mask"] and client.heard["parts"], "an answer")
    mask = client.heard["gripper_mask"][0]
    assert (stamp_ns(mask.header), mask.header.frame_id) == (STAMP, "wrist_camera")
    assert np.array_equal(pixels(mask) > 0, (robot_picture() == (255, 0, 0)).all(-1))
    assert client.heard["parts"][0].decode_ms > 0


def test_raw_transport_takes_the_topic_as_it_is(client, start_segmenter):
    node = start_segmenter(FakeModel(), camera="/odd/compressed", transport="raw")
    client.advertise(Image, "/odd/compressed")
    (camera,) = node.options.cameras
    assert not camera.compressed and camera.info == "/odd/camera_info"


def test_compressed_garbage_is_refused_and_counted(client, start_segmenter):
    node = start_segmenter(FakeModel(), transport="compressed")
    camera = client.advertise(CompressedImage, "/camera/image_raw/compressed")
    refused = node.cameras[0].inference.counters.refused
    for data, reason in ((b"GIF89a", "format"), (b"\xff\xd8\xff\xe0", "data")):
        message = to_compressed(client.header(STAMP), data, "jpeg")
        publish_until(camera, message, lambda reason=reason: refused[reason], f"{reason} counted")


@pytest.fixture
def other_process(domain_id):
    """A node as if in another process: Fast DDS allows one type a topic and process."""
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain_id)
    yield rclpy.create_node("camera", context=context)
    context.try_shutdown()


def test_the_other_type_on_the_camera_topic_is_named(other_process, start_segmenter, stderr):
    node = start_segmenter(FakeModel(), activate=False, camera="/wrist/jpg", stale_after=0.5)
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    other_process.create_publisher(CompressedImage, "/wrist/jpg", 10)
    wait_until(lambda: node.count_publishers("/wrist/jpg") > 0, "the publisher seen by the node")
    assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    said = []

    def stale():
        said.append(stderr.read())
        return "no usable image on /wrist/jpg for 0.5 s" in "".join(said)

    wait_until(stale, "STALE")
    expected = "published as sensor_msgs/msg/CompressedImage, sensor_msgs/msg/Image is expected (parameter transport)"
    assert expected in "".join(said)


def test_labels_and_what_they_mean_also_for_latecomers(client, start_segmenter):
    start_segmenter(FakeModel())
    labels = client.hear(Image, "/robotseg/labels")
    client.wait_for_camera_subscriber()
    client.send_until(robot_picture(), SECOND, "/robotseg/labels", 1)
    picture = robot_picture()
    expected = (picture == (0, 0, 255)).all(-1) + 2 * (picture == (255, 0, 0)).all(-1)
    assert labels[0].encoding == "mono8" and labels[0].header.frame_id == "wrist_camera"
    assert np.array_equal(pixels(labels[0]), expected)
    info = client.hear(LabelInfo, "/robotseg/label_info", LATCHED)
    wait_until(lambda: info, "the class description")
    assert {c.class_id: c.class_name for c in info[0].class_map} == {0: "background", 1: "arm", 2: "gripper"}


def test_camera_info_goes_out_with_the_header_of_the_image(client, start_segmenter):
    node = start_segmenter(FakeModel())
    infos = client.hear(CameraInfo, "/robotseg/camera_info")
    known = client.advertise(CameraInfo, "/camera/camera_info")
    client.wait_for_camera_subscriber()
    sent = CameraInfo(height=120, width=160, k=[float(i) for i in range(9)])
    sent.header.frame_id = "calibration"
    publish_until(known, sent, lambda: node.cameras[0].inference.info is not None, "camera_info")
    client.send_until(robot_picture(), STAMP, "/robotseg/camera_info", 1)
    assert STAMP <= stamp_ns(infos[0].header) < STAMP + 1000
    assert infos[0].header.frame_id == "wrist_camera" and list(infos[0].k) == list(sent.k)
    # That of another size is not this image's.
    count = len(infos)
    for i in range(5):
        client.send(robot_picture(height=60), STAMP + SECOND + i)
        time.sleep(0.02)
    client.send_until(robot_picture(), STAMP + 2 * SECOND, "/robotseg/camera_info", count + 3)
    assert all((i.header.stamp.sec - STAMP // SECOND) != 1 for i in infos)


@pytest.mark.parametrize(
    ("topic", "kind", "exact"),
    [
        ("gripper_mask", "mono8; png compressed mono8", True),
        ("labels", "mono8; png compressed mono8", True),
        ("overlay", "rgb8; jpeg compressed bgr8", False),
        ("masked_image", "rgb8; jpeg compressed bgr8", False),
    ],
)
def test_compressed_variants_are_those_of_the_raw_topics(client, start_segmenter, topic, kind, exact):
    start_segmenter(FakeModel())
    small = client.hear(CompressedImage, f"/robotseg/{topic}/compressed")
    large = client.hear(Image, f"/robotseg/{topic}")
    client.wait_for_camera_subscriber()
    stamp = STAMP
    while not (common := {stamp_ns(m.header) for m in small} & {stamp_ns(m.header) for m in large}):
        client.send_until(robot_picture(), stamp, f"/robotseg/{topic}", len(large) + 1)
        stamp += 1000
    wanted = common.pop()
    a, b = (next(m for m in heard if stamp_ns(m.header) == wanted) for heard in (small, large))
    assert a.format == kind and a.header == b.header
    if exact:
        assert np.array_equal(decoded(a), pixels(b))
    else:
        assert np.abs(decoded(a)[..., ::-1].astype(int) - pixels(b)).mean() < 6


def test_nothing_is_encoded_that_nobody_subscribes_to(client, start_segmenter, monkeypatch):
    start_segmenter(FakeModel())
    encoded = []
    png = compressed.encode_png
    monkeypatch.setattr(compressed, "encode_png", lambda mono: encoded.append("png") or png(mono))
    monkeypatch.setattr(compressed, "encode_jpeg", lambda rgb: pytest.fail("a picture was encoded"))
    client.listen("robot_mask", "overlay", "masked_image")
    client.wait_for_camera_subscriber()
    client.send_until(robot_picture(), SECOND, "overlay", 2)
    assert not encoded
    heard = client.hear(CompressedImage, "/robotseg/arm_mask/compressed")
    client.send_until(robot_picture(), 2 * SECOND, "/robotseg/arm_mask/compressed", 2)
    # One topic of four that could be.
    assert len(heard) <= len(encoded) <= len(heard) + 2
