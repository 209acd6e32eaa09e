# SPDX-License-Identifier: Apache-2.0
"""Masks with a contract: current or not published, STALE also while the model hangs, the policy that was asked for."""

import threading
import time

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from fake_model import FakeModel, robot_picture
from rclpy.parameter import Parameter
from ros_client import pixels, wait_until

from robotseg_ros.common.messages import stamp_ns
from robotseg_ros.msg import PartMasks
from robotseg_ros.segmenter import node as segmenter

SECOND = 1_000_000_000


def states(client):
    return [message.state for message in list(client.heard["parts"])]


def send_now_until(client, condition, what, shift_s=0.0):
    """Publish images stamped now, or later by ``shift_s``, until the condition holds."""

    def sent():
        client.send(robot_picture(), time.time_ns() + int(shift_s * SECOND))
        time.sleep(0.05)
        return condition()

    wait_until(sent, what)


@pytest.mark.parametrize(("shift_s", "counter"), [(-30.0, "too_old"), (30.0, "in_future")])
def test_a_result_that_is_not_about_now_is_stale_without_masks_and_counted(
    client, start_segmenter, stderr, shift_s, counter
):
    node = start_segmenter(FakeModel(), max_age=10.0, stale_after=60.0)
    client.listen("parts", "robot_mask")
    client.wait_for_camera_subscriber()
    counters = node.cameras[0].inference.counters
    send_now_until(client, lambda: getattr(counters, counter) > 1 and len(states(client)) > 1, counter, shift_s)
    assert set(states(client)) == {PartMasks.STALE} and not client.heard["robot_mask"]
    stale = client.heard["parts"][0]
    assert not stale.parts and stale.header.frame_id == "wrist_camera"
    assert stale.age_ms == pytest.approx(-shift_s * 1e3, abs=10_000)
    assert "max_age is 10.0 s" in stderr.read()
    # The limit can be lifted while the node runs.
    assert node.set_parameters([Parameter("max_age", value=0)])[0].successful
    send_now_until(client, lambda: PartMasks.TRACKING in states(client), "a current answer", shift_s)
    wait_until(lambda: client.heard["robot_mask"], "a mask")


def test_a_result_in_time_is_published_with_its_age(client, start_segmenter):
    node = start_segmenter(FakeModel(delay=0.01), max_age=60.0)
    client.listen("parts", "robot_mask")
    client.wait_for_camera_subscriber()
    send_now_until(client, lambda: client.heard["robot_mask"] and client.heard["parts"], "a mask")
    message = client.heard["parts"][0]
    assert message.state == PartMasks.TRACKING
    assert 10 <= message.age_ms <= 60_000 and message.encoder_ms == pytest.approx(10)
    counters = node.cameras[0].inference.counters
    assert counters.answered and not counters.too_old and not counters.in_future


def test_dropped_images_are_reported_with_the_next_answer_also_over_late_ones(client, start_segmenter):
    node = start_segmenter(FakeModel(), max_age=10.0, stale_after=60.0)
    client.listen("parts")
    inference = node.cameras[0].inference
    # Until one arrives: from then on each sees the other, and nothing published is lost.
    send_now_until(client, lambda: client.heard["parts"], "an answer", -30.0)
    image = client.send(robot_picture(), time.time_ns() - 30 * SECOND)
    for dropped in (2, 3):
        inference.process(image, dropped)
    wait_until(lambda: sum(message.dropped for message in list(client.heard["parts"])) >= 5, "both answers")
    assert inference.counters.dropped >= 5


def test_while_the_model_hangs_stale_is_said_and_diagnostics_go_on(
    client, start_segmenter, stderr, every_line, monkeypatch
):
    monkeypatch.setattr(segmenter, "STOP_TIMEOUT_S", 0.05)
    model = FakeModel()
    node = start_segmenter(model, stale_after=0.5)
    client.listen("parts")
    diagnostics = client.hear(DiagnosticArray, "/diagnostics")
    client.wait_for_camera_subscriber()
    client.send_until(robot_picture(), SECOND, "parts", 1)
    model.hang = threading.Event()
    inference = node.cameras[0].inference
    try:
        stamp = 50 * SECOND
        while not inference.busy:
            client.send(robot_picture(), stamp)
            time.sleep(0.05)

        def stale():
            # Not those of before, where the machine stood still between two images.
            said = [m for m in list(client.heard["parts"]) if m.state == PartMasks.STALE]
            return [m for m in said if stamp_ns(m.header) >= stamp]

        wait_until(stale, "state STALE")
        assert stamp_ns(stale()[0].header) == stamp and not stale()[0].parts
        # Images go on coming and change nothing; diagnostics go on.
        count = len(diagnostics)

        def still_told():
            client.send(robot_picture(), stamp + SECOND)
            time.sleep(0.05)
            return len(diagnostics) > count + 1

        wait_until(still_told, "further diagnostics")
        assert "STALE" in diagnostics[-1].status[1].message
        assert len(stale()) == 1
        assert "the model still works on an image after 0.5 s" in stderr.read()
        node.trigger_deactivate()
        assert inference.busy and node.cameras == ()
    finally:
        model.hang.set()
    wait_until(lambda: not inference.busy, "the model done")
    assert stamp not in [stamp_ns(m.header) for m in client.heard["parts"] if m.parts]


@pytest.mark.parametrize(("policy", "area"), [("inclusive", 92 * 22), ("exclusive", 88 * 18)])
def test_mask_policy_is_live_and_said(client, start_segmenter, policy, area):
    node = start_segmenter(FakeModel())
    topics = ("parts", "arm_mask", "gripper_mask", "robot_mask")
    client.listen(*topics)
    client.wait_for_camera_subscriber()
    client.send_until(robot_picture(), SECOND, "parts", 1)
    first = client.heard["parts"][0]
    assert (first.mask_policy, first.mask_margin) == ("balanced", 0)
    assert first.parts[2].area == 90 * 20
    changes = [Parameter("mask_policy", value=policy), Parameter("mask_margin", value=1)]
    assert node.set_parameters_atomically(changes).successful
    for topic in topics:
        client.send_until(robot_picture(), 2 * SECOND, topic, len(client.heard[topic]) + 3)
    last = client.heard["parts"][-1]
    assert (last.mask_policy, last.mask_margin) == (policy, 1)
    arm, gripper, robot = (pixels(client.heard[topic][-1]) > 0 for topic in topics[1:])
    assert not (arm & gripper).any() and np.array_equal(arm | gripper, robot)
    # A square corner grows to a round one of one pixel.
    corners = 4 if policy == "inclusive" else 0
    assert np.count_nonzero(robot) == last.parts[2].area == area - corners
