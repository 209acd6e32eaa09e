# SPDX-License-Identifier: Apache-2.0
"""Seg-R1's training: rewards of answers, the published stages, one full step of the tiny random model with adapters."""

import csv
import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml

from robotseg_core.evaluation.language.public.foregrounds import read_foregrounds
from robotseg_core.train.language.qwen.settings import Lora, Pictures, QwenStage, build_stage
from robotseg_core.train.language.qwen.trainer import QwenTrainer, messages_of, picture_request, reward_of

ROOT = Path(__file__).resolve().parents[5]
GOOD = "<think>x</think> <bbox>[10,10,29,29]</bbox>, <points>[[15,15]]</points>, <labels>[1]</labels>"


@pytest.fixture
def pictures(tmp_path):
    for name in ("im", "gt"):
        (tmp_path / name).mkdir()
    rng = np.random.default_rng(0)
    for i in range(4):
        cv2.imwrite(str(tmp_path / "im" / f"{i}.jpg"), rng.integers(0, 255, (40, 60, 3)))
        truth = np.zeros((40, 60), np.uint8)
        truth[10:30, 15:45] = 255
        cv2.imwrite(str(tmp_path / "gt" / f"{i}.png"), truth)
    return tmp_path


def filled_box(rgb, prompts):
    mask = np.zeros(rgb.shape[:2], bool)
    for instance in prompts.instances:
        x0, y0, x1, y1 = (int(v) for v in instance.box or (0, 0, 0, 0))
        mask[y0 : y1 + 1, x0 : x1 + 1] = True
    return mask


def stage_of(pictures, **more):
    return QwenStage(
        "w", (Pictures("dis5k", str(pictures)),), side=40, prompts=2, max_new_tokens=6, device="cpu", **more
    )


def test_rewards_of_answers(pictures):
    request = picture_request(read_foregrounds(pictures, "dis5k")[0], stage_of(pictures))
    assert request.rgb.shape == (40, 40, 3) and request.truth.sum() == 20 * 20
    assert reward_of(GOOD, request, "rl", filled_box) == pytest.approx(2.0, abs=0.02)
    # Not closed: the mask still counts.  No points: neither (SEGR1 1.3).
    assert reward_of(GOOD.replace("</think>", ""), request, "rl", filled_box) == pytest.approx(1.0, abs=0.02)
    assert reward_of("<think>x</think><bbox>[10,10,29,29]</bbox>", request, "rl", filled_box) == 0
    assert reward_of("nonsense", request, "rl", filled_box) == 0

    def whole(rgb, prompts):
        assert prompts.instances[0].box is None and prompts.instances[0].points == ((15, 15),)
        return np.ones(rgb.shape[:2], bool)

    assert 1 < reward_of(GOOD, request, "pre-rl", whole) < 1.5
    # An empty mask earns its form alone.
    assert reward_of(GOOD, request, "rl", lambda rgb, prompts: np.zeros(rgb.shape[:2], bool)) == 1


@pytest.mark.parametrize(
    ("name", "form", "epochs", "tokens"), [("prerl", "pre-rl", 1, 256), ("rl", "rl", 2, 400), ("duts", "rl", 1, 400)]
)
def test_the_published_stages(name, form, epochs, tokens):
    content = yaml.safe_load((ROOT / "config" / f"train_segr1_{name}.yaml").read_text())
    assert content.pop("policy") == "qwen2.5-vl"
    stage = build_stage(content, Path(name))
    assert (stage.form, stage.epochs, stage.max_new_tokens, stage.prompts, stage.side) == (
        form,
        epochs,
        tokens,
        24,
        768,
    )
    assert (stage.lr, stage.settings.group, stage.settings.beta, stage.settings.temperature) == (1e-6, 4, 0.04, 1.0)
    assert stage.lora is None


def test_bad_stages_are_refused(tmp_path):
    with pytest.raises(ValueError, match="pictures is empty"):
        build_stage({"weights": "x"}, tmp_path)
    with pytest.raises(ValueError, match="form is 'post'"):
        QwenStage("x", (), form="post")
    with pytest.raises(ValueError, match="must be a multiple of micro, 5"):
        QwenStage("x", (), micro=5)


def test_the_system_message_is_asked_for_in_rl_alone():
    assert [m["role"] for m in messages_of("rl")] == ["system", "user"]
    assert [m["role"] for m in messages_of("pre-rl")] == ["user"]


@pytest.mark.parametrize("lora", [None, Lora(rank=2, alpha=4)])
def test_one_full_step_of_the_tiny_model(pictures, tmp_path, lora):
    transformers = pytest.importorskip("transformers")
    if lora is not None:
        pytest.importorskip("peft")
    from tiny_qwen import ByteProcessor, tiny_qwen

    model = tiny_qwen(transformers)
    stage = stage_of(pictures, lora=lora, lr=1e-3)
    stage = dataclasses.replace(stage, settings=dataclasses.replace(stage.settings, group=3))
    trainer = QwenTrainer(stage, model, ByteProcessor(model.config), filled_box, tmp_path / "run")
    assert trainer.steps == 2
    seen = []

    def rewards(requests, rollout, group):
        # Nonsense earns nothing; so that there is something to learn, many even tokens do.
        assert len(trainer.policy.texts(rollout)) == len(requests) * group
        share = ((rollout.tokens % 2 == 0) & rollout.mask).sum(1) / rollout.mask.sum(1)
        seen.append(share)
        return share.view(len(requests), group)

    trainer._rewards = rewards
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    torch.manual_seed(0)
    log = trainer.one_step(trainer._samples_of(0))
    assert log.ratio < 1e-3 and log.kl < 1e-6 and len(seen) == 2
    changed = {name for name, p in trainer.model.named_parameters() if not torch.equal(before[name], p)}
    assert changed and (lora is None or all("lora" in name for name in changed))
    # What has learned differs from the reference from now on.
    if log.used:
        second = trainer.one_step(trainer._samples_of(1))
        assert second.kl > 0
    trainer.step = 1
    trainer.save()
    fresh = tiny_qwen(transformers)
    again = QwenTrainer(stage, fresh, ByteProcessor(fresh.config), filled_box, tmp_path / "run")
    assert again.step == 1
    for (name, p), (_, q) in zip(trainer.model.named_parameters(), again.model.named_parameters(), strict=True):
        assert torch.equal(p, q), name
    again.run()
    with (tmp_path / "run" / "curve.csv").open() as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["2"]
    assert any((tmp_path / "run" / "model").iterdir())
