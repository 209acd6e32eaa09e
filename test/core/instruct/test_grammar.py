# SPDX-License-Identifier: Apache-2.0
"""Answers of Seg-R1: what is read of well-formed and malformed ones, and what prompts they become."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robotseg_core.instruct.grammar import MAX_ANSWER, parse, to_prompts
from robotseg_core.instruct.prompt_set import MAX_INSTANCES, Answer

CASES = Path(__file__).resolve().parents[4] / "shared" / "reference" / "segr1_metrics.json"


def worked():
    if not CASES.is_file():
        reason = pytest.mark.skip(reason="../shared/reference is not beside this checkout")
        return [pytest.param({}, id="absent", marks=reason)]
    return [pytest.param(case, id=case["name"]) for case in json.loads(CASES.read_text())["grammar"]]


@pytest.mark.parametrize("case", worked())
def test_worked_strings(case):
    parsed = parse(case["text"])
    for name in ("boxes", "points"):
        want = case[name]
        assert getattr(parsed, name) == (None if want is None else tuple(tuple(v) for v in want))
    assert parsed.labels == (None if case["labels"] is None else tuple(case["labels"]))
    assert parsed.format_reward == case["format_reward"]
    assert parsed.points_format_reward == case["format_reward_points_only_stage"]
    assert parsed.scored is case["mask_scored_in_training"]
    assert parsed.usable is case["mask_made_in_evaluation"]
    if case["point_indices_kept_per_box"] is not None:
        assert parsed.kept() == tuple(tuple(v) for v in case["point_indices_kept_per_box"])


def test_what_matches_but_is_no_list_drops_everything():
    for points in ("[[10,10] [20,20]]", "[[010,10]]"):
        parsed = parse(f"<think></think><bbox>[0,0,9,9]</bbox><points>{points}</points><labels>[1,1]</labels>")
        assert (parsed.boxes, parsed.points, parsed.labels) == (None, None, None)


def test_trailing_commas_are_tolerated():
    parsed = parse("<bbox>[0,0,9,9,]</bbox><points>[[1,2,],[3,4],]</points><labels>[1,0,]</labels>")
    assert parsed.boxes == ((0, 0, 9, 9),)
    assert parsed.points == ((1, 2), (3, 4))
    assert parsed.labels == (1, 0)


def test_coordinates_are_mapped_to_the_frame_and_corners_put_in_order():
    text = "<bbox>[384,768,0,0]</bbox><points>[[0,0]]</points><labels>[1]</labels>"
    answer = to_prompts(text, (640, 480), (768, 768))
    (instance,) = answer.instances
    assert instance.box == (0, 0, 320, 479)
    assert instance.points == ()


def test_points_go_with_every_box_that_holds_them_and_strange_labels_go():
    text = (
        "<bbox>[0,0,50,50]</bbox><bbox>[40,40,90,90]</bbox>"
        "<points>[[45,45],[80,80],[10,10],[200,200]]</points><labels>[1,0,3,1]</labels>"
    )
    first, second = to_prompts(text, (100, 100), (100, 100)).instances
    assert (first.points, first.labels) == (((45, 45),), (1,))
    assert (second.points, second.labels) == (((45, 45), (80, 80)), (1, 0))


def test_points_alone_are_one_instance_and_negative_ones_alone_are_nothing():
    (one,) = to_prompts("<points>[[4,5],[6,7]]</points><labels>[1,0]</labels>", (10, 10), (10, 10)).instances
    assert one.box is None and one.points == ((4, 5), (6, 7))
    nothing = to_prompts("<points>[[4,5]]</points><labels>[0]</labels>", (10, 10), (10, 10))
    assert nothing.answer is Answer.NOT_UNDERSTOOD


def test_boxes_beyond_the_limit_and_outside_the_frame_are_left_out():
    text = "<bbox>[500,500,600,600]</bbox>" + "<bbox>[1,1,5,5]</bbox>" * 9
    assert len(to_prompts(text, (10, 10), (10, 10)).instances) == MAX_INSTANCES


def test_hostile_answers_cost_no_more_than_their_length():
    spaces = " " * 200
    bombs = [
        "<points>[" + f"[1,1]{spaces}" * 200,
        "<labels>[" + "1 , " * 9000,
        "<think>" * 9000,
        "<bbox>[" + "9" * 30000 + ",1,2,3]</bbox>",
        "<points>" * 8000,
    ]
    # Exponential backtracking would not come back.
    for bomb in bombs:
        assert parse(bomb).boxes is None
    assert parse("x" * MAX_ANSWER + "<bbox>[1,2,3,4]</bbox>").boxes is None


@given(st.text(max_size=300) | st.from_regex(r"(<bbox>|\[|\]|,|\d|<points>|</points>|</bbox>|<labels>){0,60}"))
def test_no_answer_raises(text):
    answer = to_prompts(text, (64, 48), (768, 768))
    assert answer.answer in (Answer.FOUND, Answer.NOT_UNDERSTOOD)


boxes = st.lists(st.tuples(*[st.integers(0, 1000)] * 4), min_size=1, max_size=4)
points = st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000), st.integers(0, 1)), min_size=1, max_size=8)


@given(boxes, points)
def test_written_answers_are_read_again(boxes, points):
    text = "<think>so</think> " + ", ".join(f"<bbox>{list(box)}</bbox>" for box in boxes)
    text += f", <points>{[list(p[:2]) for p in points]}</points>, <labels>{[p[2] for p in points]}</labels>"
    parsed = parse(text)
    assert parsed.boxes == tuple(boxes)
    assert parsed.points == tuple(p[:2] for p in points)
    assert parsed.labels == tuple(p[2] for p in points)
    assert parsed.format_reward == 1
