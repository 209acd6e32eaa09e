# SPDX-License-Identifier: Apache-2.0
"""Metrics of language: the worked numbers of SEGR1 9, the public package where it is finite, rules for empty masks."""

import json
from pathlib import Path

import numpy as np
import pytest

from robotseg_core.evaluation.language.foreground import e_mask, nearest, score
from robotseg_core.evaluation.language.referring import score_request, summarise
from robotseg_core.evaluation.language.structure import cut, normalised, object_term, region_term, s_measure

FILE = Path(__file__).resolve().parents[5] / "shared" / "reference" / "segr1_metrics.json"
DATA = json.loads(FILE.read_text()) if FILE.is_file() else {"cases": []}
needs_file = pytest.mark.skipif(not DATA["cases"], reason="../shared/reference is not beside this checkout")

A_TRUTH = "0000000000/0000000000/0001111000/0001111000/0001111000/0001111000/0000000000/0000000000"
A_MASK = "0000000000/0000000000/0000000000/0000111100/0000111100/0000111100/0000111100/0000000000"


def mask(text):
    return np.array([[c == "1" for c in row] for row in text.split("/")])


def test_the_shifted_box_of_the_specification():
    g, p = mask(A_TRUTH), mask(A_MASK)
    found = score(p, g)
    assert found.s == pytest.approx(0.596775697830, abs=1e-11)
    assert object_term(normalised(p), g) == pytest.approx(0.799098376092, abs=1e-11)
    assert region_term(normalised(p), g) == pytest.approx(0.394453019568, abs=1e-11)
    assert cut(g) == (5, 5)
    assert found.e.adaptive == pytest.approx(0.847860365293, abs=1e-11)
    assert found.e.mean == pytest.approx(0.845537334792, abs=1e-11)
    assert found.f.adaptive == pytest.approx(0.5625, abs=1e-11)
    assert found.weighted_f == pytest.approx(0.652883415822, abs=1e-3)
    assert found.mae == pytest.approx(0.175, abs=1e-11)
    one = score_request(p, g, None, scene="a", family="part", said_none=False)
    assert (one.intersection, one.union) == (9, 23)


@needs_file
@pytest.mark.parametrize("case", DATA["cases"], ids=lambda case: case["name"])
def test_worked_numbers(case):
    pred, truth = np.array(case["pred_u8"], np.uint8), np.array(case["gt_u8"], np.uint8)
    found, want = score(pred, truth), case["expected"]
    got = {
        "s_measure": found.s,
        "e_adaptive": found.e.adaptive,
        "e_mean": found.e.mean,
        "e_max": found.e.maximum,
        "f_adaptive": found.f.adaptive,
        "f_mean": found.f.mean,
        "f_max": found.f.maximum,
        "mae": found.mae,
    }
    assert got == pytest.approx({name: want[name] for name in got}, abs=1e-9)
    low, high = want["weighted_f_over_flips"]
    assert low - 2e-3 <= found.weighted_f <= high + 2e-3
    if "s_parts" in case:
        p, g, parts = normalised(pred), truth > 128, case["s_parts"]
        assert object_term(p, g) == pytest.approx(parts["object_term"], abs=1e-9)
        assert region_term(p, g) == pytest.approx(parts["region_term"], abs=1e-9)
        assert cut(g) == (parts["split_row"], parts["split_col"])
    b = case["binary"]
    one = score_request(pred > 127, truth > 128, None, scene="", family="", said_none=False)
    assert (one.intersection, one.union) == (b["intersection"], b["union"])
    assert s_measure((pred > 127).astype(float), truth > 128) == pytest.approx(b["s_measure"], abs=1e-9)


@needs_file
@pytest.mark.parametrize("which", [0, 1])
def test_worked_numbers_of_sets(which):
    want = DATA["data_set_level"][which]
    cases = [c for c in DATA["cases"] if (c["main"] if which == 0 else c["name"] != "target_on_last_row")]
    scores = [
        score_request(
            np.array(c["pred_u8"]) > 127, np.array(c["gt_u8"]) > 128, None, scene=c["name"], family="", said_none=False
        )
        for c in cases
    ]
    summary = summarise(scores)
    assert summary.ciou == pytest.approx(want["cIoU"], abs=1e-9)
    assert summary.giou == pytest.approx(want["gIoU_no_target_rule_1"], abs=1e-9)
    assert summary.low <= summary.giou <= summary.high


def test_nearest_pixels_are_the_nearest():
    rng = np.random.default_rng(1)
    g = rng.random((13, 17)) < 0.08
    distance, number = nearest(g)
    true = np.argwhere(g)
    for y in range(13):
        for x in range(17):
            want = np.hypot(*(true - (y, x)).T).min()
            assert distance[y, x] == pytest.approx(want)
            row, column = divmod(int(number[y, x]), 17)
            assert g[row, column] and np.hypot(row - y, column - x) == pytest.approx(want)


def test_an_empty_mask_of_an_empty_truth_is_right():
    empty = np.zeros((5, 6), bool)
    assert e_mask(empty, empty) == pytest.approx(30 / 29)
    one = score_request(empty, empty, None, scene="a", family="absent", said_none=True)
    assert one.iou == 1 and one.absent
    assert score_request(~empty, empty, None, scene="a", family="absent", said_none=False).iou == 0


def test_a_whole_truth_and_a_wrong_candidate():
    left, right = np.zeros((2, 6, 10), bool)
    left[:, :4], right[:, 6:] = True, True
    wrong = score_request(right, left, right, scene="a", family="side", said_none=False)
    good = score_request(left, left, right, scene="b", family="side", said_none=False)
    none = score_request(left & right, left & right, None, scene="b", family="absent", said_none=False)
    summary = summarise([wrong, good, none])
    assert wrong.wrong and not good.wrong
    assert (summary.wrong, summary.t_acc, summary.n_acc, summary.count) == (0.5, 1.0, 0.0, 3)
    assert summary.giou == pytest.approx((0 + 1 + 1) / 3)


def test_shapes_must_be_equal():
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(3, 2\)"):
        s_measure(np.zeros((2, 3)), np.ones((3, 2), bool))
