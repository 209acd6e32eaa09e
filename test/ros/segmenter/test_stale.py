# SPDX-License-Identifier: Apache-2.0
"""When nothing current is known: the node says STALE, once, whatever the reason."""

import threading
import time

import numpy as np
from fake_model import FakeModel, robot_picture
from patience import PATIENCE_S
from rclpy.lifecycle import TransitionCallbackReturn
from ros_client import malformed, wait_until

from robotseg_ros.msg import PartMasks

SECOND = 1_000_000_000


def stale_messages(client):
    return [message for message in list(client.heard["parts"]) if message.state == PartMasks.STALE]


def test_silent_camera_is_stale_once(client, start_segmenter):
    start_segmenter(FakeModel(), stale_after=0.2)
    client.listen("parts")
    client.wait_for_camera_subscriber()
    client.send_until(robot_picture(), SECOND, "parts", 2)
    wait_until(lambda: any(m.header.stamp.sec for m in stale_messages(client)), "state STALE")
    stale = next(m for m in stale_messages(client) if m.header.stamp.sec)
    assert not stale.parts
    assert any(m.header == stale.header for m in client.heard["parts"] if m.parts)
    client.send_until(robot_picture(), 2 * SECOND, "parts", len(client.heard["parts"]) + 1)
    wait_until(
        lambda: any(m.state == PartMasks.TRACKING and m.header.stamp.sec == 2 for m in client.heard["parts"]),
        "state TRACKING again",
    )


def test_camera_that_is_silent_from_the_start_is_stale_once(client, start_segmenter):
    node = start_segmenter(FakeModel(), activate=False, stale_after=0.3)
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    client.listen("parts")
    wait_until(lambda: node.count_subscribers("/robotseg/parts") > 0, "the client seen by the node")
    assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    wait_until(lambda: stale_messages(client), "state STALE")
    time.sleep(0.7)
    (stale,) = client.heard["parts"]
    assert not stale.parts and np.isnan(stale.age_ms)
    assert (stale.header.stamp.sec, stale.header.stamp.nanosec, stale.header.frame_id) == (0, 0, "")


def test_camera_of_which_every_image_is_refused_is_stale(client, start_segmenter):
    node = start_segmenter(FakeModel(), activate=False, stale_after=3.0)
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    client.listen("parts")
    wait_until(lambda: node.count_subscribers("/robotseg/parts") > 0, "the client seen by the node")
    assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    deadline = time.monotonic() + PATIENCE_S
    while not client.heard["parts"]:
        assert time.monotonic() < deadline, "no STALE"
        client.camera.publish(malformed(client, step=17))
        time.sleep(0.05)
    (stale,) = client.heard["parts"]
    assert stale.state == PartMasks.STALE and not stale.parts
    assert node.cameras[0].inference.counters.refused["step"] > 1


def test_model_that_is_not_done_with_an_image_is_stale_too(client, start_segmenter, stderr, every_line):
    model = FakeModel()
    start_segmenter(model, stale_after=0.3)
    client.listen("parts")
    client.wait_for_camera_subscriber()
    client.send_until(robot_picture(), SECOND, "parts", 1)
    model.hang = threading.Event()
    stamp = 7 * SECOND

    def told():
        nonlocal stamp
        stamp += 1
        client.send(robot_picture(), stamp)
        time.sleep(0.05)
        return any(m.header.stamp.sec == 7 for m in stale_messages(client))

    try:
        wait_until(told, "state STALE")
    finally:
        model.hang.set()
    assert "the model still works on an image after 0.3 s" in stderr.read()


def test_failing_model_is_no_silent_camera(client, start_segmenter, stderr):
    node = start_segmenter(FakeModel(), activate=False, stale_after=1.0)
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    node._model.broken = True
    client.listen("parts")
    assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    client.wait_for_camera_subscriber()
    counters = node.cameras[0].inference.counters

    def fails(times):
        wanted = counters.faults + times
        while counters.faults < wanted:
            client.send(robot_picture(), SECOND)
            time.sleep(0.05)

    fails(5)
    said = stderr.read()

    def failed_on_without_a_gap():
        """For longer than silence would be; where the machine stands still meanwhile, that is silence."""
        nonlocal said
        fails(5)
        said += stderr.read()
        began = now = time.monotonic()
        while now - began < 2.0:
            before = now
            fails(1)
            now = time.monotonic()
            if now - before > 0.5:
                return False
        meanwhile = stderr.read()
        said += meanwhile
        assert "no usable image" not in meanwhile
        return True

    wait_until(failed_on_without_a_gap, "a while of nothing but failures")
    assert "the model failed on an image: RuntimeError: out of imaginary memory" in said
