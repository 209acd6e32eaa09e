# SPDX-License-Identifier: Apache-2.0
"""Rewards: worked numbers, and which trivial answers earn nothing."""

import json
from pathlib import Path

import numpy as np
import pytest

from robotseg_core.instruct.prompt_set import Answer
from robotseg_core.train.language.rewards import Given, RewardSettings, Wanted, paper_reward, released_reward, reward

FILE = Path(__file__).resolve().parents[5] / "shared" / "reference" / "segr1_metrics.json"
CASES = json.loads(FILE.read_text())["cases"] if FILE.is_file() else []
EMPTY, LEFT, RIGHT = np.zeros((3, 20, 30), bool)
LEFT[5:15, 3:9] = True
RIGHT[5:15, 20:26] = True


@pytest.mark.skipif(not CASES, reason="../shared/reference is not beside this checkout")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_worked_numbers(case):
    mask, truth = np.array(case["pred_u8"]) > 127, np.array(case["gt_u8"]) > 128
    assert paper_reward(mask, truth) == pytest.approx(case["binary"]["reward_paper"], abs=1e-9)
    assert released_reward(mask, truth) == pytest.approx(case["binary"]["reward_as_released"], abs=1e-9)


def found(mask, count=1, invert=False):
    return Given(Answer.FOUND, mask, count, invert)


def test_a_perfect_mask_earns_one():
    assert reward(found(LEFT), Wanted(LEFT)) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "given", [Given(Answer.NONE), Given(Answer.NOT_UNDERSTOOD), found(EMPTY), found(LEFT, invert=True)]
)
def test_an_empty_answer_earns_nothing_where_there_is_a_target(given):
    assert reward(given, Wanted(LEFT)) == 0
    # The paper's reward pays for it.
    assert paper_reward(EMPTY, LEFT) > 0.1


def test_absent_targets():
    assert reward(Given(Answer.NONE), Wanted(EMPTY)) == 1
    assert reward(found(LEFT), Wanted(EMPTY)) == 0
    assert reward(Given(Answer.NOT_UNDERSTOOD), Wanted(EMPTY)) == 0


def test_another_candidate_costs():
    both = LEFT | RIGHT
    free, fined = reward(found(both), Wanted(LEFT)), reward(found(both), Wanted(LEFT, RIGHT))
    assert free - fined == pytest.approx(0.2 * 0.5)
    assert reward(found(RIGHT), Wanted(LEFT, RIGHT)) < 0.15


def test_exclusions_are_scored_before_the_inversion_and_several_by_their_number():
    assert reward(found(LEFT, invert=True), Wanted(LEFT, invert=True)) == pytest.approx(1.0)
    both = Wanted(LEFT | RIGHT, count=2)
    assert reward(found(LEFT | RIGHT, 2), both) - reward(found(LEFT | RIGHT, 1), both) == pytest.approx(0.1)


def test_form_is_paid_apart():
    settings = RewardSettings(form=1.0)
    assert reward(Given(Answer.NOT_UNDERSTOOD, form=0.0), Wanted(LEFT), settings) == 0
    assert reward(found(LEFT), Wanted(LEFT), settings) == pytest.approx(2.0)
