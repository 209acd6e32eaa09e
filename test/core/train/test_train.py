# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import math
import sys

import numpy as np
import pytest
import torch
from small_models import SMALL
from tiny_base import TINY
from train_videos import make_videos

from robotseg_core.model.robotseg_model import RobotSegModel
from robotseg_core.train.command import export, read_config
from robotseg_core.train.curves import Curves
from robotseg_core.train.data.prompts import NUMBERS
from robotseg_core.train.data.sources import DataConfig
from robotseg_core.train.losses import PARTS, dice_loss, focal_loss, mask_iou, part_targets, structure_loss
from robotseg_core.train.objective import Objective
from robotseg_core.train.settings import Phase, TrainConfig
from robotseg_core.train.trainer import Trainer
from robotseg_core.weights.load import ADDED_TO_SAM2, load_weights


def test_losses_of_hand_made_cases():
    logits = torch.tensor([[[0.0, 0.0], [0.0, 0.0]]])
    target = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])
    # p = 1/2 everywhere: focal = alpha_t * (1/2)^2 * ln 2, one cell of four positive.
    expected = (0.25 + 3 * 0.75) / 4 * 0.25 * math.log(2)
    assert float(focal_loss(logits, target)) == pytest.approx(expected, rel=1e-5)
    # 1 - (2 * 0.5 + 1) / (2 + 1 + 1)
    assert float(dice_loss(logits, target)) == pytest.approx(0.5)
    sure = torch.tensor([[[9.0, 9.0], [-9.0, -9.0]]])
    assert float(mask_iou(sure, target)) == 0.5
    assert float(mask_iou(-sure.abs(), torch.zeros_like(target))) == 0.0


def test_targets_are_the_coverage_of_each_cell():
    label = torch.zeros(1, 8, 8, dtype=torch.uint8)
    label[0, :4, :2], label[0, :4, 2:4] = 1, 2
    arm, gripper, robot = part_targets(label)[0]
    assert arm.shape == (2, 2)
    assert (float(arm[0, 0]), float(gripper[0, 0]), float(robot[0, 0]), float(robot[1, 1])) == (0.5, 0.5, 1.0, 0.0)


def test_structure_loss_wants_the_outline():
    target = torch.zeros(1, 8, 8)
    target[:, 2:6, 2:6] = 1
    flat = torch.full((1, 1, 2, 2), -20.0)
    outline = structure_loss(flat, target)
    # 16 cells of |Laplacian|: corners 5 inside, edges 3 inside; outside corners 1, edges 2 or 3; over the maximum 5.
    kernel = np.ones((3, 3))
    kernel[1, 1] = -8
    padded = np.pad(target[0].numpy(), 1, mode="reflect")
    laplacian = np.array([[abs((padded[i : i + 3, j : j + 3] * kernel).sum()) for j in range(8)] for i in range(8)])
    assert float(outline) == pytest.approx(float((laplacian / laplacian.max()).mean()), rel=1e-4)


@pytest.mark.parametrize("kind", ["encoder", "frame", "clip", "let", "first"])
def test_every_phase_gives_gradients_to_its_parts(kind):
    torch.manual_seed(0)
    objective = Objective(SMALL)
    objective.set_phase(kind)
    images = torch.randint(0, 256, (2, 3, 3, 64, 64), dtype=torch.uint8)
    labels = torch.zeros(2, 3, 64, 64, dtype=torch.uint8)
    labels[..., 10:30, 10:30], labels[..., 30:40, 10:30] = 1, 2
    numbers = torch.rand(2, PARTS, NUMBERS)
    torch.stack(list(objective(images, labels, numbers, np.random.default_rng(0)).values())).sum().backward()
    reached = {name.split(".")[0] for name, p in objective.model.named_parameters() if p.grad is not None}
    assert "image_encoder" in reached
    assert ("sam_mask_decoder" in reached) == (kind != "encoder")
    with_memory = {"memory_attention", "memory_encoder", "obj_ptr_proj", "obj_ptr_tpos_proj"}
    assert with_memory <= reached if kind in ("clip", "let", "first") else not with_memory & reached
    gradients = [p.grad for p in objective.parameters() if p.grad is not None]
    assert all(bool(g.isfinite().all()) for g in gradients)


@pytest.mark.parametrize("kind", ["clip", "first"])
def test_clips_of_one_frame_are_images_and_always_teach_something(kind):
    objective = Objective(SMALL)
    objective.set_phase(kind, auto=0.0)
    images, labels = torch.zeros(1, 1, 3, 64, 64, dtype=torch.uint8), torch.ones(1, 1, 64, 64, dtype=torch.uint8)
    for seed in range(6):
        losses = objective(images, labels, torch.rand(1, PARTS, NUMBERS), np.random.default_rng(seed))
        # A given mask would leave nothing to learn.
        assert ("mask" if kind == "clip" else "first") in losses


def config(tmp_path, steps):
    return TrainConfig(
        data=DataConfig(videos=(str(tmp_path / "videos"),), photo_share=0.1),
        phases=(
            Phase("frame", steps=steps, batch=2, size=64, warmup=2),
            Phase("clip", steps=2, batch=1, size=96, length=2),
            Phase("let", steps=1, batch=1, size=96, length=3),
        ),
        workers=0,
        save_every=2,
    )


