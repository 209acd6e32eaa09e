# SPDX-License-Identifier: Apache-2.0
"""The node's answers end to end on real rclpy, with a fake model."""

import threading
import time

import numpy as np
import pytest
from fake_model import FakeModel, robot_picture
from rclpy.parameter import Parameter
from ros_client import IMAGES, pixels, wait_until

from robotseg_core.types import PromptKind, State
from robotseg_ros.common.messages import stamp_ns
from robotseg_ros.msg import PartMasks, Prompt

SECOND = 1_000_000_000


def test_every_output_has_the_images_header_and_size_and_right_pixels(client, start_segmenter):
    start_segmenter(FakeModel())
    client.listen("parts", *IMAGES)
    client.wait_for_camera_subscriber()
    rgb = robot_picture(height=121, width=161)
    stamp = 1234 * SECOND + 987_654_321
    sent = client.send(rgb, stamp)
    for topic in ("parts", *IMAGES):
        client.send_until(rgb, stamp, topic, 1)

    for topic in IMAGES:
        image = client.heard[topic][0]
        assert image.header.frame_id == sent.header.frame_id
        assert stamp <= client.heard_stamps(topic)[0] < stamp + 1000
        assert (image.height, image.width) == (121, 161)
        assert image.step == len(image.data) // 121
    masks = {topic: pixels(client.heard[topic][0]) for topic in IMAGES[:3]}
    for topic, mask in masks.items():
        assert client.heard[topic][0].encoding == "mono8"
        assert set(np.unique(mask)) == {0, 255}
    assert not np.any(masks["arm_mask"] & masks["gripper_mask"])
    assert np.array_equal(masks["arm_mask"] | masks["gripper_mask"], masks["robot_mask"])
    assert np.array_equal(masks["gripper_mask"] > 0, (rgb == (255, 0, 0)).all(-1))

    kept = pixels(client.heard["masked_image"][0])
    assert np.array_equal(kept, rgb * (masks["robot_mask"] > 0)[..., None])
    drawn = pixels(client.heard["overlay"][0])
    assert np.array_equal((drawn != rgb).any(-1), masks["robot_mask"] > 0)

    parts = client.heard["parts"][0]
    assert parts.state == PartMasks.TRACKING
    assert [part.name for part in parts.parts] == ["arm", "gripper", "robot"]
    gripper = parts.parts[1]
    assert gripper.present and gripper.area == 400 and gripper.score == pytest.approx(0.9)
    assert (gripper.roi.x_offset, gripper.roi.y_offset, gripper.roi.width, gripper.roi.height) == (80, 40, 20, 20)
    assert (gripper.centroid.x, gripper.centroid.y) == (89.5, 49.5)
    assert parts.age_ms > 0
    assert (parts.preset, parts.device, parts.backend) == ("nano", "cpu", "fake")


def test_constants_of_the_message_are_those_of_the_core():
    assert {state.name: state.value for state in State} == {
        name: getattr(PartMasks, name) for name in State.__members__
    }
    assert all(getattr(Prompt, kind.name) == kind.value for kind in PromptKind)


def test_no_robot_in_view_gives_empty_masks(client, start_segmenter):
    start_segmenter(FakeModel())
    client.listen("parts", "robot_mask")
    client.wait_for_camera_subscriber()
    client.send_until(np.full((48, 64, 3), 90, np.uint8), SECOND, "robot_mask", 1)
    client.send_until(np.full((48, 64, 3), 90, np.uint8), SECOND, "parts", 1)
    assert not pixels(client.heard["robot_mask"][0]).any()
    parts = client.heard["parts"][0]
    assert parts.state == PartMasks.SEARCHING
    assert not any(part.present or part.area or part.score for part in parts.parts)
    assert all(np.isnan(part.centroid.x) for part in parts.parts)


