# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import torch

from robotseg_core.model.mask_decoder import ABSENT_LOGIT, Candidates, choose


def candidates(ious, object_logit=1.0, first=None):
    logits = torch.arange(4.0)[None, :, None, None].expand(1, 4, 8, 8).clone() + 1
    if first is not None:
        logits[:, 0] = first
    tokens = torch.arange(4.0)[None, :, None].expand(1, 4, 5)
    return Candidates(logits, torch.tensor([ious]), torch.tensor([object_logit]), tokens)


def test_multimask_takes_the_best_of_three_and_its_token():
    choice = choose(candidates([0.9, 0.1, 0.8, 0.3]), multimask=True)
    assert choice.index.tolist() == [2] and float(choice.logits[0, 0, 0]) == 3 and float(choice.token[0, 0]) == 2


def test_ties_go_to_the_first():
    assert choose(candidates([0.0, 0.5, 0.5, 0.5]), multimask=True).index.tolist() == [1]


def test_single_mode_keeps_a_stable_mask():
    choice = choose(candidates([0.1, 0.2, 0.9, 0.3]), multimask=False)
    assert choice.index.tolist() == [0] and float(choice.token[0, 0]) == 0


def test_single_mode_replaces_an_unstable_mask_but_keeps_its_token():
    first = torch.zeros(8, 8)
    first[0] = 1.0
    choice = choose(candidates([0.1, 0.2, 0.9, 0.3], first=first), multimask=False)
    assert choice.index.tolist() == [2] and float(choice.token[0, 0]) == 0


def test_absent_is_strict():
    assert bool((choose(candidates([0, 0, 0, 1.0], object_logit=0.0), multimask=True).logits == ABSENT_LOGIT).all())
