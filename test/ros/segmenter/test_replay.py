# SPDX-License-Identifier: Apache-2.0
"""Replay: every image is worked on, in order, and the same recording gives the same masks."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from fake_model import FakeModel, robot_picture
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from ros_client import wait_until
from sensor_msgs.msg import Image

from robotseg_ros.common.messages import stamp_ns, to_image
from robotseg_ros.common.model import ModelOptions, load_robotseg

ROOT = Path(__file__).resolve().parents[3]
SECOND = 1_000_000_000
CAMERA = "/camera/image_raw"
RECORDED = QoSProfile(depth=1000, reliability=ReliabilityPolicy.RELIABLE)
ALL = QoSProfile(history=HistoryPolicy.KEEP_ALL, reliability=ReliabilityPolicy.RELIABLE)


def play(client, camera, frames, first=SECOND):
    """Publish all frames at once, far faster than any model; returns their stamps."""
    stamps = [first + i * SECOND // 10 for i in range(len(frames))]
    for stamp, frame in zip(stamps, frames, strict=True):
        camera.publish(to_image(client.header(stamp), frame, "rgb8"))
    return stamps


def test_every_image_is_answered_in_order_by_a_model_that_is_slow(client, start_segmenter):
    model = FakeModel(delay=0.02)
    node = start_segmenter(model, replay=True, max_age=0.001, stale_after=0.1)
    client.listen("parts")
    masks = client.hear(Image, "/robotseg/robot_mask", ALL)
    camera = client.advertise(Image, CAMERA, RECORDED)
    stamps = play(client, camera, [robot_picture(shift=i % 50) for i in range(60)])
    wait_until(lambda: len(masks) == len(client.heard["parts"]) == 60, "all answers")
    assert model.stamps == stamps
    assert [stamp_ns(mask.header) for mask in masks] == stamps
    # Neither max_age nor silence makes a recording STALE.
    assert {message.state for message in client.heard["parts"]} == {1}
    assert not any(message.dropped for message in client.heard["parts"])
    counters = node.cameras[0].inference.counters
    assert (counters.received, counters.answered, counters.dropped, counters.lost) == (60, 60, 0, 0)


def test_few_images_wait_in_the_node_the_others_in_the_middleware(client, start_segmenter):
    model = FakeModel(delay=0.01)
    node = start_segmenter(model, replay=True)
    camera = client.advertise(Image, CAMERA, RECORDED)
    lane = node.cameras[0]._lane
    waiting = []
    put = lane.put
    lane.put = lambda item: (put(item), waiting.append(lane.waiting))
    stamps = play(client, camera, [robot_picture()] * 60)
    wait_until(lambda: len(model.stamps) == 60, "all images")
    assert model.stamps == stamps and max(waiting) <= 9


def test_playing_again_begins_anew(client, start_segmenter):
    model = FakeModel()
    node = start_segmenter(model, replay=True)
    camera = client.advertise(Image, CAMERA, RECORDED)
    for _ in range(2):
        play(client, camera, [robot_picture()] * 3)
    wait_until(lambda: len(model.stamps) == 6, "all images")
    stream = model.streams[-1]
    assert [what for _, what in stream.steps] == ["step"] * 3 + ["reset"] + ["step"] * 3
    assert node.cameras[0].inference.counters.restarts == {"time": 1}


def test_a_camera_that_sends_best_effort_is_named_with_the_reason(client, start_segmenter, stderr):
    start_segmenter(FakeModel(), replay=True)
    diagnostics = client.hear(DiagnosticArray, "/diagnostics")
    words = "the publisher sends best effort, the subscriber insists on reliable"
    wait_until(lambda: any(words in d.status[0].message for d in diagnostics), "the reason in diagnostics")
    assert f"incompatible QoS on {CAMERA}: /client: {words}" in stderr.read()
    value = {pair.key: pair.value for pair in diagnostics[-1].status[0].values}
    assert words in value[f"incompatible_qos {CAMERA}"]
    # It is over when the camera has gone.
    client.node.destroy_publisher(client.camera)
    wait_until(lambda: "incompatible" not in diagnostics[-1].status[0].message, "diagnostics without it")


@pytest.mark.real_model
def test_the_same_recording_gives_the_same_masks_to_the_bit(client, start_segmenter):
    clip = cv2.VideoCapture(str(ROOT / "demo" / "clip.mp4"))
    frames = [cv2.resize(clip.read()[1], (320, 240)) for _ in range(12)]
    start_segmenter(load_robotseg(ModelOptions(device="cpu")), replay=True)
    masks = {part: client.hear(Image, f"/robotseg/{part}_mask", ALL) for part in ("arm", "gripper", "robot")}
    client.listen("parts")
    camera = client.advertise(Image, CAMERA, RECORDED)
    for run in (1, 2):
        play(client, camera, frames)
        wait_until(lambda run=run: all(len(heard) == 12 * run for heard in masks.values()), f"answers of run {run}")
    wait_until(lambda: len(client.heard["parts"]) == 24, "all states")
    for heard in masks.values():
        assert [stamp_ns(m.header) for m in heard[:12]] == [stamp_ns(m.header) for m in heard[12:]]
        assert all(bytes(a.data) == bytes(b.data) for a, b in zip(heard[:12], heard[12:], strict=True))
    assert any(np.any(np.frombuffer(m.data, np.uint8)) for m in masks["robot"]), "no robot was seen at all"
    scores = [[part.score for part in message.parts] for message in client.heard["parts"]]
    assert scores[:12] == scores[12:]
