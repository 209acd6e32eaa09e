# SPDX-License-Identifier: Apache-2.0
"""Self-filter and servo say that their inputs do not come, and why."""

import numpy as np
import pytest
import rclpy
from companion import Peer, Running, header
from rclpy.qos import QoSProfile, ReliabilityPolicy
from ros_client import wait_until
from sensor_msgs.msg import CompressedImage, Image

from robotseg_ros.common.messages import to_image
from robotseg_ros.companions import inputs
from robotseg_ros.companions.self_filter import SelfFilter
from robotseg_ros.companions.servo import Servo


@pytest.fixture
def start(context, monkeypatch, stderr):
    """Starts a node, and a peer beside it; what it has said can be waited for."""
    monkeypatch.setattr(inputs, "SILENCE_S", 0.3)
    monkeypatch.setattr(inputs, "PERIOD_S", 0.05)
    running, text = [], []

    def said(words):
        text.append(stderr.read())
        return "".join(text).count(words)

    def begin(kind, **parameters):
        running.append(Running(context, kind, **parameters))
        running.append(Peer(context))
        return running[-1], said

    yield begin
    for spinner in running:
        spinner.close()


@pytest.mark.parametrize(("kind", "mask"), [(SelfFilter, "/robotseg/robot_mask"), (Servo, "/robotseg/gripper_mask")])
def test_inputs_that_nobody_publishes_are_named_once(start, kind, mask):
    _, said = start(kind, depth="/there/depth")
    wait_until(lambda: said("no depth image on /there/depth for 0 s: nobody publishes it"), "depth named")
    wait_until(lambda: said(f"no mask on {mask} for 0 s: nobody publishes it"), "mask named")
    assert said("/there/depth") == 1


def test_an_input_of_another_type_is_named(start, domain_id):
    _, said = start(SelfFilter, depth="/there/depth")
    # One participant has one type for a topic.
    other = rclpy.Context()
    rclpy.init(context=other, domain_id=domain_id)
    try:
        # Kept: a node that nobody holds is collected, and its publisher with it.
        camera = rclpy.create_node("camera", context=other)
        camera.create_publisher(CompressedImage, "/there/depth", 1)
        expected = "it is published as sensor_msgs/msg/CompressedImage, sensor_msgs/msg/Image is expected"
        wait_until(lambda: said(expected), "the type named")
        camera.destroy_node()
    finally:
        other.try_shutdown()


def test_an_input_that_cannot_be_received_is_named(start):
    peer, said = start(Servo)
    qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    peer.node.create_publisher(Image, "/robotseg/gripper_mask", qos)
    wait_until(lambda: said("the publisher sends best effort, the subscriber insists on reliable"), "the QoS named")


def test_what_comes_is_not_named_until_it_falls_silent(start):
    peer, said = start(SelfFilter, depth="/there/depth")
    publisher = peer.advertise(Image, "/there/depth")
    wait_until(lambda: said("no mask on"), "the mask named")
    before = said("no depth image")
    picture = to_image(header(1), np.zeros((4, 6), np.uint8), "mono8")
    long = to_image(header(1), np.zeros((4, 6), np.uint8), "mono8")
    long.header.frame_id = "x" * 10_000

    def refused():
        # Whatever comes, somebody sends it.
        publisher.publish(picture)
        return said("depth image refused")

    def refused_for_its_frame():
        publisher.publish(long)
        return said("frame_id has 10000 characters, must have at most 256")

    wait_until(refused_for_its_frame, "a frame_id without end")
    wait_until(refused, "a message taken")
    wait_until(lambda: said("no depth image on /there/depth for 0 s, although it is published") >= 1, "silence named")
    assert said("no depth image") >= before
