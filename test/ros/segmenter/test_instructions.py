# SPDX-License-Identifier: Apache-2.0
"""Requests in words to the node: what is answered, published, replaced, forgotten, lost and refused."""

import threading
import time

import numpy as np
import pytest
from fake_model import FakeModel, robot_picture
from fault_session import Session, header
from ros_client import pixels, wait_until
from std_srvs.srv import SetBool, Trigger

from robotseg_core.instruct.prompt_set import Answer, PromptSet
from robotseg_core.instruct.request import MAX_CHARACTERS, RequestError
from robotseg_core.stream.postprocess import part_mask
from robotseg_ros.common.mask_policy import apply_to_target
from robotseg_ros.common.messages import stamp_ns, to_image
from robotseg_ros.msg import Target
from robotseg_ros.segmenter.instruct.instructions import Instructions
from robotseg_ros.srv import Instruct

SECOND = 1_000_000_000
RED = (robot_picture() == (255, 0, 0)).all(-1)


def two_robots():
    picture = robot_picture(width=320)
    picture[:, 160:] = robot_picture()
    return picture


@pytest.fixture
def running(client, start_segmenter):
    node = start_segmenter(FakeModel())
    client.listen("parts", "target_mask")
    targets = client.hear(Target, "/robotseg/target")
    client.wait_for_camera_subscriber()
    client.send_until(robot_picture(), SECOND, "parts", 1)
    return node, targets


def send(client, targets, picture, stamp):
    """Publish an image until its target is heard."""

    def answered():
        client.send(picture, stamp)
        time.sleep(0.05)
        return [t for t in targets if stamp_ns(t.header) == stamp]

    wait_until(answered, "a target")
    return [t for t in targets if stamp_ns(t.header) == stamp][-1]


def ask(client, text):
    return client.call(Instruct, "/robotseg/instruct", Instruct.Request(request=text))


def masks_of(client, stamp):
    return [pixels(m) for m in client.heard["target_mask"] if stamp_ns(m.header) == stamp]


def test_a_target_is_published_with_the_header_of_its_image(client, running):
    _, targets = running
    assert send(client, targets, robot_picture(), 2 * SECOND).state == Target.NOTHING
    reply = ask(client, "the gripper")
    assert reply.answer == Instruct.Response.FOUND and reply.message == ""
    assert stamp_ns(type("H", (), {"stamp": reply.stamp})) == 2 * SECOND
    (instance,) = reply.instances
    assert list(instance.box) == [80, 40, 99, 59]
    assert reply.score == pytest.approx(0.9)
    target = send(client, targets, robot_picture(), 3 * SECOND)
    assert (target.state, target.request, target.invert) == (Target.SEEN, "the gripper", False)
    assert target.header.frame_id == "wrist_camera" and target.age >= 1 and target.area == RED.sum()
    wait_until(lambda: masks_of(client, 3 * SECOND), "its mask")
    np.testing.assert_array_equal(masks_of(client, 3 * SECOND)[-1] > 0, RED)
    assert not masks_of(client, 2 * SECOND)


def test_lost_is_an_empty_mask_and_forgotten_is_none(client, running):
    _, targets = running
    ask(client, "the gripper")
    send(client, targets, robot_picture(), 2 * SECOND)
    target = send(client, targets, np.full((120, 160, 3), 120, np.uint8), 3 * SECOND)
    assert (target.state, target.area) == (Target.LOST, 0)
    wait_until(lambda: masks_of(client, 3 * SECOND), "an empty mask")
    assert not masks_of(client, 3 * SECOND)[-1].any()
    assert ask(client, "forget").answer == Instruct.Response.FORGOTTEN
    send(client, targets, robot_picture(), 4 * SECOND)
    target = send(client, targets, robot_picture(), 5 * SECOND)
    assert (target.state, target.request) == (Target.NOTHING, "")
    assert not masks_of(client, 5 * SECOND)


@pytest.mark.parametrize(
    ("text", "answer"),
    [("the red cup", Instruct.Response.NOT_UNDERSTOOD), ("both arms", Instruct.Response.NONE)],
)
def test_what_is_not_found_ends_the_following(client, running, text, answer):
    _, targets = running
    ask(client, "the gripper")
    send(client, targets, robot_picture(), 2 * SECOND)
    reply = ask(client, text)
    assert reply.answer == answer and not reply.instances
    assert bool(reply.message) == (answer == Instruct.Response.NOT_UNDERSTOOD)
    send(client, targets, robot_picture(), 3 * SECOND)
    assert send(client, targets, robot_picture(), 4 * SECOND).state == Target.NOTHING


def test_refused_requests_leave_the_target_as_it_is(client, running):
    _, targets = running
    ask(client, "the gripper")
    for text in ("x" * (MAX_CHARACTERS + 1), "", "\n\t"):
        reply = ask(client, text)
        assert reply.answer == Instruct.Response.REFUSED and reply.message
    assert send(client, targets, robot_picture(), 2 * SECOND).state == Target.SEEN


