# SPDX-License-Identifier: Apache-2.0
"""Clicks into a mask that is there correct it; others begin the part anew."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from robotseg_core.stream import prompting
from robotseg_core.stream.frame_state import Answer
from robotseg_core.stream.pending_prompts import PartPrompt
from robotseg_core.stream.policy import POLICIES, StreamPolicy
from robotseg_core.stream.prompting import CLICK_CLAMP, clicked_mask

SIZE = 64


def answer(*, seen: float = 1.0) -> Answer:
    """Two parts; the second one's mask has a piece on the left and one on the right."""
    logits = torch.full((2, 16, 16), -3.0)
    logits[1, 4:8, 2:6] = 2.0
    logits[1, 4:8, 10:14] = 1.0
    return Answer(logits, torch.ones(2), torch.tensor([1.0, seen]), torch.zeros(2, 8))


def asked(*points: tuple[float, float, int]) -> PartPrompt:
    xy, labels = [p[:2] for p in points], [p[2] for p in points]
    return PartPrompt(1, points=(torch.tensor(xy, dtype=torch.float32)[None], torch.tensor(labels)[None]))


def test_the_piece_that_is_clicked_into_stays_the_other_goes() -> None:
    given = answer()
    mask = clicked_mask(asked((16.0, 24.0, 1)), given, SIZE)
    assert mask is not None and mask.shape == (1, 16, 16)
    assert torch.equal(mask[0, :, :8], given.logits[1, :, :8])
    assert (mask[0, 4:8, 10:14] == -CLICK_CLAMP).all()
    # Clicks into both keep both; a further one outside changes nothing of it.
    both = clicked_mask(asked((16.0, 24.0, 1), (48.0, 24.0, 1), (60.0, 60.0, 0)), given, SIZE)
    assert both is not None and torch.equal(both[0], given.logits[1])


@pytest.mark.parametrize(
    ("prompt", "given"),
    [
        (asked((60.0, 60.0, 1)), answer()),
        (asked((16.0, 24.0, 1)), answer(seen=-1.0)),
        (asked((4.0, 12.0, 2), (28.0, 36.0, 3), (16.0, 24.0, 1)), answer()),
        (PartPrompt(1, mask=torch.ones(8, 8)), answer()),
    ],
    ids=["beside it", "a part that is not seen", "a box", "a mask"],
)
def test_all_else_begins_anew(prompt: PartPrompt, given: Answer) -> None:
    assert clicked_mask(prompt, given, SIZE) is None


@pytest.mark.parametrize("refine", [False, True])
def test_the_mask_is_fed_back_where_the_policy_says_so(monkeypatch: pytest.MonkeyPatch, refine: bool) -> None:
    fed: list[torch.Tensor | None] = []

    def decode(*_: object, previous: torch.Tensor | None = None, **__: object) -> Answer:
        fed.append(previous)
        return Answer(*(x[1:] for x in vars(answer()).values()))

    monkeypatch.setattr(prompting, "decode_prompt", decode)
    model = type("Model", (), {"config": type("Config", (), {"image_size": SIZE})})
    classes = torch.arange(2)
    prompting.answer_prompts(model, [asked((16.0, 24.0, 1))], None, classes, answer(), refine=refine)  # type: ignore[arg-type]
    assert (fed[0] is not None) == refine


def test_nano_refines_the_reference_does_not() -> None:
    assert POLICIES["nano"].clicks_refine
    assert not StreamPolicy().clicks_refine and not StreamPolicy(compat="reference").clicks_refine
    assert np.isfinite(CLICK_CLAMP)
