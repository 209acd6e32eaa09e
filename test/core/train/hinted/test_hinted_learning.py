# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from small_models import SMALL
from small_packs import SIDE, small_packs, small_pictures
from torch import Tensor
from torch.nn import functional as F

from robotseg_core.config import NANO, PRESETS
from robotseg_core.model.mask_decoder import Candidates
from robotseg_core.model.robotseg_model import RobotSegModel
from robotseg_core.stream.session import Session, encode_frame
from robotseg_core.train.hinted import hints
from robotseg_core.train.hinted import run as run_module
from robotseg_core.train.hinted.clips.compose import Pool
from robotseg_core.train.hinted.clips.draw import Clips, Drawer, Program
from robotseg_core.train.hinted.follow import Follower, Rows
from robotseg_core.train.hinted.learn import Learner, SizedModels, candidate_terms
from robotseg_core.train.hinted.loop import Run
from robotseg_core.train.hinted.packs.catalogue import Catalogue
from robotseg_core.train.hinted.packs.files import Pictures
from robotseg_core.train.hinted.probe import Probe, plain_clips
from robotseg_core.train.hinted.settings import HINTS, HintedConfig, Shares, Stage
from robotseg_core.train.hinted.state import balanced
from robotseg_core.train.hinted.steps import build_streams
from robotseg_core.weights.load import load_weights, save_safetensors

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Pictures:
    return small_pictures(tmp_path_factory.mktemp("packs"))


def drawn(pictures: Pictures, what: Program, count: int, length: int, shares: Shares | None = None) -> Clips:
    return Drawer(Catalogue(pictures.videos), shares or Shares()).draw(what, count, length, np.random.default_rng(0))


def rows_for(truth: Tensor, categories: list[int]) -> Rows:
    count, length = truth.shape[:2]
    return Rows(
        category=torch.tensor(categories),
        truth=truth,
        off=torch.zeros_like(truth[:, 0]),
        weight=torch.ones(count, length),
        teacher=torch.zeros(count, dtype=torch.bool),
    )


# ------------------------------------------------------------------------------------------------ as in use
@pytest.mark.parametrize(("hint", "at"), [("click", 0), ("box", 0), ("mask", 0), ("click", 2)])
def test_rows_are_followed_as_a_session_follows_parts(hint: str, at: int) -> None:
    torch.manual_seed(0)
    model = RobotSegModel(dataclasses.replace(SMALL, memory_pool=2)).eval()
    length, side = 6, SMALL.image_size // 4
    images = torch.randn(length, 3, SMALL.image_size, SMALL.image_size)
    truth = torch.zeros(4, length, side, side)
    truth[:, :, 3:9, 4:11] = 1
    what = Program(SMALL.image_size, (hint,), at, 0, -1, 16)
    with torch.no_grad():
        frames = [encode_frame(model, image[None]) for image in images]
        follower = Follower(
            model,
            [f.features for f in frames],
            [f.edge for f in frames],
            rows_for(truth, [0, 1, 2, 1]),
            what,
            torch.Generator().manual_seed(1),
        )
        follower.bank.aged[:] = False
        followed = follower.run()
        # The same points, given to a session of one part.
        generator = torch.Generator().manual_seed(1)
        torch.rand(4, generator=generator)
        for row, part in ((1, 1), (3, 1)):
            session = Session(model, part, compat="fixed")
            for t in range(length):
                if row == 3 and t == at:
                    session = Session(model, part, compat="fixed")
                    if hint == "mask":
                        large = F.interpolate(truth[3:4, t][None], (SMALL.image_size,) * 2, mode="bilinear")
                        out = session.prompt_mask(t, frames[t], large[0, 0])
                    else:
                        coords, labels = hints.points(hint, truth[3:4, t], torch.zeros(1, side, side), generator)
                        out = session.prompt_points(t, frames[t], coords[0], labels[0])
                elif not session.ready:
                    out = session.prompt_auto(t, frames[t])
                else:
                    out = session.track(t, frames[t])
                assert torch.allclose(followed.seen[t][row], out.object_logit[0], atol=1e-4), (row, t)
                assert torch.allclose(followed.logits[t][row], out.logits[0], atol=2e-3), (row, t)


