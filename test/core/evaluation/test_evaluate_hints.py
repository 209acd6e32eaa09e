# SPDX-License-Identifier: Apache-2.0
"""robotseg eval-hints: hints on the frame, negative clicks, things by instance maps, and the model without a box."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import torch
from small_models import moving_frames, small_model, small_robotseg

from robotseg_core import cli
from robotseg_core.evaluation.dataset import read_root
from robotseg_core.evaluation.hints import measure
from robotseg_core.evaluation.hints.objects import robots_of_pairs, things
from robotseg_core.evaluation.hints.without import without
from robotseg_core.stream.robotseg import RobotSeg

SHAPE = (60, 80)
CUP, NEAR, FAR = 3, 1, 2


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(RobotSeg, "load", classmethod(lambda cls, preset="nano", **_: small_robotseg()))


@pytest.fixture
def root(tmp_path):
    """Two videos of four frames: two robots side by side, a cup below the first one."""
    ids = np.zeros(SHAPE, np.uint16)
    ids[5:30, 5:30], ids[5:30, 45:75], ids[40:50, 10:30] = NEAR, FAR, CUP
    instances = [
        {"id": NEAR, "name": "link", "kind": "link"},
        {"id": FAR, "name": "link", "kind": "link"},
        {"id": CUP, "name": "cup", "kind": "thing"},
    ]
    robots = [{"robot": 0, "name": "near", "ids": [NEAR]}, {"robot": 1, "name": "far", "ids": [FAR]}]
    for name in ("a", "b"):
        for i, frame in enumerate(moving_frames(4, *SHAPE)):
            for path, picture in (
                (f"image/{name}/{i:05d}.jpg", frame[..., ::-1]),
                (f"ids/{name}/{i:05d}.png", ids),
                (f"mask_gt/{name}/000/{i:05d}.png", np.uint8(255) * np.isin(ids, (NEAR, FAR))),
                (f"mask_gt/{name}/002/{i:05d}.png", np.uint8(255) * np.isin(ids, (NEAR, FAR))),
            ):
                (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(tmp_path / path), picture)
        (tmp_path / "ids" / name / "meta.json").write_text(json.dumps({"instances": instances, "robots": robots}))
    cv2.imwrite(str(tmp_path / "nothing.png"), np.full((*SHAPE, 3), 90, np.uint8))
    return tmp_path


def test_every_section_is_measured(root, tmp_path, capsys):
    absent = tmp_path / "absent"
    absent.mkdir()
    (root / "nothing.png").rename(absent / "nothing.png")
    out = tmp_path / "out"
    assert cli.main(["eval-hints", str(root), "--absent", str(absent), "--out", str(out)]) == 0
    rows = json.loads((out / "hints.json").read_text())["rows"]
    cases = {(row["told"], row["target"]): row["cases"] for row in rows}
    # Two videos of four annotated frames, two of whose parts are there.
    assert cases["1c: IoU of the hinted frame", "robot"] == 8
    assert cases["auto: IoU of the hinted frame", "gripper"] == 0
    assert cases["bb: IoU of the hinted frame", "object"] == 2
    assert cases["1c on one robot: its IoU", "robot"] == 4
    assert cases["memory off, frames that need it: J&F", "robot"] == 2
    assert cases["no robot: % of pixels marked", "robot"] == 1
    assert "negative click" in capsys.readouterr().out


def test_unknown_section_is_named(root, capsys):
    assert cli.main(["eval-hints", str(root), "--only", "frame,colour"]) == 2
    assert "colour" in capsys.readouterr().err


def test_things_and_pairs_come_from_the_instance_maps(root):
    videos = read_root(root)
    (cup, _) = things(root, videos)
    assert cup.name == "cup" and cup.mask(0).sum() == 200 and cup.mask(0)[45, 20]
    near, far = robots_of_pairs(root, videos)[:2]
    assert near.mask(0)[10, 10] and not near.mask(0)[10, 50]
    assert near.other_mask(0)[10, 50] and (far.other_mask(0) == near.mask(0)).all()


def test_following_scores_the_target_and_the_other_one(root):
    target = robots_of_pairs(root, read_root(root))[0]
    found = measure.followed(small_robotseg(), target, "mask")
    # A mask that is given is taken as it is.
    assert found.first > 0.9
    assert found.later.shape == (3, 2) and len(found.other) == 4
    assert found.other[0] < 0.05


def test_frames_that_need_memory_are_nearly_black_or_blurred():
    rgb = moving_frames(1, *SHAPE)[0]
    assert measure.needs_memory("a", 0, rgb) is None and measure.needs_memory("a", 5, rgb) is None
    detail = float(cv2.Laplacian(rgb, cv2.CV_32F).std())
    for video in "abcdef":
        hard = measure.needs_memory(video, 2, rgb)
        assert float(hard.mean()) < 0.1 * rgb.mean() or float(cv2.Laplacian(hard, cv2.CV_32F).std()) < 0.2 * detail
        assert (measure.needs_memory(video, 2, rgb) == hard).all()


def test_without_a_box_the_model_answers_otherwise_and_is_whole_again():
    model = small_model(seed=3).eval()
    features = model.encode(torch.zeros(1, 3, model.config.image_size, model.config.image_size))
    coords, labels = torch.tensor([[[9.0, 9.0]]]), torch.tensor([[1]])
    part = torch.tensor([2])

    def answer():
        one = model.initial(features, 1)
        return model.decode(features, one, part, points=(coords, labels)).logits

    with torch.inference_mode():
        before = answer()
        with without(model, "prompts"):
            assert not torch.equal(answer(), before)
        assert torch.equal(answer(), before)
        memory = torch.randn(1, model.config.grid**2, model.config.mem_dim)
        seen = torch.ones(1, 4 * model.config.grid, 4 * model.config.grid)
        tokens = model.object_tokens(memory, seen)
        with without(model, "rpg"):
            assert torch.equal(model.object_tokens(memory, seen), model.robot_prompt_generator.no_memory(1))
        with without(model, "rpg-noise"):
            assert model.object_tokens(memory, seen).shape == tokens.shape
        assert torch.equal(model.object_tokens(memory, seen), tokens)
        strength = model.memory_attention.layers[0].structure_strength
        with without(model, "structure"):
            assert float(strength) == 0.0
        assert float(strength) != 0.0
    with pytest.raises(ValueError, match="wings"), without(model, "wings"):
        pass
