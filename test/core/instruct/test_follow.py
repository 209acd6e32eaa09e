# SPDX-License-Identifier: Apache-2.0
"""A target through a stream: found, followed, lost, replaced, forgotten; and boxes through the genuine decoder."""

import numpy as np
import pytest
from instruct_scenes import ORANGE, WHITE, view_of
from small_models import moving_frames, small_robotseg

from robotseg_core.instruct.follow import Follower, Following, solve
from robotseg_core.instruct.prompt_set import Answer, Instance, PromptSet
from robotseg_core.instruct.request import Request
from robotseg_core.instruct.rules import RulesPolicy
from robotseg_core.instruct.segmenter import cut_to_box, segment
from robotseg_core.types import MaskPrompt

TWO = [(30, WHITE), (150, ORANGE)]


@pytest.fixture(scope="module")
def robotseg():
    return small_robotseg()


@pytest.fixture(scope="module")
def absent_robotseg():
    return small_robotseg(object_bias=-1000.0)


def ask(robotseg, text, bars=TWO):
    view = view_of(bars)
    follower = Follower(robotseg)
    (encoded,) = robotseg.encode_frames([view.rgb])
    return follower, encoded, view, solve(RulesPolicy(), Request.of(text), follower, view.rgb, encoded, view.parts)


def test_a_part_as_such_is_its_own_mask_frame_by_frame(robotseg):
    follower, encoded, view, (prompts, target) = ask(robotseg, "the gripper")
    assert (prompts.answer, target.state, target.age, target.stamp) == (Answer.FOUND, Following.SEEN, 0, 1)
    np.testing.assert_array_equal(target.mask.mask, view.parts["gripper"].mask)
    gone = view_of([])
    lost = follower.step(encoded, gone.parts)
    assert (lost.state, lost.age, lost.mask.area) == (Following.LOST, 1, 0)
    back = follower.step(encoded, view.parts)
    assert (back.state, back.age) == (Following.SEEN, 2)


def test_everything_but_the_robot_is_all_where_there_is_none(robotseg):
    follower, encoded, view, (_, target) = ask(robotseg, "everything but the robot")
    np.testing.assert_array_equal(target.mask.mask, 255 - view.parts["robot"].mask)
    lost = follower.step(encoded, view_of([]).parts)
    assert lost.state is Following.LOST and lost.mask.area == lost.mask.mask.size


def test_one_of_two_has_a_memory_of_its_own(robotseg):
    follower, encoded, view, (prompts, target) = ask(robotseg, "the left arm")
    assert target.mask.roi == (30, 50, 10, 50)
    step = follower.step(encoded, view.parts)
    # As a stream that was given this mask says on the next frame.
    stream = robotseg.target_stream()
    stream.prompt(MaskPrompt("robot", target.mask.mask))
    stream.step_encoded(encoded.again(), 1)
    want = stream.step_encoded(encoded.again(), 1)["robot"]
    np.testing.assert_array_equal(step.mask.mask, want.mask)
    assert step.request.text == "the left arm" and step.age == 1


def test_the_memory_of_a_lost_target_is_kept_and_never_rebuilt(absent_robotseg):
    follower, encoded, view, (_, target) = ask(absent_robotseg, "the left arm")
    assert target.state is Following.SEEN
    for frame in moving_frames(25, *view.rgb.shape[:2]):
        (encoded,) = absent_robotseg.encode_frames([frame])
        step = follower.step(encoded, view.parts)
        assert step.state is Following.LOST and step.mask.area == 0
    assert bool(follower._stream.bank.started.all())


@pytest.mark.parametrize(("text", "answer"), [("the blue arm", Answer.NONE), ("the red cup", Answer.NOT_UNDERSTOOD)])
def test_what_is_not_found_ends_the_following(robotseg, text, answer):
    follower, encoded, view, _ = ask(robotseg, "the left arm")
    prompts, target = solve(RulesPolicy(), Request.of(text), follower, view.rgb, encoded, view.parts)
    assert (prompts.answer, target) == (answer, None)
    assert not follower.following
    assert follower.step(encoded, view.parts) is None


