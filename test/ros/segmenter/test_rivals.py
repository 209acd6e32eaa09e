# SPDX-License-Identifier: Apache-2.0
"""A second node of the same name: nobody is given two answers to one image."""

import time

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from fake_model import FakeModel, robot_picture
from patience import PATIENCE_S
from rclpy.qos import QoSProfile, ReliabilityPolicy
from ros_client import wait_until
from sensor_msgs.msg import Image

from robotseg_ros.common import graph
from robotseg_ros.common.messages import to_image
from robotseg_ros.msg import PartMasks

SECOND = 1_000_000_000


def test_answers_are_withheld_while_another_publishes_them_too(client, start_segmenter, stderr):
    node = start_segmenter(FakeModel())
    client.listen("parts")
    diagnostics = client.hear(DiagnosticArray, "/diagnostics")
    client.wait_for_camera_subscriber()
    client.send_until(robot_picture(), SECOND, "parts", 2)
    reliable = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
    other = client.node.create_publisher(PartMasks, "/robotseg/parts", reliable)
    # As long as it is silent, it may be what is left of a node that was killed.
    wait_until(lambda: node.count_publishers("/robotseg/parts") == 2, "the other publisher")
    answered = node.cameras[0].inference.counters
    before = answered.answered
    client.send_until(robot_picture(), 2 * SECOND, "parts", len(client.heard["parts"]) + 20)
    assert answered.answered > before and not answered.contested
    stamp = 3 * SECOND

    def contested():
        nonlocal stamp
        stamp += 1
        other.publish(PartMasks(state=PartMasks.TRACKING, age_ms=1.0))
        client.send(robot_picture(), stamp)
        time.sleep(0.05)
        return answered.contested >= 5

    wait_until(contested, "answers withheld")
    assert "/client publishes on the topics of this node, too" in stderr.read()
    last = [m for m in list(client.heard["parts"]) if m.header.stamp.sec == 3 and m.header.frame_id][-1]
    assert last.state == PartMasks.STALE and not last.parts
    wait_until(
        lambda: any(
            s.level == DiagnosticStatus.ERROR and "/client" in s.message for m in diagnostics for s in m.status
        ),
        "the error in the diagnostics",
    )
    client.node.destroy_publisher(other)
    before = answered.answered

    def answers():
        nonlocal stamp
        stamp += 1
        client.send(robot_picture(), stamp)
        time.sleep(0.05)
        return answered.answered > before + 3

    wait_until(answers, "answers again")


def test_two_cameras_of_one_frame_are_stale_and_one_of_them_is_answered_again(
    client, start_segmenter, stderr, monkeypatch
):
    # However slow the machine is, they send in turn.
    monkeypatch.setattr(graph, "HEARD_S", PATIENCE_S)
    node = start_segmenter(FakeModel(), stale_after=0.2)
    client.listen("parts")
    client.wait_for_camera_subscriber()
    other = client.advertise(Image, "/camera/image_raw")
    counters, stamp = node.cameras[0].inference.counters, SECOND

    def both():
        nonlocal stamp
        stamp += 2
        client.send(robot_picture(), stamp)
        time.sleep(0.03)
        other.publish(to_image(client.header(stamp + 1), robot_picture(shift=20), "rgb8"))
        time.sleep(0.03)

    def refused():
        both()
        return counters.refused["senders"] > 20

    wait_until(refused, "refusals")
    said = stderr.read()
    assert "2 publishers send images of frame 'wrist_camera' on /camera/image_raw" in said
    answered = counters.answered
    for _ in range(20):
        both()
    assert counters.answered == answered and client.heard["parts"][-1].state == PartMasks.STALE
    client.node.destroy_publisher(other)
    monkeypatch.setattr(graph, "HEARD_S", 0.5)

    def one():
        nonlocal stamp
        stamp += 2
        client.send(robot_picture(), stamp)
        time.sleep(0.03)
        return counters.answered > answered + 3

    wait_until(one, "answers to the one that is left")