def test_training_falls_resumes_to_the_step_and_exports(tmp_path):
    make_videos(tmp_path / "videos")
    trainer = Trainer(SMALL, config(tmp_path, 40), tmp_path / "run")
    trainer.run()
    lines = (tmp_path / "run" / "curve.csv").read_text().splitlines()
    totals = [float(line.split(",")[-1]) for line in lines if ",total," in line and "frame" in line]
    assert totals[-1] < totals[0]
    assert (tmp_path / "run" / "curve.png").stat().st_size > 1000

    finished = Trainer(SMALL, config(tmp_path, 40), tmp_path / "run")
    assert (finished.phase, finished.step) == (3, 0)
    for key, value in trainer.net.state_dict().items():
        assert torch.equal(value, finished.net.state_dict()[key])


def test_an_interrupted_run_ends_as_the_whole_one(tmp_path):
    make_videos(tmp_path / "videos")
    whole = Trainer(SMALL, config(tmp_path, 4), tmp_path / "whole")
    whole.run()
    interrupted = Trainer(SMALL, config(tmp_path, 4), tmp_path / "part")
    interrupted._run_phase(dataclasses.replace(interrupted.config.phases[0], steps=2))
    interrupted.save()
    resumed = Trainer(SMALL, config(tmp_path, 4), tmp_path / "part")
    assert resumed.step == 2
    resumed.run()
    for key, value in whole.net.state_dict().items():
        torch.testing.assert_close(resumed.net.state_dict()[key], value)


def test_config_file(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("preset: nano\ndata: {videos: [a]}\nphases: [{kind: frame, steps: 3}]\n")
    preset, parsed = read_config(path)
    assert preset == "nano" and parsed.phases[0].steps == 3 and parsed.data.videos == ("a",)
    path.write_text("data: {videos: [a]}\nphases: [{kind: frame, step: 3}]\n")
    with pytest.raises(ValueError, match="'step'.*steps"):
        read_config(path)


def test_curves_need_no_tensorboard_and_fill_it_where_it_is(tmp_path, monkeypatch):
    def write(out):
        curves = Curves(out, "0:frame")
        curves.add({"total": 2.0})
        curves.add({"total": 1.0})
        curves.write(step=2, seen=8, updates=2, seconds=1.0, rate=1e-3)
        curves.close()
        assert (out / "curve.csv").read_text().splitlines() == [
            "phase,step,seen,seconds,name,value",
            "0:frame,2,8,1,total,1.98000",
        ]

    for name in ("with", "without"):
        (tmp_path / name).mkdir()
    pytest.importorskip("tensorboard")
    write(tmp_path / "with")
    assert list((tmp_path / "with" / "tensorboard").glob("events.*"))
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    write(tmp_path / "without")
    assert not (tmp_path / "without" / "tensorboard").exists()


def test_state_and_settings_of_a_run_before_let_are_read(tmp_path):
    make_videos(tmp_path / "videos")
    Trainer(SMALL, config(tmp_path, 2), tmp_path / "run").save()
    state = torch.load(tmp_path / "run" / "state.pt", weights_only=True)
    assert set(state) == {"phase", "step", "seen", "updates", "net", "ema", "optimizer"}
    assert len(state["optimizer"]["param_groups"]) == 4


def test_base_learns_from_a_checkpoint_that_lacks_what_robotseg_adds(tmp_path, capsys):
    make_videos(tmp_path / "videos")
    sam2 = {k: v for k, v in RobotSegModel(TINY).state_dict().items() if not ADDED_TO_SAM2.match(k)}
    torch.save({"model": sam2}, tmp_path / "sam2.pt")
    settings = TrainConfig(
        data=DataConfig(videos=(str(tmp_path / "videos"),)),
        phases=(Phase("clip", steps=1, batch=1, size=128, length=2, warmup=1),),
        init=str(tmp_path / "sam2.pt"),
        workers=0,
    )
    trainer = Trainer(TINY, settings, tmp_path / "run")
    assert f"start: {len(sam2)} tensors" in capsys.readouterr().out
    trainer.run()
    moved = [k for k, v in sam2.items() if not torch.equal(trainer.net.state_dict()[f"model.{k}"], v)]
    assert any(k.startswith("image_encoder.trunk") for k in moved) and any("memory_attention" in k for k in moved)
    frozen = dataclasses.replace(settings, phases=(Phase("clip", steps=1, frozen=2),))
    with pytest.raises(ValueError, match="frozen is 2.*no convolutional trunk"):
        Trainer(TINY, frozen, tmp_path / "other")


def test_exported_weights_load_into_nano(tmp_path):
    from robotseg_core.config import NANO

    trainer = Trainer(NANO, config(tmp_path, 1), tmp_path / "run")
    export(trainer, tmp_path / "nano.safetensors")
    report = load_weights(RobotSegModel(NANO), tmp_path / "nano.safetensors")
    assert not report.missing and not report.unexpected
