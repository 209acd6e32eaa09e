# SPDX-License-Identifier: Apache-2.0
"""The rules: what is selected of the automatic masks, and what is said not to be understood."""

import numpy as np
import pytest
from instruct_scenes import BLUE, ORANGE, WHITE, view_of

from robotseg_core.instruct.prompt_set import Answer
from robotseg_core.instruct.request import Request
from robotseg_core.instruct.rules import RulesPolicy
from robotseg_core.instruct.words import Query, query_of

TWO = [(30, WHITE), (150, ORANGE)]
THREE = [(20, WHITE), (90, ORANGE), (170, BLUE)]
FOUND, NONE, UNKNOWN = Answer.FOUND, Answer.NONE, Answer.NOT_UNDERSTOOD


def ask(text, bars):
    view = view_of(bars)
    return RulesPolicy().answer(Request.of(text), view), view


def where(answer):
    """Of each instance the tens of pixels of its middle."""
    return [round((i.box[0] + i.box[2]) / 20) for i in answer.instances]


@pytest.mark.parametrize(
    ("text", "bars", "part", "tens"),
    [
        ("the gripper", TWO[:1], "gripper", [4]),
        ("gripper", TWO, "gripper", [4, 16]),
        ("the left gripper", TWO, "gripper", [4]),
        ("please show me the gripper on the right", TWO, "gripper", [16]),
        ("the right-hand arm", TWO, "arm", [16]),
        ("leftmost robot", TWO, "robot", [4]),
        ("both arms", TWO, "arm", [4, 16]),
        ("all grippers", THREE, "gripper", [2, 10, 18]),
        ("the second robot from the left", THREE, "robot", [10]),
        ("second arm from the right", THREE, "arm", [10]),
        ("the middle robot", THREE, "robot", [10]),
        ("the orange arm", TWO, "arm", [16]),
        ("the blue robot", THREE, "robot", [18]),
        ("the gripper of the left arm", TWO, "gripper", [4]),
        ("the left arm's gripper", TWO, "gripper", [4]),
        ("the end effector of the orange robot", TWO, "gripper", [16]),
        ("the arms on the left side of the image", THREE, "arm", [2, 10]),
        ("segment the robotic manipulator", TWO[:1], "arm", [4]),
        ("the robot without its gripper", TWO[:1], "arm", [4]),
        ("Find the LEFT claw, please!", TWO, "gripper", [4]),
    ],
)
def test_found(text, bars, part, tens):
    answer, view = ask(text, bars)
    assert (answer.answer, answer.part, answer.invert) == (FOUND, part, False)
    assert where(answer) == pytest.approx(tens, abs=1)
    for instance in answer.instances:
        assert not (instance.mask & ~(view.parts[part].mask > 0)).any()


@pytest.mark.parametrize(
    ("colour", "shaded", "other"), [("white", (120, 120, 124), BLUE), ("orange", (104, 68, 40), WHITE)]
)
def test_a_colour_in_shade_is_still_called_so(colour, shaded, other):
    answer, _ = ask(f"the {colour} robot", [(30, shaded), (150, other)])
    assert answer.answer is FOUND and where(answer) == pytest.approx([4], abs=1)
    # The light itself goes before its shade.
    answer, _ = ask(f"the {colour} robot", [(30, shaded), (150, {"white": WHITE, "orange": ORANGE}[colour])])
    assert where(answer) == pytest.approx([16], abs=1)
    assert ask(f"the {colour} robot", [(30, BLUE), (150, BLUE)])[0].answer is NONE


@pytest.mark.parametrize(
    ("text", "bars"),
    [
        ("the gripper", []),
        ("the left arm", TWO[1:]),
        ("right robot", TWO[:1]),
        ("both arms", TWO[:1]),
        ("the blue arm", TWO),
        ("the third robot from the left", TWO),
        ("the middle gripper", TWO),
    ],
)
def test_understood_and_not_in_view(text, bars):
    answer, _ = ask(text, bars)
    assert (answer.answer, answer.instances) == (NONE, ())


@pytest.mark.parametrize(
    "text",
    [
        "the red cup",
        "the arm holding the mug",
        "the open gripper",
        "its own left arm",
        "the gripper nearest to the box",
        "the left right arm",
        "the other arm",
        "hello",
        "'; DROP TABLE masks; --",
        "\u202egripper\x00 rm -rf /",
        "der linke Greifer",
        "the person's hand that is waving",
        "42",
    ],
)
def test_what_is_not_known_is_said(text):
    answer, _ = ask(text, TWO)
    assert answer.answer is UNKNOWN and answer.instances == () and answer.raw


@pytest.mark.parametrize(
    "text",
    ["everything but the robot", "everything except the robot", "the background", "all but the robot",
     "everything that is not the robot"],
)  # fmt: skip
def test_everything_but(text):
    answer, view = ask(text, TWO)
    assert (answer.answer, answer.invert, answer.part) == (FOUND, True, "robot")
    union = np.any([i.mask for i in answer.instances], axis=0)
    np.testing.assert_array_equal(union, view.parts["robot"].mask > 0)


def test_everything_but_the_left_arm():
    answer, _ = ask("everything except the left arm", TWO)
    assert answer.invert and answer.part == "arm" and where(answer) == [3]


def test_more_than_were_asked_for_is_not_understood():
    answer, _ = ask("both robots", THREE)
    assert answer.answer is UNKNOWN and "3 are in view" in answer.raw


def test_two_arms_in_one_piece_cannot_be_told_apart():
    view = view_of(TWO)
    for name in ("arm", "robot"):
        view.parts[name].mask[95:100, 30:160] = 255
    answer = RulesPolicy().answer(Request.of("the left arm"), view)
    assert answer.answer is UNKNOWN and "told apart" in answer.raw
    assert RulesPolicy().answer(Request.of("the left gripper"), view).answer is FOUND


def test_the_part_as_such_is_followed_by_its_own_mask():
    assert ask("the gripper", TWO)[0].automatic
    assert ask("everything but the robot", TWO)[0].automatic
    assert not ask("the left gripper", TWO)[0].automatic


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("i am looking for the gripper", Query("gripper")),
        ("just the left arm, nothing else", Query("arm", side="left")),
        ("there's a robot, take it", Query("robot")),
        ("everything around the gripper", Query("gripper", invert=True)),
        ("not the robot but all the rest", Query("robot", invert=True)),
        ("the whole picture with the left arm taken out", Query("arm", side="left", invert=True)),
        ("the claw in second place from the left", Query("gripper", side="left", rank=2)),
        ("the arm with the white paint", Query("arm", colour="white")),
        ("the robot with no gripper", Query("robot", without="gripper")),
        ("the robot apart from its arm", Query("robot", without="arm")),
    ],
)
def test_what_people_say_around_it_changes_nothing(text, query):
    assert query_of(text) == query