def test_a_new_request_replaces_the_target_and_forget_ends_it(robotseg):
    follower, encoded, view, _ = ask(robotseg, "the left arm")
    _, target = solve(RulesPolicy(), Request.of("the right arm"), follower, view.rgb, encoded, view.parts)
    assert target.mask.roi == (150, 50, 10, 50) and target.age == 0
    follower.forget()
    assert follower.step(encoded, view.parts) is None


def test_the_stream_beside_it_answers_as_without_it(robotseg):
    frames = moving_frames(4)
    alone = [robotseg.stream() for _ in range(1)][0]
    want = [alone.step(frame, i) for i, frame in enumerate(frames)]
    stream, follower = robotseg.stream(), Follower(robotseg)
    for i, frame in enumerate(frames):
        (encoded,) = robotseg.encode_frames([frame])
        result = stream.step_encoded(encoded, i)
        if i == 1:
            mask = np.zeros(frame.shape[:2], bool)
            mask[10:30, 10:40] = True
            prompts = PromptSet(Answer.FOUND, (Instance((10, 10, 39, 29), mask=mask),))
            follower.follow(Request.of("this"), prompts, encoded, i)
        else:
            follower.step(encoded, result)
        for part, other in zip(result.parts, want[i].parts, strict=True):
            np.testing.assert_array_equal(part.mask, other.mask)


def test_boxes_and_points_go_through_the_decoder_and_their_masks_are_united(robotseg):
    frame = moving_frames(1)[0]
    (encoded,) = robotseg.encode_frames([frame])
    left, right = Instance((2, 2, 30, 50), ((10.0, 20.0),), (1,)), Instance((40, 5, 70, 55))
    alone = [segment(robotseg, encoded, PromptSet(Answer.FOUND, (one,))) for one in (left, right)]
    both = segment(robotseg, encoded, PromptSet(Answer.FOUND, (left, right)))
    np.testing.assert_array_equal(both, alone[0] | alone[1])
    # The same as a stream's first frame with this box.
    assert both.shape == frame.shape[:2] and both.dtype == bool
    assert not segment(robotseg, encoded, PromptSet(Answer.NONE)).any()


def test_a_mask_ends_at_its_box(robotseg):
    (encoded,) = robotseg.encode_frames([moving_frames(1)[0]])
    mask = segment(robotseg, encoded, PromptSet(Answer.FOUND, (Instance((20, 10, 45, 35)),)))
    # Of 25 pixels 4 % is one, and the pixel of the border counts as the box's.
    assert mask[:, :19].sum() == mask[:, 47:].sum() == mask[:9].sum() == mask[37:].sum() == 0
    full = np.ones((60, 80), bool)
    cut_to_box(full, (20, 10, 45, 35))
    assert full[10:36, 20:46].all() and full.sum() == 28 * 28
    whole = np.ones((60, 80), bool)
    cut_to_box(whole, (-5, -5, 200, 200))
    assert whole.all()


def test_a_mask_of_another_size_is_refused(robotseg):
    (encoded,) = robotseg.encode_frames(moving_frames(1))
    wrong = PromptSet(Answer.FOUND, (Instance((0, 0, 3, 3), mask=np.ones((5, 5), bool)),))
    with pytest.raises(ValueError, match=r"mask is \(5, 5\), its frame is \(60, 80\)"):
        segment(robotseg, encoded, wrong)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"box": (5, 5, 5, 9)}, "x0 < x1"),
        ({"box": (0, 0, float("nan"), 9)}, "finite"),
        ({"box": None}, "needs a box"),
        ({"box": None, "points": ((1, 1),), "labels": (0,)}, "needs a box"),
        ({"box": (0, 0, 2, 2), "points": ((1, 1),), "labels": ()}, "1 points and 0 labels"),
        ({"box": (0, 0, 2, 2), "points": ((1, 1),), "labels": (3,)}, "must be 0 or 1"),
    ],
)
def test_bad_instances_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        Instance(**arguments)


def test_answers_have_as_many_instances_as_they_say():
    with pytest.raises(ValueError, match="FOUND has 0 instances, must have 1 to 4"):
        PromptSet(Answer.FOUND)
    with pytest.raises(ValueError, match="NONE has 1 instances, must have none"):
        PromptSet(Answer.NONE, (Instance((0, 0, 1, 1)),))