def test_slow_model_works_on_the_newest_image_and_counts_the_others(client, start_segmenter):
    model = FakeModel()
    camera = start_segmenter(model).cameras[0]
    client.listen("parts")
    client.wait_for_camera_subscriber()
    arrived, put, stamp = [], camera._lane.put, SECOND
    camera._lane.put = lambda image: (arrived.append(stamp_ns(image.header)), put(image))

    def send(seconds):
        nonlocal stamp
        stamp += 1
        client.send(robot_picture(), stamp)
        time.sleep(seconds)

    def all_arrived():
        # A best effort image may be lost on the way; but none overtakes another.
        send(0.1)
        return arrived and arrived[-1] == stamp

    def many():
        send(0.005)
        return camera.inference.busy and len(arrived) >= 60

    wait_until(all_arrived, "the newest image at the node")
    wait_until(lambda: stamp in client.heard_stamps("parts"), "the answer to it")
    for kept in (arrived, model.stamps, client.heard["parts"]):
        kept.clear()
    model.hang = threading.Event()
    try:
        wait_until(many, "many images while the model works on one")
        wait_until(all_arrived, "the newest image at the node")
    finally:
        model.hang.set()
    wait_until(lambda: stamp in client.heard_stamps("parts"), "the answer to the newest image")
    # One of the first, and the newest: a queue would work through all.
    assert len(model.stamps) == 2 and model.stamps[1] == stamp and model.stamps[0] in arrived
    assert client.heard_stamps("parts") == model.stamps
    # What the transport loses is not the node's to count.
    assert sum(m.dropped for m in client.heard["parts"]) == len(arrived) - 2


def test_nothing_is_composed_that_nobody_subscribes_to(client, start_segmenter, monkeypatch):
    composed = []
    from robotseg_core.files import overlay as pictures
    from robotseg_ros.common import messages

    to_image = messages.to_image
    start_segmenter(FakeModel())
    for name in ("overlay", "keep_robot", "remove_robot"):
        monkeypatch.setattr(pictures, name, lambda *_, name=name: composed.append(name))
    client.listen("parts", "gripper_mask")
    client.wait_for_camera_subscriber()
    # The client makes its images with the function that is watched; the node's are told apart by their encoding.
    monkeypatch.setattr(messages, "to_image", lambda h, p, e: composed.append(e) or to_image(h, p, e))
    client.send_until(robot_picture(), SECOND, "parts", 3)
    client.send_until(robot_picture(), 2 * SECOND, "gripper_mask", 3)
    assert set(composed) == {"mono8"}
    assert len(composed) <= len(client.heard["parts"]) + 1


def test_masked_image_can_be_switched_while_running(client, start_segmenter):
    node = start_segmenter(FakeModel())
    client.listen("masked_image")
    client.wait_for_camera_subscriber()
    rgb = robot_picture()
    robot = (rgb != 120).any(-1)
    client.send_until(rgb, SECOND, "masked_image", 1)
    assert pixels(client.heard["masked_image"][-1])[~robot].max() == 0
    refused = node.set_parameters([Parameter("masked_image", value="blur")])[0]
    assert not refused.successful and "'blur'" in refused.reason
    assert node.set_parameters([Parameter("masked_image", value="remove")])[0].successful
    before = len(client.heard["masked_image"])
    client.send_until(rgb, 2 * SECOND, "masked_image", before + 3)
    last = pixels(client.heard["masked_image"][-1])
    assert last[robot].max() == 0 and np.array_equal(last[~robot], rgb[~robot])
    assert not node.set_parameters([Parameter("camera", value="/elsewhere")])[0].successful


def test_prompts_reach_the_stream_and_bad_ones_are_refused(client, start_segmenter):
    model = FakeModel()
    start_segmenter(model)
    client.listen("parts")
    client.wait_for_camera_subscriber()
    wait_until(lambda: client.prompts.get_subscription_count() > 0, "subscriber of prompts")
    client.prompts.publish(Prompt(part="hand", kind=Prompt.POINT, coordinates=[1.0, 2.0], label=1))
    client.prompts.publish(Prompt(part="arm", kind=9))
    client.prompts.publish(Prompt(part="gripper", kind=Prompt.BOX, coordinates=[1.0, 2.0, 30.0, 40.0]))
    stamp = SECOND
    while not model.streams[-1].prompts:
        client.send_until(robot_picture(), stamp, "parts", len(client.heard["parts"]) + 1)
        stamp += SECOND
    (prompt,) = model.streams[-1].prompts
    assert (prompt.part, prompt.kind, prompt.xy) == ("gripper", PromptKind.BOX, (1.0, 2.0, 30.0, 40.0))
