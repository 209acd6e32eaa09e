# SPDX-License-Identifier: Apache-2.0
"""A new trunk before what is trained: it matches another encoder first; colours of robots; runs in parts."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import SMALL
from small_packs import SIDE, small_packs, small_pictures

from robotseg_core.model.robotseg_model import RobotSegModel
from robotseg_core.train.hinted.clips.compose import Pool, compose
from robotseg_core.train.hinted.clips.draw import Clips, Drawer, Program
from robotseg_core.train.hinted.learn import Learner
from robotseg_core.train.hinted.loop import Run
from robotseg_core.train.hinted.packs.catalogue import Catalogue
from robotseg_core.train.hinted.packs.files import Pictures
from robotseg_core.train.hinted.settings import HintedConfig, Shares, Stage
from robotseg_core.train.hinted.steps import build_streams

CPU = torch.device("cpu")
WHAT = Program(64, ("click",), 0, 0, -1, 16)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Pictures:
    return small_pictures(tmp_path_factory.mktemp("packs"))


def clips_of(pictures: Pictures, shares: Shares, count: int = 4) -> Clips:
    return Drawer(Catalogue(pictures.videos), shares).draw(WHAT, count, 2, np.random.default_rng(0))


def test_a_match_teaches_the_encoder_alone(pictures: Pictures) -> None:
    torch.manual_seed(0)
    learner, pool = Learner(dataclasses.replace(SMALL, image_size=64)).eval(), Pool(pictures, CPU)
    clips = clips_of(pictures, Shares())

    def terms() -> dict[str, torch.Tensor]:
        return learner(clips, WHAT, pool, torch.Generator().manual_seed(0), mixed=False, match=2.0)[0]

    with pytest.raises(ValueError, match="match is 2.0, but there is no encoder to be matched"):
        terms()
    learner.examples = (RobotSegModel(dataclasses.replace(SMALL, image_size=64)).image_encoder.eval(),)
    losses = terms()
    assert set(losses) == {"match", "dense"} and losses["match"] > 0.1
    torch.stack(list(losses.values())).sum().backward()
    learned = {name for name, p in learner.named_parameters() if p.grad is not None}
    assert learned and all(name.startswith(("model.image_encoder.", "dense_head.")) for name in learned)
    assert all(p.grad is None for p in learner.examples[0].parameters())
    # Its own maps are no distance away, and another encoder is no part of what is saved.
    learner.examples = (learner.model.image_encoder,)
    assert terms()["match"] == 0
    assert not any("examples" in name for name in learner.state_dict())


def test_the_robots_of_a_picture_alone_get_a_colour(pictures: Pictures) -> None:
    pool = Pool(pictures, CPU)
    bare = Shares(rendered=1, real=0, clip=0, photo=0, bare=0, layers=(0.0, 0.0, 0.0), still=1.0)
    plain = clips_of(pictures, bare)
    assert (plain.gain == 1).all()
    assert (clips_of(pictures, dataclasses.replace(bare, recolour=1.0)).gain[:, 0] != 1).all()
    gain = plain.gain.copy()
    gain[:, 0] = (0.25, 1.0, 0.5)
    coloured = dataclasses.replace(plain, gain=gain)
    before, after = compose(plain, pool, SIDE), compose(coloured, pool, SIDE)
    assert torch.equal(before.code, after.code)
    robot = torch.nn.functional.interpolate(
        (before.code.view(-1, 1, SIDE // 2, SIDE // 2) > 0).float(), (SIDE, SIDE), mode="nearest"
    )
    inside = torch.nn.functional.avg_pool2d(robot, 15, 1, 7) == 1
    outside = torch.nn.functional.max_pool2d(robot, 15, 1, 7) == 0
    assert inside.any() and outside.any()
    for channel, factor in enumerate((0.25, 1.0, 0.5)):
        a, b = before.images[:, channel : channel + 1], after.images[:, channel : channel + 1]
        torch.testing.assert_close(b[inside], a[inside] * factor)
        torch.testing.assert_close(b[outside], a[outside])


def test_a_run_stops_at_a_share_of_itself_and_goes_on_from_there(pictures: Pictures, tmp_path: Path) -> None:
    small_packs(tmp_path)
    config = HintedConfig(stages=(Stage(1.0, (64,), (2,), 8),), store=SIDE, workers=0)

    def run(stop_at: float) -> dict[str, float]:
        torch.manual_seed(0)
        learner = Learner(dataclasses.replace(SMALL, image_size=64))
        streams = build_streams(Catalogue(pictures.videos), config, 0)
        loop = Run(learner, config, Pool(pictures, CPU), streams, tmp_path / "out", None)
        loop.resume()
        loop.run(steps=4, stop_at=stop_at, first_probe=False)
        return dict(json.loads((tmp_path / "out" / "state.json").read_text()))

    (tmp_path / "out").mkdir()
    half = run(0.5)
    assert (half["updates"], half["progress"]) == (2, 0.5)
    whole = run(1.0)
    assert (whole["updates"], whole["progress"]) == (4, 1.0)
