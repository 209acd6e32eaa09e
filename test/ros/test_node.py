# SPDX-License-Identifier: Apache-2.0
"""The node end to end on real rclpy, with a fake model."""

import threading
import time

import cv2
import numpy as np
import pytest
from fake_model import FakeModel, robot_picture
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from ros_client import IMAGES, pixels, wait_until
from sensor_msgs.msg import Image

from robotseg_core.types import PromptKind, State
from robotseg_ros import inference, segmenter
from robotseg_ros.camera import Camera
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
    start_segmenter(model)
    client.listen("parts")
    client.wait_for_camera_subscriber()
    client.send_until(robot_picture(), SECOND, "parts", 1)
    model.stamps.clear()
    model.delay = 0.5
    first = 10 * SECOND
    sent = []
    for i in range(60):
        client.send(robot_picture(), first + i)
        sent.append((time.monotonic(), first + i))
        time.sleep(0.02)
    last = first + 59
    wait_until(lambda: model.stamps and model.stamps[-1] == last, "the last image through the model")
    wait_until(lambda: last in client.heard_stamps("parts"), "the answer to the last image")

    worked_on = [stamp for stamp in model.stamps if stamp >= first]
    # 1.2 s of images at 0.5 s a step: a queue would work through all 60.
    assert 2 <= len(worked_on) < 20
    assert worked_on == sorted(worked_on)
    dropped = sum(
        m.dropped for m in client.heard["parts"] if first <= m.header.stamp.sec * SECOND + m.header.stamp.nanosec
    )
    # What the transport loses is not the node's to count.
    assert 30 <= dropped <= 60 - len(worked_on)


def malformed(client, **fields):
    message = Image(header=client.header(SECOND), height=4, width=6, step=18, encoding="rgb8")
    message.data.frombytes(bytes(72))
    for name, value in fields.items():
        setattr(message, name, value)
    return message


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
        deadline = time.monotonic() + 60
        while not node.cameras[0].inference.counters.refused[reason]:
            assert time.monotonic() < deadline, f"{reason} not counted"
            client.camera.publish(message)
            time.sleep(0.05)
    assert not client.heard["parts"]
    client.send_until(robot_picture(), SECOND, "parts", 1)
    assert client.heard["parts"][0].state == PartMasks.TRACKING


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


def test_nothing_is_composed_that_nobody_subscribes_to(client, start_segmenter, monkeypatch):
    composed = []
    from robotseg_core import pictures
    from robotseg_ros import messages

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


def test_deactivate_ends_the_thread_and_cleanup_allows_a_new_start(client, start_segmenter):
    node = start_segmenter(FakeModel())
    client.listen("parts")
    client.wait_for_camera_subscriber()
    client.send_until(robot_picture(), SECOND, "parts", 1)
    assert "inference" in {thread.name for thread in threading.enumerate()}
    node.trigger_deactivate()
    assert "inference" not in {thread.name for thread in threading.enumerate()}
    node.trigger_cleanup()
    wait_until(lambda: client.node.count_publishers("/robotseg/parts") == 0, "topics gone")
    assert node.autostart()
    client.wait_for_camera_subscriber()
    client.send_until(robot_picture(), 2 * SECOND, "parts", len(client.heard["parts"]) + 1)
    node.trigger_shutdown()
    assert "inference" not in {thread.name for thread in threading.enumerate()}


def test_model_that_cannot_be_loaded_fails_to_configure_and_can_be_tried_again(start_segmenter):
    node = start_segmenter(FakeModel(), activate=False)
    load, node._load_model = node._load_model, lambda options: 1 / 0
    assert not node.autostart()
    assert "watch" not in {thread.name for thread in threading.enumerate()}
    node._load_model = load
    assert node.autostart()


def stale_messages(client):
    return [message for message in list(client.heard["parts"]) if message.state == PartMasks.STALE]


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
    deadline = time.monotonic() + 60
    while not client.heard["parts"]:
        assert time.monotonic() < deadline, "no STALE"
        client.camera.publish(malformed(client, step=17))
        time.sleep(0.05)
    (stale,) = client.heard["parts"]
    assert stale.state == PartMasks.STALE and not stale.parts
    assert node.cameras[0].inference.counters.refused["step"] > 1


def test_model_that_is_not_done_with_an_image_is_stale_too(client, start_segmenter, capfd):
    model = FakeModel()
    start_segmenter(model, stale_after=0.3)
    client.listen("parts")
    client.wait_for_camera_subscriber()
    client.send_until(robot_picture(), SECOND, "parts", 1)
    capfd.readouterr()
    model.delay = 1.5
    client.send_until(robot_picture(), 7 * SECOND, "parts", len(client.heard["parts"]) + 2)
    wait_until(lambda: any(m.header.stamp.sec == 7 for m in stale_messages(client)), "state STALE")
    assert "the model still works on an image after 0.3 s" in capfd.readouterr().err


