# SPDX-License-Identifier: Apache-2.0
"""Transitions of the lifecycle, those that fail among them: nothing is left behind, and it can be tried again."""

import threading
import time

from fake_model import FakeModel, robot_picture
from patience import PATIENCE_S
from rclpy.lifecycle import TransitionCallbackReturn
from ros_client import wait_until

from robotseg_ros.segmenter import node as segmenter
from robotseg_ros.segmenter.camera_topics import Camera

SECOND = 1_000_000_000


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


def test_wrong_topic_name_fails_to_configure(start_segmenter, stderr):
    model = FakeModel()
    node = start_segmenter(model, activate=False, camera="/bad-name")
    assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
    assert "/bad-name" in stderr.read()
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
    model.hang = threading.Event()
    old, stream = node.cameras[0].inference, model.streams[-1]
    deadline = time.monotonic() + PATIENCE_S
    while not old.busy:
        assert time.monotonic() < deadline, "the model never busy"
        client.send(robot_picture(), 50 * SECOND)
        time.sleep(0.05)
    node.trigger_deactivate()
    assert old.busy
    node.trigger_activate()
    model.hang.set()
    wait_until(lambda: not old.busy, "the old image done")
    client.wait_for_camera_subscriber()
    client.send_until(robot_picture(), 100 * SECOND, "robot_mask", len(client.heard["robot_mask"]) + 3)
    assert 50 * SECOND in model.stamps and stream is not model.streams[-1]
    assert 50 * SECOND not in client.heard_stamps("parts") + client.heard_stamps("robot_mask")
