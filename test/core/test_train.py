# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import math

import cv2
import numpy as np
import pytest
import torch
from small import SMALL

from robotseg_core.train.augment import AugmentConfig
from robotseg_core.train.command import export, read_config
from robotseg_core.train.data import ClipDataset, DataConfig
from robotseg_core.train.losses import dice_loss, focal_loss, mask_iou, part_targets
from robotseg_core.train.objective import Objective, simulate_prompt, structure_loss
from robotseg_core.train.trainer import Phase, TrainConfig, Trainer
from robotseg_core.weights import load_weights


def make_videos(root, videos=2, frames=4):
    """A bright square is the arm, a dark one the gripper."""
    for v in range(videos):
        (root / "image" / f"v{v}").mkdir(parents=True)
        for part in ("000", "001", "002"):
            (root / "mask_gt" / f"v{v}" / part).mkdir(parents=True)
        for f in range(frames):
            image = np.full((64, 64, 3), 90 + 20 * v, np.uint8)
            arm, gripper = np.zeros((64, 64), np.uint8), np.zeros((64, 64), np.uint8)
            arm[10 + f : 40 + f, 20:36] = 255
            gripper[40 + f : 52 + f, 20:36] = 255
            image[arm > 0], image[gripper > 0] = 230, 10
            cv2.imwrite(str(root / "image" / f"v{v}" / f"{f:05d}.jpg"), image)
            for part, mask in (("000", arm), ("001", gripper), ("002", arm | gripper)):
                cv2.imwrite(str(root / "mask_gt" / f"v{v}" / part / f"{f:05d}.png"), mask)
    return root


def dataset(tmp_path, *, start=0, augment=None, length=2):
    data = DataConfig(videos=(str(tmp_path / "videos"),), photo_share=0.2)
    return ClipDataset(
        data, augment or AugmentConfig(), size=64, length=length, seed=3, start=start, cache=tmp_path / "cache"
    )


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


def test_data_is_aligned_after_augmentation_and_repeats_by_seed(tmp_path):
    make_videos(tmp_path / "videos")
    plain = AugmentConfig(background=0, recolour=0, occlude=0, blur=0, noise=0, jpeg=0)
    first, again = iter(dataset(tmp_path, augment=plain)), iter(dataset(tmp_path, augment=plain))
    gaps = []
    for _ in range(12):
        (images, labels), (same, _) = next(first), next(again)
        assert images.shape == (2, 3, 64, 64) and labels.shape == (2, 64, 64) and images.dtype == torch.uint8
        assert torch.equal(images, same)
        gray = images.float().mean(1)
        if (labels == 1).sum() > 50 and (labels == 2).sum() > 50:
            gaps.append(float(gray[labels == 1].mean() - gray[labels == 2].mean()))
    # The arm is drawn bright and the gripper dark: labels moved with their pixels.
    assert gaps and min(gaps) > 20


def test_a_resumed_run_sees_the_samples_that_it_would_have_seen(tmp_path):
    make_videos(tmp_path / "videos")
    whole = iter(dataset(tmp_path))
    samples = [next(whole)[0] for _ in range(5)]
    assert torch.equal(next(iter(dataset(tmp_path, start=4)))[0], samples[4])


def test_missing_mask_is_named(tmp_path):
    root = make_videos(tmp_path / "videos")
    gone = root / "mask_gt" / "v1" / "001" / "00002.png"
    gone.unlink()
    with pytest.raises(FileNotFoundError, match=r"v1.001.00002\.png"):
        dataset(tmp_path)


def test_prompts_lie_on_their_part():
    target = torch.zeros(2, 16, 16)
    target[0, 4:8, 6:10] = 1
    torch.manual_seed(0)
    kinds = set()
    for _ in range(60):
        prompt = simulate_prompt(target, 64)
        if prompt is None:
            continue
        coords, labels = prompt
        kinds.add(coords.shape[1])
        assert bool((labels[1] == -1).all())
        if coords.shape[1] == 1:
            x, y = (coords[0, 0] / 4).int().tolist()
            assert target[0, y, x] == 1
        else:
            assert labels[0].tolist() == [2, 3]
            torch.testing.assert_close(coords[0], torch.tensor([[24.0, 16.0], [40.0, 32.0]]), atol=20.0, rtol=0)
    assert kinds == {1, 2}


@pytest.mark.parametrize("kind", ["encoder", "frame", "clip"])
def test_every_phase_gives_gradients_to_its_parts(kind):
    torch.manual_seed(0)
    objective = Objective(SMALL)
    objective.set_phase(kind)
    images = torch.randint(0, 256, (2, 3, 3, 64, 64), dtype=torch.uint8)
    labels = torch.zeros(2, 3, 64, 64, dtype=torch.uint8)
    labels[..., 10:30, 10:30], labels[..., 30:40, 10:30] = 1, 2
    torch.stack(list(objective(images, labels).values())).sum().backward()
    reached = {name.split(".")[0] for name, p in objective.model.named_parameters() if p.grad is not None}
    assert "image_encoder" in reached
    assert ("sam_mask_decoder" in reached) == (kind != "encoder")
    clip_only = {"memory_attention", "memory_encoder", "obj_ptr_proj", "obj_ptr_tpos_proj"}
    assert clip_only <= reached if kind == "clip" else not clip_only & reached
    gradients = [p.grad for p in objective.parameters() if p.grad is not None]
    assert all(bool(g.isfinite().all()) for g in gradients)


def config(tmp_path, steps):
    return TrainConfig(
        data=DataConfig(videos=(str(tmp_path / "videos"),), photo_share=0.1),
        phases=(
            Phase("frame", steps=steps, batch=2, size=64, warmup=2),
            Phase("clip", steps=2, batch=1, size=96, length=2),
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
    assert (finished.phase, finished.step) == (2, 0)
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


def test_exported_weights_load_into_nano(tmp_path):
    from robotseg_core.config import NANO
    from robotseg_core.model import RobotSegModel

    trainer = Trainer(NANO, config(tmp_path, 1), tmp_path / "run")
    export(trainer, tmp_path / "nano.safetensors")
    report = load_weights(RobotSegModel(NANO), tmp_path / "nano.safetensors")
    assert not report.missing and not report.unexpected
