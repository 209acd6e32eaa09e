# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch
from small_models import SMALL, small_model

from robotseg_core.model.robotseg_model import Features
from robotseg_core.train.data.prompts import NUMBERS, box, click, correction, draw_mode, pick_cell
from robotseg_core.train.unroll import decode_first, give_mask, repeat_parts


def square() -> torch.Tensor:
    """Two rows of 16 x 16 cells: a part in cells 6..9 x 4..7, and none."""
    inside = torch.zeros(2, 16, 16, dtype=torch.bool)
    inside[0, 4:8, 6:10] = True
    return inside


def uniform(rows: int, count: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(rows, count, generator=torch.Generator().manual_seed(seed))


def test_shares_of_the_modes_are_the_published_ones():
    rng = np.random.default_rng(0)
    modes = [draw_mode(rng, 0.4, video=True) for _ in range(4000)]
    shares = {mode: modes.count(mode) / len(modes) for mode in ("auto", "mask", "click", "box")}
    assert shares == pytest.approx({"auto": 0.4, "mask": 0.2, "click": 0.2, "box": 0.2}, abs=0.03)
    assert "mask" not in {draw_mode(rng, 0.4, video=False) for _ in range(200)}
    assert {draw_mode(rng, 1.0, video=True) for _ in range(50)} == {"auto"}


def test_every_cell_is_as_likely_as_any_other():
    inside = square()[:1].expand(1600, -1, -1)
    u = (torch.arange(1600) / 1600).float()
    coords = pick_cell(inside, u, 4.0)[:, 0]
    cells, counts = coords.unique(dim=0, return_counts=True)
    assert len(cells) == 16 and counts.tolist() == [100] * 16
    # Centres: cells 6..9 of four pixels have theirs at 25.5 .. 37.5.
    assert cells[:, 0].unique().tolist() == [25.5, 29.5, 33.5, 37.5]
    assert cells[:, 1].unique().tolist() == [17.5, 21.5, 25.5, 29.5]


def test_clicks_lie_on_their_part():
    for seed in range(20):
        coords, labels = click(square(), uniform(2, 1, seed)[:, 0], 64)
        x, y = (coords[0, 0] / 4).int().tolist()
        assert square()[0, y, x] and labels.tolist() == [[1], [-1]]


def test_boxes_are_off_by_a_tenth_of_the_side_at_most():
    exact, labels = box(square(), torch.full((2, 4), 0.5), 64)
    assert exact[0].tolist() == [[24, 16], [40, 32]] and labels.tolist() == [[2, 3], [-1, -1]]
    low, _ = box(square(), torch.zeros(2, 4), 64)
    # A tenth of 16 pixels is 1.6; the limit of 20 pixels in 1024 is 1.25 in 64.
    assert low[0].tolist() == [[22.75, 14.75], [38.75, 30.75]]
    small = torch.zeros(1, 256, 256, dtype=torch.bool)
    small[:, 100:105, 100:105] = True
    noisy, _ = box(small, torch.ones(1, 4), 1024)
    assert noisy[0].tolist() == [[402, 402], [422, 422]]


def test_corrections_go_where_the_answer_is_wrong():
    truth = square()
    missed, too_much = torch.zeros_like(truth), truth.clone()
    too_much[0, 12:, :4] = True
    sure = torch.tensor([[0.3, 0.5], [0.3, 0.5]])
    coords, labels = correction(missed, truth, sure, 64)
    x, y = (coords[0, 0] / 4).int().tolist()
    assert truth[0, y, x] and labels[0].tolist() == [1]
    # The second row's part is absent and nothing was found: a click off it.
    assert labels[1].tolist() == [0]
    coords, labels = correction(too_much, truth, sure, 64)
    x, y = (coords[0, 0] / 4).int().tolist()
    assert too_much[0, y, x] and not truth[0, y, x] and labels[0].tolist() == [0]
    # Right everywhere: off the part; but one in ten is drawn as if nothing had been found.
    assert correction(truth, truth, sure, 64)[1][0].tolist() == [0]
    assert correction(truth, truth, torch.tensor([[0.3, 0.05], [0.3, 0.5]]), 64)[1][0].tolist() == [1]


def test_a_part_that_fills_the_picture_and_was_found_has_no_correction():
    full = torch.ones(1, 4, 4, dtype=torch.bool)
    assert correction(full, full, torch.tensor([[0.9, 0.9]]), 16)[1].tolist() == [[-1]]


def features(model, rows: int) -> Features:
    with torch.no_grad():
        return repeat_parts(model.encode(torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))))


@pytest.mark.parametrize(("mode", "passes", "points"), [("auto", 1, 0), ("click", 4, 1), ("box", 4, 2)])
def test_a_click_or_a_box_is_followed_by_three_corrections(mode, passes, points, monkeypatch):
    model = small_model()
    seen = []
    decode = model.decode

    def spy(*arguments, points=None, mask_logits=None):
        seen.append((0 if points is None else points[1].shape[1], mask_logits is not None))
        return decode(*arguments, points=points, mask_logits=mask_logits)

    monkeypatch.setattr(model, "decode", spy)
    frame = features(model, 3)
    coverage = torch.zeros(3, 16, 16)
    coverage[:, 4:8, 4:8] = 1
    result = decode_first(model, frame, model.initial(frame, 3), torch.arange(3), mode, coverage, uniform(3, NUMBERS))
    assert len(result) == passes
    # Each correction adds a point and brings the mask before it.
    assert seen == [(points + k, k > 0) for k in range(passes)]
    assert [decoded.multimask for decoded in result] == [points <= 1] + [False] * (passes - 1)


def test_a_given_mask_is_what_a_session_makes_of_it():
    from robotseg_core.stream.session import Session, encode_frame

    model = small_model()
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    coverage = torch.zeros(3, 16, 16)
    coverage[0, 4:12, 4:12] = 1
    with torch.no_grad():
        logits, pointer, seen = give_mask(model, features(model, 3), coverage)
        for row in range(2):
            large = torch.nn.functional.interpolate(coverage[row][None, None], (64, 64), mode="bilinear")[0, 0] >= 0.5
            expected = Session(model, 0).prompt_mask(0, encode_frame(model, image), large)
            torch.testing.assert_close(logits[row : row + 1], expected.logits, rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(pointer[row : row + 1], expected.pointer, rtol=1e-4, atol=1e-4)
            assert float(seen[row]) == float(expected.object_logit)


def test_grid_of_the_small_model_is_what_the_tests_assume():
    assert SMALL.image_size == 64
