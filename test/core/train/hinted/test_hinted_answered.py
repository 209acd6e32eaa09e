# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import SMALL
from small_packs import small_pictures

from robotseg_core.train.hinted.clips.compose import Pool
from robotseg_core.train.hinted.clips.draw import Clips, Drawer, Program
from robotseg_core.train.hinted.learn import Learner, first_clips
from robotseg_core.train.hinted.packs.catalogue import Catalogue
from robotseg_core.train.hinted.packs.files import Pictures
from robotseg_core.train.hinted.settings import Shares, Stage
from robotseg_core.train.hinted.state import start_heads

CPU = torch.device("cpu")
WHAT = Program(64, ("click", "box"), 0, 0, -1, 16)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Pictures:
    return small_pictures(tmp_path_factory.mktemp("packs"))


def clips_of(pictures: Pictures, count: int) -> Clips:
    return Drawer(Catalogue(pictures.videos), Shares()).draw(WHAT, count, 2, np.random.default_rng(0))


def test_the_first_clips_rows_are_theirs(pictures: Pictures) -> None:
    learner, pool = Learner(dataclasses.replace(SMALL, image_size=64)), Pool(pictures, CPU)
    _, every = learner.view(clips_of(pictures, 5), WHAT, pool, torch.Generator().manual_seed(0))
    some = first_clips(every, 5, 2)
    assert len(some.category) == 2 * 5 and len(every.category) == 5 * 5
    for row in range(5):
        for clip in range(2):
            assert torch.equal(some.truth[row * 2 + clip], every.truth[row * 5 + clip])
            assert some.category[row * 2 + clip] == every.category[row * 5 + clip]


def test_clips_that_are_not_answered_teach_the_encoder_alone(pictures: Pictures) -> None:
    torch.manual_seed(0)
    learner, pool = Learner(dataclasses.replace(SMALL, image_size=64)).eval(), Pool(pictures, CPU)
    clips = clips_of(pictures, 4)

    def terms(answered: float) -> tuple[dict[str, torch.Tensor], int]:
        return learner(clips, WHAT, pool, torch.Generator().manual_seed(0), mixed=False, answered=answered)

    every, frames = terms(1.0)
    half, also = terms(0.5)
    assert frames == also == 8
    # The dense head sees all clips both times; the answers are those of two clips instead of four.
    assert torch.equal(every["dense"], half["dense"])
    assert not torch.equal(every["mask_all"], half["mask_all"])
    one, _ = terms(0.01)
    assert torch.isfinite(torch.stack(list(one.values()))).all(), "at least one clip is answered"


@pytest.mark.parametrize("answered", [0.0, 1.2])
def test_a_share_of_answered_clips_that_is_none_is_refused(answered: float) -> None:
    with pytest.raises(ValueError, match=f"answered is {answered}, must be above 0 and at most 1"):
        Stage(share=1, sizes=(64,), lengths=(2,), frames=4, answered=answered)


def test_the_dense_head_beside_the_weights_is_taken_over(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source, target = (Learner(dataclasses.replace(SMALL, image_size=64)) for _ in range(2))
    weights = tmp_path / "weights.safetensors"
    assert not start_heads(target, weights)
    heads = {k: v.tolist() for k, v in source.state_dict().items() if k.startswith("dense_head")}
    (tmp_path / "state.json").write_text(json.dumps({"heads": heads}))
    assert start_heads(target, weights)
    for own, true in zip(target.dense_head.parameters(), source.dense_head.parameters(), strict=True):
        assert torch.equal(own, true)
    # Of another width: not taken.
    (tmp_path / "state.json").write_text(json.dumps({"heads": {k: [v[0]] for k, v in heads.items()}}))
    assert not start_heads(target, weights)
