# SPDX-License-Identifier: Apache-2.0
"""Images that cannot be used and models that fail: counted and said, and the node goes on."""

import time

import cv2
import pytest
from fake_model import FakeModel, robot_picture
from patience import PATIENCE_S
from ros_client import malformed, wait_until

from robotseg_ros.common import camera_log
from robotseg_ros.msg import PartMasks
from robotseg_ros.segmenter import inference

SECOND = 1_000_000_000


def test_malformed_images_are_refused_and_counted_and_the_node_goes_on(client, start_segmenter):
    node = start_segmenter(FakeModel())
    client.listen("parts")
    client.wait_for_camera_subscriber()
    bad = {
        "encoding": malformed(client, encoding="32FC1"),
        "step": malformed(client, step=17),
        "data": malformed(client, height=5),
        "size": malformed(client, width=0),
        "endianness": malformed(client, is_bigendian=7),
    }
    for reason, message in bad.items():
        # Best effort: a message may be lost, so it is sent until it is counted.
        deadline = time.monotonic() + PATIENCE_S
        while not node.cameras[0].inference.counters.refused[reason]:
            assert time.monotonic() < deadline, f"{reason} not counted"
            client.camera.publish(message)
            time.sleep(0.05)
    assert not client.heard["parts"]
    client.send_until(robot_picture(), SECOND, "parts", 1)
    assert client.heard["parts"][0].state == PartMasks.TRACKING


def test_refusals_are_counted_by_reason_in_the_log(start_segmenter, client, stderr, monkeypatch):
    node = start_segmenter(FakeModel())
    monkeypatch.setattr(camera_log, "LOG_PERIOD_S", 0.0)
    for fields in ({"step": 17}, {"step": 17}, {"encoding": "32FC1"}):
        node.cameras[0].inference.process(malformed(client, **fields), 0)
    assert "encoding '32FC1' is not one of" in (errors := stderr.read())
    assert "(refused so far: 2 for step, 1 for encoding)" in errors


@pytest.mark.parametrize("error", [MemoryError("no room"), cv2.error("(-215) assertion failed")])
def test_unexpected_decoding_error_is_counted_and_the_node_goes_on(client, start_segmenter, monkeypatch, stderr, error):
    def fail(image):
        raise error

    node = start_segmenter(FakeModel())
    client.listen("parts")
    client.wait_for_camera_subscriber()
    with monkeypatch.context() as patch:
        patch.setattr(inference, "decode", fail)
        deadline = time.monotonic() + PATIENCE_S
        while not node.cameras[0].inference.counters.refused["decoding"]:
            assert time.monotonic() < deadline, "not counted"
            client.send(robot_picture(), SECOND)
            time.sleep(0.05)
    client.send_until(robot_picture(), SECOND, "parts", 1)
    assert "for decoding)" in stderr.read()


def test_failing_model_is_a_fault_without_masks_and_the_node_goes_on(client, start_segmenter):
    model = FakeModel()
    start_segmenter(model)
    client.listen("parts", "robot_mask")
    client.wait_for_camera_subscriber()
    client.send_until(robot_picture(), SECOND, "parts", 1)
    model.broken = True
    client.send_until(robot_picture(), 2 * SECOND, "parts", len(client.heard["parts"]) + 2)
    wait_until(lambda: client.heard["parts"][-1].state == PartMasks.FAULT, "state FAULT")
    fault = client.heard["parts"][-1]
    assert not fault.parts and fault.header.stamp.sec == 2
    assert model.streams[-1].resets
    model.broken = False
    client.send_until(robot_picture(), 3 * SECOND, "parts", len(client.heard["parts"]) + 2)
    wait_until(lambda: client.heard["parts"][-1].state == PartMasks.TRACKING, "state TRACKING again")
