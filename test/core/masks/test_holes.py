# SPDX-License-Identifier: Apache-2.0
import torch

from robotseg_core.masks.holes import FILLED_LOGIT, fill_holes


def test_small_holes_are_filled_diagonals_connect() -> None:
    logits = torch.full((2, 12, 12), 3.0)
    logits[0, 2, 2] = logits[0, 3, 3] = -1.0  # one hole of two cells, joined at a corner
    logits[0, 8, 4:8] = 0.0  # four cells; zero is background
    logits[1, 5:9, 5:9] = -2.0
    filled = fill_holes(logits, 3)
    assert torch.equal(filled[0, 8], logits[0, 8])
    assert filled[0, 2, 2] == filled[0, 3, 3] == torch.tensor(FILLED_LOGIT)
    assert torch.equal(filled[1], logits[1])
    assert (fill_holes(logits, 4)[0] > 0).all()
    assert (fill_holes(logits, 1) == logits).all()


def test_nothing_to_fill_returns_the_tensor_itself() -> None:
    logits = torch.full((1, 4, 4), -1024.0)
    assert fill_holes(logits, 8) is logits
    assert fill_holes(logits, 0) is logits