def test_without_memory_every_frame_is_on_its_own() -> None:
    torch.manual_seed(0)
    model = RobotSegModel(SMALL).eval()
    image = torch.randn(1, 3, SMALL.image_size, SMALL.image_size)
    frame = encode_frame(model, image)
    truth = torch.zeros(3, 3, SMALL.image_size // 4, SMALL.image_size // 4)
    what = Program(SMALL.image_size, (), 0, 0, -1, 16)
    with torch.no_grad():
        followed = Follower(
            model, [frame.features] * 3, [frame.edge] * 3, rows_for(truth, [0, 1, 2]), what, None, memory=False
        ).run()
    assert torch.equal(followed.logits[0], followed.logits[2])
    assert followed.structure == [None] * 3


# ------------------------------------------------------------------------------------------------ learning
def test_models_of_all_sizes_have_the_same_weights() -> None:
    sized = SizedModels(RobotSegModel(dataclasses.replace(NANO, image_size=96)))
    other = sized[64]
    first = {n: p for n, p in sized.model.named_parameters()}
    assert all(p is first[n] for n, p in other.named_parameters())
    assert other.memory_attention.cos.shape[0] == 16 and sized.model.memory_attention.cos.shape[0] == 36
    sized.train(batch_norm=True)
    before = sized.model.image_encoder.neck.smooth[0][1].running_mean.clone()
    other.image_encoder(torch.randn(2, 3, 64, 64))
    assert not torch.equal(before, sized.model.image_encoder.neck.smooth[0][1].running_mean)
    sized.train(batch_norm=False)
    assert not other.image_encoder.neck.smooth[0][1].training and other.training


def test_what_is_not_known_is_not_learned(pictures: Pictures) -> None:
    torch.manual_seed(0)
    learner, pool = Learner(dataclasses.replace(SMALL, image_size=64)), Pool(pictures, CPU)
    what = Program(64, (), 0, 0, -1, 16)
    # The second frame of the video with sparse labels has none.
    first = pictures.videos[3].first
    for frames, learns in (((first, first + 1), True), ((first + 1, first + 2), False)):
        clips = plain_clips(np.array([frames]), pictures.videos, [])
        losses, count = learner(clips, what, pool, torch.Generator().manual_seed(0), mixed=False)
        assert count == 2
        assert (float(losses["mask_auto"] + losses.get("mask_all", 0)) > 0) == learns


@pytest.mark.parametrize("mixed", [False, True])
def test_every_parameter_that_answers_learns(pictures: Pictures, mixed: bool) -> None:
    torch.manual_seed(0)
    learner, pool = Learner(dataclasses.replace(SMALL, image_size=64, memory_pool=2)), Pool(pictures, CPU)
    what = Program(64, HINTS, 1, 1, 3, 16)
    clips = drawn(pictures, what, 3, 5)
    losses, _ = learner(clips, what, pool, torch.Generator().manual_seed(0), mixed=mixed)
    assert {"mask_auto", "mask_hint", "mask_all", "iou", "object", "structure", "dense"} == set(losses)
    total = torch.stack(list(losses.values())).sum()
    assert torch.isfinite(total)
    total.backward()
    missing = [n for n, p in learner.named_parameters() if p.grad is None]
    # Never used: no_mem_pos_enc.  A constant where an object is absent: what only training on absence reaches.
    assert set(missing) <= {"model.no_mem_pos_enc", "model.no_obj_ptr", "model.no_obj_embed_spatial"}, missing
    assert all(torch.isfinite(p.grad).all() for p in learner.parameters() if p.grad is not None)


def test_mask_terms_look_at_the_mask_that_counts() -> None:
    target = torch.zeros(1, 8, 8)
    target[:, 2:6, 2:6] = 1
    good, bad = (target * 2 - 1) * 8, (1 - target * 2) * 8

    def mask_term(first: Tensor, others: list[Tensor], *, multimask: bool) -> float:
        logits = torch.stack([first, *others], 1)
        candidates = Candidates(logits, torch.full((1, 4), 0.5), torch.zeros(1), torch.zeros(1, 4, 8))
        return float(candidate_terms(candidates, target, multimask=multimask)["mask"])

    assert mask_term(bad, [bad, good, bad], multimask=True) < mask_term(bad, [bad, good, bad], multimask=False)
    assert mask_term(good, [bad, bad, bad], multimask=False) < mask_term(good, [bad, bad, bad], multimask=True)


def test_a_few_clips_are_learned(pictures: Pictures) -> None:
    """Rows by category and by click of the same pictures: their loss falls, and the click decides."""
    torch.manual_seed(0)
    learner, pool = Learner(dataclasses.replace(SMALL, image_size=64, fpn_channels=(8, 16, 64))), Pool(pictures, CPU)
    what = Program(64, ("click", "mask"), 0, 0, -1, 16)
    shares = Shares(rendered=1, real=0, clip=0, photo=0, bare=0, layers=(0.0,), teacher=1.0, bad=0.0)
    clips = drawn(pictures, what, 6, 2, shares)
    optimizer = torch.optim.AdamW(learner.parameters(), lr=4e-3)
    history = []
    for step in range(60):
        losses, _ = learner(clips, what, pool, torch.Generator().manual_seed(step % 4), mixed=False)
        total = torch.stack(list(losses.values())).sum()
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
        optimizer.step()
        history.append(float(losses["mask_auto"] + losses["mask_hint"]))
    assert np.mean(history[-5:]) < 0.6 * np.mean(history[:5]), history


def test_everything_stays_on_the_device(pictures: Pictures, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device without memory refuses to compute with what lies elsewhere, as a GPU does."""
    autocast = torch.is_autocast_enabled
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda *a: False if a and a[0] == "meta" else autocast(*a))
    sample = F.grid_sample

    def shape_alone(x: Tensor, grid: Tensor, **how: object) -> Tensor:
        # Its shape rule makes tensors of its own that lie elsewhere.
        if x.device.type != "meta":
            return sample(x, grid, **how)  # type: ignore[arg-type]
        assert grid.device == x.device
        return x.new_empty(*x.shape[:2], *grid.shape[1:3])

    monkeypatch.setattr(F, "grid_sample", shape_alone)
    meta = torch.device("meta")
    learner = Learner(dataclasses.replace(SMALL, image_size=96, memory_pool=2)).to(meta)
    what = Program(96, HINTS, 1, 2, 3, 16)
    clips = drawn(pictures, what, 2, 5)
    pool = Pool(pictures, meta)
    images, rows = learner.view(clips, what, pool, None)
    followed, maps = learner.follow(images, rows, what, None)
    losses = learner.losses(followed, maps, rows)
    torch.stack(list(losses.values())).sum().backward()
    assert {value.device for value in losses.values()} == {meta}


# ------------------------------------------------------------------------------------------------ the run
STAGES = (Stage(0.5, (64,), (2,), 6), Stage(0.5, (64, 96), (3,), 6, batch_norm=False))


@pytest.fixture
def small_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    # However slow the machine: measured at the start and at the end alone.
    config = HintedConfig(stages=STAGES, store=SIDE, workers=0, lr=1e-3, probe_every=math.inf)
    monkeypatch.setitem(run_module.SCHEDULES, "gpu", config)
    monkeypatch.setitem(PRESETS, "small", dataclasses.replace(SMALL, image_size=96))
    save_safetensors(RobotSegModel(PRESETS["small"]).state_dict(), tmp_path / "start.safetensors")
    (tmp_path / "packs" / "val").mkdir(parents=True)
    small_packs(tmp_path / "packs")
    small_packs(tmp_path / "packs" / "val")
    return ["--packs", str(tmp_path / "packs"), "--weights", str(tmp_path / "start.safetensors"), "--preset", "small"]


def weights(folder: Path) -> dict[str, Tensor]:
    return safetensors.torch.load_file(folder / "weights.safetensors")


def test_a_run_leaves_weights_that_load_and_a_log(small_run: list[str], tmp_path: Path) -> None:
    # However slow the machine is, it is measured at the beginning and at the end alone.
    seldom = ["--probe-every", "1e9"]
    assert run_module.main([*small_run, "--out", str(tmp_path / "a"), "--steps", "4", *seldom]) == 0
    out = tmp_path / "a"
    model = RobotSegModel(PRESETS["small"])
    assert load_weights(model, out / "weights.safetensors").kind == "robotseg"
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    probes = [row for row in rows if row["kind"] == "probe"]
    assert len(probes) == 2 and {"real_gripper", "real_gripper_click", "object_click", "false_pixels"} <= set(probes[0])
    losses = [row for row in rows if row["kind"] == "losses"]
    assert losses[-1]["updates"] == 4 and losses[-1]["skipped"] == 0
    assert {row["stage"] for row in rows} >= {0, 1} or losses[-1]["stage"] == 1
    assert sum(f.stat().st_size for f in out.iterdir()) > 0 and len(list(out.iterdir())) <= 8


def test_the_same_steps_give_the_same_weights_and_others_others(small_run: list[str], tmp_path: Path) -> None:
    for name, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        run_module.main([*small_run, "--out", str(tmp_path / name), "--steps", "3", "--seed", seed])
    a, b, c = (weights(tmp_path / name) for name in "abc")
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert not all(torch.equal(a[k], c[k]) for k in a)


def test_a_run_goes_on_where_it_was_saved(small_run: list[str], tmp_path: Path) -> None:
    run_module.main([*small_run, "--out", str(tmp_path / "a"), "--steps", "3"])
    state = json.loads((tmp_path / "a" / "state.json").read_text())
    assert state["updates"] == 3 and state["step"] == 3
    before = weights(tmp_path / "a")
    run_module.main([*small_run, "--out", str(tmp_path / "a"), "--steps", "6"])
    assert json.loads((tmp_path / "a" / "state.json").read_text())["updates"] == 6
    after = weights(tmp_path / "a")
    assert any(not torch.equal(before[k], after[k]) for k in before)


def test_a_step_that_is_not_finite_changes_nothing(small_run: list[str], tmp_path: Path, pictures: Pictures) -> None:
    learner = Learner(PRESETS["small"])
    config = HintedConfig(stages=STAGES, store=SIDE, workers=0)
    streams = build_streams(Catalogue(pictures.videos), config, 0)
    run = Run(learner, config, Pool(pictures, CPU), streams, tmp_path, None)
    real = learner.losses
    learner.losses = lambda *a: {k: v * float("nan") for k, v in real(*a).items()}  # type: ignore[method-assign]
    before = {n: p.detach().clone() for n, p in learner.named_parameters()}
    run.step(0.1)
    assert all(torch.equal(before[n], p) for n, p in learner.named_parameters())
    learner.losses = real  # type: ignore[method-assign]
    run.step(0.1)
    assert any(not torch.equal(before[n], p) for n, p in learner.named_parameters())
    run._log(0.0)
    assert run.skipped == 1


def test_memory_that_does_not_suffice_makes_the_steps_smaller(tmp_path: Path, pictures: Pictures) -> None:
    learner = Learner(dataclasses.replace(SMALL, image_size=96))
    config = HintedConfig(stages=(Stage(1.0, (64,), (2,), 12),), store=SIDE, workers=0)
    streams = build_streams(Catalogue(pictures.videos), config, 0)
    run = Run(learner, config, Pool(pictures, CPU), streams, tmp_path, None)
    real, counts = learner.losses, []

    def scarce(followed: object, maps: tuple[Tensor, ...], rows: Rows, every: Rows) -> dict[str, Tensor]:
        counts.append(len(maps[0]))
        if len(maps[0]) > 8:
            raise torch.cuda.OutOfMemoryError("no room")
        return real(followed, maps, rows, every)  # type: ignore[arg-type]

    learner.losses = scarce  # type: ignore[assignment, method-assign]
    run.step(0.1)
    run.step(0.2)
    assert counts[0] == 12 and counts[-1] <= 8 and run.updates == 2
    assert "out of memory" in (tmp_path / "log.txt").read_text()


def test_variances_too_large_for_half_precision_are_shared_with_the_weights() -> None:
    torch.manual_seed(0)
    model = RobotSegModel(dataclasses.replace(NANO, image_size=64)).eval()
    x = torch.randn(1, 3, 64, 64)
    for block in (model.image_encoder.neck.smooth[2], model.image_encoder.neck.refine.conv1):
        block[0].weight.data *= 3000
        block[1].running_mean.uniform_(-9e4, 9e4)
        block[1].running_var.uniform_(1e3, 1e7)
    before = model.encode(x)
    changed = {k: v.half().float() if v.is_floating_point() else v for k, v in balanced(model.state_dict()).items()}
    assert all(torch.isfinite(v).all() for v in changed.values() if v.is_floating_point())
    model.load_state_dict(changed)
    after = model.encode(x)
    assert torch.allclose(before.f16, after.f16, rtol=0.02, atol=0.02 * float(before.f16.abs().max()))


def test_a_probe_leaves_weights_and_statistics_as_they_are(pictures: Pictures, tmp_path: Path) -> None:
    learner = Learner(dataclasses.replace(SMALL, image_size=96))
    pool, catalogue = Pool(pictures, CPU), Catalogue(pictures.videos)
    config = HintedConfig(stages=(Stage(1.0, (64,), (2,), 4),), store=SIDE, workers=0)
    run = Run(learner, config, pool, [], tmp_path, Probe(catalogue, pool, size=96, limit=8))
    before = {k: v.clone() for k, v in learner.state_dict().items()}
    run.measure()
    assert all(torch.equal(before[k], v) for k, v in learner.state_dict().items())
    assert all(torch.equal(before[k], v) for k, v in run.average.values.items())
