# SPDX-License-Identifier: Apache-2.0
"""The comparison of training choices: what each changes, how a run is scored, what is not done twice."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import torch
from train_videos import make_videos

from robotseg_core.config import NANO
from robotseg_core.train import choices
from robotseg_core.train.choices import CHOICES, FALSE_PIXELS, Recipe
from robotseg_core.train.data.augment import AugmentConfig
from robotseg_core.train.data.sources import DataConfig, VideoStore
from robotseg_core.train.objective import Objective

RECIPE = Recipe(NANO, DataConfig(videos=("v",), cutouts="c", cutout_share=0.5, photo_share=0.1), AugmentConfig(), 192)


def test_each_choice_changes_what_it_says_and_nothing_else():
    assert CHOICES["as it is"](RECIPE) == RECIPE
    changed = {
        name: {f for f in ("model", "data", "augment", "size") if getattr(choice(RECIPE), f) != getattr(RECIPE, f)}
        for name, choice in CHOICES.items()
    }
    assert changed["half the width"] == changed["1.5 times the width"] == {"model"}
    assert changed["input 2/3 as large"] == changed["input 4/3 as large"] == {"size"}
    assert changed["plain augmentation"] == {"augment"}
    assert changed["no cut-outs"] == {"data"}
    third = CHOICES["a third without a robot"](RECIPE)
    assert third.data.photo_share == 0.33
    assert third.data.photo_share + third.data.cutout_share == pytest.approx(0.6)  # the videos' share stays
    assert CHOICES["input 2/3 as large"](RECIPE).size == 128


@pytest.fixture
def everywhere(monkeypatch):
    """A head that sees arm and robot in every pixel and a gripper in none."""
    net = Objective(NANO)
    with torch.no_grad():
        net.dense_head[0].weight.zero_()
        net.dense_head[0].bias.copy_(torch.tensor([1.0, -1.0, 1.0]))
    monkeypatch.setattr(choices, "train", lambda *_: net)
    return net


def test_the_score_is_the_share_of_the_picture_for_a_head_that_sees_robots_everywhere(tmp_path, everywhere):
    videos = VideoStore(make_videos(tmp_path / "data", videos=1, frames=1), tmp_path / "cache")
    picture = tmp_path / "empty.jpg"
    cv2.imwrite(str(picture), np.zeros((40, 60, 3), np.uint8))
    result = choices.score(everywhere, videos, [picture], 64)
    # The arm is 30 x 16 of 64 x 64 pixels, the gripper 12 x 16.
    assert result["arm"] == pytest.approx(100 * 30 * 16 / 64**2, abs=0.5)
    assert result["robot"] == pytest.approx(100 * 42 * 16 / 64**2, abs=0.5)
    assert result["gripper"] == 0
    assert result[FALSE_PIXELS] == 100


def test_every_choice_is_trained_once(tmp_path, everywhere, monkeypatch):
    data = make_videos(tmp_path / "data", videos=1, frames=1)
    config = tmp_path / "train.yaml"
    config.write_text(f"data: {{videos: ['{data}']}}\nphases: [{{kind: encoder, steps: 1}}]\n")
    out = tmp_path / "out"
    arguments = [str(config), "--score", str(data), "--out", str(out), "--image-size", "96"]
    assert choices.main(arguments) == 0
    table = (out / "choices.md").read_text().splitlines()
    assert [line.split(" | ")[0][2:] for line in table[2:]] == list(CHOICES)
    marked = out / "results" / "as_it_is_0.json"
    marked.write_text(json.dumps(json.loads(marked.read_text()) | {"arm": 77.7}))
    monkeypatch.setattr(choices, "train", lambda *_: pytest.fail("trained again"))
    assert choices.main(arguments) == 0
    assert "77.7" in (out / "choices.md").read_text()
