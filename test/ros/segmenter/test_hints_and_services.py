# SPDX-License-Identifier: Apache-2.0
"""What a user asks of the node: reset, enable, hints for the image that was clicked on, clicks of viewers."""

import time

import pytest
from fake_model import FakeModel, robot_picture
from geometry_msgs.msg import PointStamped
from rclpy.parameter import Parameter
from ros_client import wait_until
from std_srvs.srv import SetBool, Trigger

from robotseg_core.types import Prompt as CorePrompt
from robotseg_core.types import PromptKind
from robotseg_ros.msg import PartMasks, Prompt

SECOND = 1_000_000_000


@pytest.fixture
def running(client, start_segmenter):
    model = FakeModel()
    node = start_segmenter(model, click_topic="/clicked_point")
    client.listen("parts")
    client.wait_for_camera_subscriber()
    wait_until(lambda: client.prompts.get_subscription_count() > 0, "subscriber of prompts")
    client.send_until(robot_picture(), SECOND, "parts", 1)
    return node, model.streams[-1]


def prompt_at(stamp, **fields):
    message = Prompt(**{"part": "arm", "kind": Prompt.POINT, "coordinates": [20.0, 50.0], "label": 1, **fields})
    message.stamp.sec, message.stamp.nanosec = divmod(stamp, SECOND)
    return message


def send_image(client, node, stamp):
    """Publish an image until it is answered."""

    def answered():
        client.send(robot_picture(), stamp)
        time.sleep(0.05)
        return stamp in client.heard_stamps("parts")

    wait_until(answered, "an answer")


def test_reset_forgets_all_before_the_next_image(client, running):
    node, stream = running
    response = client.call(Trigger, "/robotseg/reset", Trigger.Request())
    assert response.success and response.message
    send_image(client, node, 2 * SECOND)
    assert stream.resets == 1
    assert stream.steps[stream.steps.index((0, "reset")) + 1] == (2 * SECOND, "step")
    assert node.cameras[0].inference.counters.restarts == {"reset": 1}


def test_disabled_the_node_listens_to_no_image_and_is_stale(client, running):
    node, stream = running
    assert client.call(SetBool, "/robotseg/enable", SetBool.Request(data=False)).success
    wait_until(lambda: client.heard["parts"][-1].state == PartMasks.STALE, "state STALE")
    wait_until(lambda: client.camera.get_subscription_count() == 0, "the camera without subscriber")
    again = client.call(SetBool, "/robotseg/enable", SetBool.Request(data=False))
    assert again.success and "already" in again.message
    assert client.call(SetBool, "/robotseg/enable", SetBool.Request(data=True)).success
    client.wait_for_camera_subscriber()
    send_image(client, node, 5 * SECOND)
    assert client.heard["parts"][-1].state == PartMasks.TRACKING
    # What was remembered is of another time.
    assert stream.resets == 1


def test_a_hint_is_given_to_the_stream_with_its_image(client, running):
    node, stream = running
    for stamp in (2 * SECOND, 2 * SECOND + 100, 2 * SECOND + 200):
        send_image(client, node, stamp)
    # Images sent twice may still be on their way.
    send_image(client, node, 2 * SECOND + 300)
    answers = client.heard_stamps("parts").count(2 * SECOND)
    client.prompts.publish(prompt_at(2 * SECOND))
    inference = node.cameras[0].inference
    wait_until(lambda: inference._hints, "the hint taken")
    del stream.steps[:]
    send_image(client, node, 3 * SECOND)
    # The image clicked on is shown once more, then the newest is worked on; the answer is about that one.
    assert stream.steps[:3] == [(0, "prompt"), (2 * SECOND, "step"), (3 * SECOND, "step")]
    assert stream.prompts == [CorePrompt(part="arm", kind=PromptKind.POINT, xy=(20.0, 50.0))]
    assert client.heard_stamps("parts")[-1] == 3 * SECOND
    assert client.heard_stamps("parts").count(2 * SECOND) == answers


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (prompt_at(SECOND // 2), "0.500 s older than the newest one"),
        (prompt_at(9 * SECOND), "8.0"),
        (prompt_at(SECOND, coordinates=[500.0, 50.0]), "outside the 160 x 120 image"),
        (prompt_at(SECOND, part="hand"), "'hand'"),
    ],
)
def test_hints_that_cannot_be_followed_are_refused_with_the_reason_and_counted(client, running, stderr, message, words):
    node, stream = running
    client.prompts.publish(message)
    wait_until(lambda: node.cameras[0].inference.counters.prompts_refused == 1, "the hint refused")
    said = stderr.read()
    assert "prompt refused" in said and words in said
    assert not stream.prompts


def test_more_hints_than_can_wait_are_refused(running, stderr):
    node, _ = running
    (camera,) = node.cameras
    for _ in range(40):
        camera._on_prompt(prompt_at(0))
    assert len(camera.inference._hints) == 32 and camera.inference.counters.prompts_refused == 8
    assert "32 hints wait for the next image already" in stderr.read()


def test_clicks_of_a_viewer_are_hints_for_the_part_that_is_set(client, running):
    node, stream = running
    clicks = client.advertise(PointStamped, "/clicked_point")
    assert node.set_parameters([Parameter("click_part", value="gripper")])[0].successful
    click = PointStamped()
    click.point.x, click.point.y = 90.0, 50.0
    clicks.publish(click)
    inference = node.cameras[0].inference
    wait_until(lambda: inference._hints, "the click taken")
    send_image(client, node, 4 * SECOND)
    assert stream.prompts == [CorePrompt(part="gripper", kind=PromptKind.POINT, xy=(90.0, 50.0))]
    click.header.stamp.sec = 77
    clicks.publish(click)
    wait_until(lambda: inference.counters.prompts_refused == 1, "the click refused")