def test_failing_model_is_no_silent_camera(client, start_segmenter, capfd):
    node = start_segmenter(FakeModel(), activate=False, stale_after=1.0)
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    node._model.broken = True
    client.listen("parts")
    assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    client.wait_for_camera_subscriber()
    end = time.monotonic() + 3
    while time.monotonic() < end:
        client.send(robot_picture(), SECOND)
        time.sleep(0.05)
    errors = capfd.readouterr().err
    assert node.cameras[0].inference.counters.faults > 1
    assert "the model failed on an image: RuntimeError: out of imaginary memory" in errors
    assert "no usable image" not in errors


@pytest.mark.parametrize("error", [MemoryError("no room"), cv2.error("(-215) assertion failed")])
def test_unexpected_decoding_error_is_counted_and_the_node_goes_on(client, start_segmenter, monkeypatch, capfd, error):
    def fail(image):
        raise error

    node = start_segmenter(FakeModel())
    client.listen("parts")
    client.wait_for_camera_subscriber()
    with monkeypatch.context() as patch:
        patch.setattr(inference, "decode", fail)
        deadline = time.monotonic() + 60
        while not node.cameras[0].inference.counters.refused["decoding"]:
            assert time.monotonic() < deadline, "not counted"
            client.send(robot_picture(), SECOND)
            time.sleep(0.05)
    client.send_until(robot_picture(), SECOND, "parts", 1)
    assert "for decoding)" in capfd.readouterr().err


def test_refusals_are_counted_by_reason_in_the_log(start_segmenter, client, capfd, monkeypatch):
    node = start_segmenter(FakeModel())
    monkeypatch.setattr(inference, "LOG_PERIOD_S", 0.0)
    for fields in ({"step": 17}, {"step": 17}, {"encoding": "32FC1"}):
        node.cameras[0].inference.process(malformed(client, **fields), 0)
    assert "encoding '32FC1' is not one of" in (errors := capfd.readouterr().err)
    assert "(refused so far: 2 for step, 1 for encoding)" in errors


def test_wrong_topic_name_fails_to_configure(start_segmenter, capfd):
    model = FakeModel()
    node = start_segmenter(model, activate=False, camera="/bad-name")
    assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
    assert "/bad-name" in capfd.readouterr().err
    assert not model.streams


def test_failed_activation_leaves_nothing_behind(client, start_segmenter, monkeypatch):
    node = start_segmenter(FakeModel(), activate=False)
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    with monkeypatch.context() as patch:
        # The last of what activating makes.
        patch.setattr(Camera, "_listen", lambda *_: 1 / 0)
        for _ in range(2):
            assert node.trigger_activate() == TransitionCallbackReturn.FAILURE
            assert "inference" not in {thread.name for thread in threading.enumerate()}
            assert node.cameras == ()
    wait_until(lambda: client.camera.get_subscription_count() == 0, "the camera without subscribers")
    assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    client.listen("parts")
    client.wait_for_camera_subscriber()
    client.send_until(robot_picture(), SECOND, "parts", 1)


def test_failed_configuration_takes_the_topics_down(client, start_segmenter, monkeypatch):
    node = start_segmenter(FakeModel(), activate=False)
    create = node.create_lifecycle_publisher

    def create_some(kind, topic, qos, **options):
        return 1 / 0 if topic == "~/parts" else create(kind, topic, qos, **options)

    monkeypatch.setattr(node, "create_lifecycle_publisher", create_some)
    assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
    assert not [name for name in (publisher.topic_name for publisher in node.publishers) if "mask" in name]


def test_image_worked_on_over_a_restart_is_not_published_after_it(client, start_segmenter, monkeypatch):
    monkeypatch.setattr(segmenter, "STOP_TIMEOUT_S", 0.05)
    model = FakeModel()
    node = start_segmenter(model)
    client.listen("parts", "robot_mask")
    client.wait_for_camera_subscriber()
    client.send_until(robot_picture(), SECOND, "parts", 1)
    model.delay = 2.0
    old, stream = node.cameras[0].inference, model.streams[-1]
    deadline = time.monotonic() + 60
    while not old.busy:
        assert time.monotonic() < deadline, "the model never busy"
        client.send(robot_picture(), 50 * SECOND)
        time.sleep(0.05)
    node.trigger_deactivate()
    assert old.busy
    node.trigger_activate()
    wait_until(lambda: not old.busy, "the old image done")
    model.delay = 0.0
    client.wait_for_camera_subscriber()
    client.send_until(robot_picture(), 100 * SECOND, "robot_mask", len(client.heard["robot_mask"]) + 3)
    assert 50 * SECOND in model.stamps and stream is not model.streams[-1]
    assert 50 * SECOND not in client.heard_stamps("parts") + client.heard_stamps("robot_mask")