def test_a_policy_that_fails_is_a_refusal_and_refusals_are_said_once(client, running, stderr, monkeypatch):
    node, _ = running
    policy = node.cameras[0].inference.instructions._policy
    monkeypatch.setattr(type(policy), "answer", lambda *args: 1 / 0)
    for _ in range(5):
        reply = ask(client, "the gripper")
        assert reply.answer == Instruct.Response.REFUSED and "ZeroDivisionError" in reply.message
    assert stderr.read().count("request refused") == 1


def test_a_reset_forgets_the_target(client, running):
    _, targets = running
    ask(client, "the gripper")
    assert send(client, targets, robot_picture(), 2 * SECOND).state == Target.SEEN
    client.call(Trigger, "/robotseg/reset", Trigger.Request())
    assert send(client, targets, robot_picture(), 3 * SECOND).state == Target.NOTHING


def test_a_disabled_camera_says_stale_and_refuses(client, running):
    _, targets = running
    ask(client, "the gripper")
    send(client, targets, robot_picture(), 2 * SECOND)
    client.call(SetBool, "/robotseg/enable", SetBool.Request(data=False))
    wait_until(lambda: targets[-1].state == Target.STALE, "STALE")
    reply = ask(client, "the arm")
    assert reply.answer == Instruct.Response.REFUSED and "disabled" in reply.message
    client.call(SetBool, "/robotseg/enable", SetBool.Request(data=True))
    client.wait_for_camera_subscriber()
    assert send(client, targets, robot_picture(), 3 * SECOND).state == Target.NOTHING


def test_before_the_first_image_it_is_refused(client, start_segmenter):
    start_segmenter(FakeModel())
    reply = ask(client, "the gripper")
    assert reply.answer == Instruct.Response.REFUSED and "no image" in reply.message


def test_a_request_is_answered_while_the_model_works(client, start_segmenter):
    model = FakeModel()
    start_segmenter(model)
    client.listen("parts")
    client.wait_for_camera_subscriber()
    client.send_until(robot_picture(), SECOND, "parts", 1)
    model.hang = threading.Event()
    steps = len(model.streams[0].steps)
    client.send(robot_picture(), 2 * SECOND)
    wait_until(lambda: len(model.streams[0].steps) > steps, "an image being worked on")
    assert ask(client, "the gripper").answer == Instruct.Response.FOUND
    model.hang.set()


def test_one_of_two_gets_a_memory_from_the_image_it_was_found_on(node):
    session = Session(node, FakeModel())
    published = []
    session.inference.answers._publishers.publish = lambda answer, live: published.append(answer)
    give = lambda stamp: session.inference.process(to_image(header(stamp), two_robots(), "rgb8"), 0)  # noqa: E731
    give(SECOND)
    assert published[-1].followed is None
    reply = session.inference.instructions.ask("the left robot")
    assert reply.image.stamp == SECOND
    give(SECOND + 1)
    followed = published[-1].followed
    assert followed.found == SECOND and followed.target.age == 1
    want = np.ptp(two_robots().astype(int), axis=-1) > 100
    want[:, 160:] = False
    np.testing.assert_array_equal(followed.target.mask.mask > 0, want)


def test_a_failing_model_forgets_the_target(node):
    model = FakeModel()
    session = Session(node, model)
    session.shows(robot_picture(), SECOND)
    session.inference.instructions.ask("the gripper")
    session.shows(robot_picture(), SECOND + 1)
    assert session.inference.instructions.wants_features
    model.broken = True
    session.shows(robot_picture(), SECOND + 2)
    assert not session.inference.instructions.wants_features
    with pytest.raises(RequestError, match="no image"):
        session.inference.instructions.ask("the gripper")


def test_the_margin_grows_and_shrinks_the_target():
    mask = np.zeros((20, 30), bool)
    mask[5:15, 10:20] = True
    target = part_mask("target", mask, 0.7)
    assert apply_to_target(target, "balanced", 3) is target
    grown, shrunk = (apply_to_target(target, policy, 2) for policy in ("inclusive", "exclusive"))
    assert grown.roi == (8, 3, 14, 14) and shrunk.roi == (12, 7, 6, 6)
    assert (grown.score, shrunk.present) == (0.7, True)


class ReadsFeatures:
    """A policy that keeps what it has seen of the encoded frame."""

    name, reads_features = "reads", True

    def __init__(self):
        self.views = []

    def look(self, encoded, parts):
        return (parts.stamp, encoded.size)

    def answer(self, request, view):
        self.views.append(view)
        return PromptSet(Answer.NONE)


def test_a_policy_of_features_answers_on_what_it_saw_of_the_last_image():
    model, policy = FakeModel(), ReadsFeatures()
    instructions, stream = Instructions(model, policy), model.stream()
    # Although nothing is followed: a request may come at any time.
    assert instructions.wants_features and not Instructions(model).wants_features
    for stamp in (SECOND, 2 * SECOND):
        encoded = instructions.encode(robot_picture())
        assert instructions.step(robot_picture(), encoded, stream.step_encoded(encoded, stamp)) is None
    assert instructions.ask("the gripper").prompts.answer is Answer.NONE
    (view,) = policy.views
    assert view.features == (2 * SECOND, (120, 160)) and view.parts.stamp == 2 * SECOND
    instructions.forget()
    with pytest.raises(RequestError, match="no image"):
        instructions.ask("the gripper")
