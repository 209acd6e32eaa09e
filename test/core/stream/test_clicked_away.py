# SPDX-License-Identifier: Apache-2.0
"""Clicks on a stream: which of two robots is meant, and what is no robot at all; the answers are made by hand."""

import numpy as np
import pytest

from robotseg_core.masks.excluded import FORGET_AFTER
from robotseg_core.stream.policy import POLICIES, REFERENCE, StreamPolicy
from robotseg_core.types import PARTS, MaskPrompt, Prompt, PromptKind, State

HEIGHT, WIDTH = 96, 128
FRAME = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
CHOOSES = StreamPolicy(min_coverage=0.0, clicks_refine=True, clicks_choose=True)
LEFT, RIGHT, BESIDE = (32.0, 48.0), (102.0, 53.0), (70.0, 5.0)


def click(xy, label=1, part="robot"):
    return Prompt(part, PromptKind.POINT, xy, label)


def off(xy):
    """As a user has to: for every part that is marked there."""
    return [click(xy, 0, part) for part in PARTS]


def at(result, part="robot"):
    """Whether the robot on the left, and the one on the right, is marked."""
    return tuple(bool(result[part].mask[int(y), int(x)]) for x, y in (LEFT, RIGHT))


def test_a_click_means_one_robot_and_goes_on_meaning_it(robotseg, told):
    stream = robotseg.stream(CHOOSES)
    assert at(stream.step(FRAME)) == (True, True)
    stream.prompt(click(RIGHT))
    for _ in range(FORGET_AFTER + 5):
        result = stream.step(FRAME)
        assert at(result) == at(result, "arm") == (False, True) and result.state is State.TRACKING


def test_it_is_followed_while_both_move_and_where_they_meet(robotseg, told):
    stream = robotseg.stream(CHOOSES)
    stream.prompt(click(RIGHT))
    stream.step(FRAME)
    for step in range(1, 16):
        told[0] = (0.1 + 0.02 * step, 0.1, 0.4 + 0.02 * step, 0.9)
        mask = stream.step(FRAME)["robot"].mask > 0
        # At last they touch; the border between them may be a cell off.
        assert mask[40:70, 94:112].all() and not mask[:, :82].any(), step


def test_what_is_clicked_off_is_gone_and_stays_away(robotseg, told):
    stream = robotseg.stream(CHOOSES)
    stream.step(FRAME)
    result = stream.correct(*off(RIGHT))
    assert at(result) == (True, False)
    for _ in range(10):
        assert at(stream.step(FRAME)) == (True, False)


def test_a_hint_before_a_step_does_the_same(robotseg, told):
    stream = robotseg.stream(CHOOSES)
    stream.step(FRAME)
    for hint in off(RIGHT):
        stream.prompt(hint)
    assert at(stream.step(FRAME)) == at(stream.step(FRAME)) == (True, False)


def test_what_is_all_that_is_marked_leaves_no_robot_in_view(robotseg, told):
    told[:] = [(0.7, 0.4, 0.8, 0.5)]
    stream = robotseg.stream(CHOOSES)
    xy = (96.0, 43.0)
    assert stream.step(FRAME)["robot"].present
    for answer in (stream.correct(*off(xy)), stream.step(FRAME), stream.step(FRAME)):
        assert not any(part.present for part in answer.parts) and answer.state is State.LOST
    told.append((0.1, 0.1, 0.4, 0.9))
    assert at(stream.step(FRAME)) == (True, False)


def test_a_correction_that_is_taken_back_takes_nothing_away(robotseg, told):
    stream = robotseg.stream(CHOOSES)
    stream.step(FRAME)
    stream.correct(*off(RIGHT))
    stream.discard()
    assert at(stream.step(FRAME)) == (True, True)


@pytest.mark.parametrize("how", ["reset", "of the part", "a mask", "a click on it"])
def test_what_was_taken_away_comes_back(robotseg, told, how):
    stream = robotseg.stream(CHOOSES)
    stream.step(FRAME)
    stream.correct(*off(RIGHT))
    assert at(stream.step(FRAME)) == (True, False)
    both = np.zeros((HEIGHT, WIDTH), bool)
    for x0, y0, x1, y1 in told:
        both[round(y0 * HEIGHT) : round(y1 * HEIGHT), round(x0 * WIDTH) : round(x1 * WIDTH)] = True
    if how == "reset":
        stream.reset()
    for part in PARTS:
        if how == "of the part":
            stream.prompt(Prompt(part, PromptKind.RESET))
        elif how == "a mask":
            stream.prompt(MaskPrompt(part, both))
        elif how == "a click on it":
            stream.prompt(click(LEFT, part=part))
            stream.prompt(click(RIGHT, part=part))
    stream.step(FRAME)
    assert at(stream.step(FRAME)) == (True, True)


def test_what_is_remembered_for_long_is_forgotten(robotseg, told):
    stream = robotseg.stream(StreamPolicy(min_coverage=0.0, clicks_choose=True, refresh_after=4))
    stream.prompt(click(LEFT))
    seen = [at(stream.step(FRAME)) for _ in range(5)]
    assert seen == 4 * [(True, False)] + [(True, True)]


def test_clicks_beside_all_masks_take_nothing_away(robotseg, told):
    stream = robotseg.stream(CHOOSES)
    stream.step(FRAME)
    assert at(stream.correct(*off(BESIDE))) == (True, True)
    stream.prompt(click(BESIDE))
    assert at(stream.step(FRAME)) == at(stream.step(FRAME)) == (True, True)


def test_one_part_alone_is_told_of(robotseg, told):
    stream = robotseg.stream(CHOOSES)
    stream.step(FRAME)
    stream.correct(click(RIGHT, 0, "gripper"))
    result = stream.step(FRAME)
    assert at(result) == (True, True) and not at(result, "gripper")[1]


def test_a_click_on_an_arm_leaves_its_other_pieces_no_gripper(robotseg, told):
    stream = robotseg.stream(CHOOSES)
    before = stream.step(FRAME)
    stream.prompt(click(RIGHT, part="arm"))
    after = stream.step(FRAME)
    assert np.array_equal(before["arm"].mask, after["arm"].mask)
    # Of grippers the other one is arm then.
    stream.prompt(click(RIGHT, part="gripper"))
    result = stream.step(FRAME)
    assert at(result) == (True, True) and at(result, "arm")[0] and not at(result, "gripper")[0]


def test_nano_chooses_in_words_too_and_the_reference_does_not(robotseg, told):
    assert POLICIES["nano"].clicks_choose
    assert not (REFERENCE.clicks_choose or POLICIES["base"].clicks_choose or StreamPolicy().clicks_choose)
    stream = robotseg.stream(StreamPolicy(min_coverage=0.0))
    stream.prompt(click(RIGHT))
    assert at(stream.step(FRAME)) == (True, True)
