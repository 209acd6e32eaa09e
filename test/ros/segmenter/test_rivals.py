# SPDX-License-Identifier: Apache-2.0
"""A second node of the same name: nobody is given two answers to one image."""

import time

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from fake_model import FakeModel, robot_picture
from rclpy.qos import QoSProfile, ReliabilityPolicy
from ros_client import wait_until

from robotseg_ros.msg import PartMasks

SECOND = 1_000_000_000


def test_answers_are_withheld_while_another_publishes_them_too(client, start_segmenter, capfd):
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
    assert "/client publishes on the topics of this node, too" in capfd.readouterr().err
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
