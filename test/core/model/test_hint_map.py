# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses

import torch

from robotseg_core.config import NANO
from robotseg_core.model.hint_map import BOX_LOGIT, CLICK_LOGIT, RADIUS, hint_map
from robotseg_core.model.robotseg_model import RobotSegModel


def at(x: float, y: float) -> tuple[int, int]:
    """Row and column of the cell that holds a pixel."""
    return int((y + 0.5) // 4), int((x + 0.5) // 4)


def test_clicks_are_disks_around_their_pixels() -> None:
    coords, labels = torch.tensor([[[40.0, 80.0], [100.0, 20.0], [70.0, 70.0]]]), torch.tensor([[1, 0, -1]])
    found = hint_map(coords, labels, None, 32)[0, 0]
    assert found[at(40, 80)] == CLICK_LOGIT and found[at(100, 20)] == -CLICK_LOGIT
    assert found[at(70, 70)] == 0, "a point that is none leaves nothing"
    assert found[at(40 + 2 * RADIUS, 80)] == 0
    cells = (found == CLICK_LOGIT).sum() * 16
    assert 0.6 < cells / (3.1416 * RADIUS**2) < 1.4


def test_a_box_is_what_lies_inside_it_and_what_does_not() -> None:
    coords, labels = torch.tensor([[[20.0, 30.0], [90.0, 110.0]]]), torch.tensor([[2, 3]])
    found = hint_map(coords, labels, None, 32)[0, 0]
    assert found[at(50, 60)] == BOX_LOGIT and found[at(5, 60)] == -BOX_LOGIT and found[at(50, 120)] == -BOX_LOGIT
    # A row without a box is not touched by its neighbour's.
    both = hint_map(coords.repeat(2, 1, 1), torch.tensor([[2, 3], [-1, -1]]), None, 32)
    assert torch.equal(both[0, 0], found) and not both[1].any()


def test_the_mask_so_far_stays_where_nothing_was_clicked() -> None:
    before = torch.randn(1, 1, 32, 32)
    coords, labels = torch.tensor([[[40.0, 80.0], [10.0, 10.0], [60.0, 60.0]]]), torch.tensor([[1, 2, 3]])
    found = hint_map(coords, labels, before, 32)
    marked = found == CLICK_LOGIT
    assert marked.any() and torch.equal(found[~marked], before[~marked])


def test_a_drawn_click_reaches_the_image() -> None:
    torch.manual_seed(0)
    model = RobotSegModel(dataclasses.replace(NANO, image_size=64, dense_hints=True)).eval()
    features = model.encode(torch.randn(1, 3, 64, 64))
    conditioned = model.initial(features, 1)
    part, labels = torch.tensor([2]), torch.tensor([[1]])

    def logits(x: float, *, drawn: bool) -> torch.Tensor:
        model.config = dataclasses.replace(model.config, dense_hints=drawn)
        points = torch.tensor([[[x, 30.0]]]), labels
        return model.decode(features, conditioned, part, points=points).logits

    with torch.no_grad():
        assert (logits(10.0, drawn=True) - logits(10.0, drawn=False)).abs().mean() > 1e-3
        assert not torch.equal(logits(10.0, drawn=True), logits(50.0, drawn=True))
