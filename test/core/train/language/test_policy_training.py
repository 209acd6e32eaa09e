# SPDX-License-Identifier: Apache-2.0
"""`robotseg train-policy` on a tiny made set: data, supervised start, GRPO, resuming, the file, the policy in use."""

import csv
import dataclasses

import numpy as np
import pytest
import torch
import yaml
from language_sets import write_scene
from safetensors import safe_open
from safetensors.numpy import save
from small_models import SMALL, small_robotseg

from robotseg_core.instruct.small import tokens as tk
from robotseg_core.instruct.small.inputs import piece_numbers
from robotseg_core.instruct.small.network import NetworkConfig
from robotseg_core.instruct.small.policy import (
    load_policy,
)
from robotseg_core.synth.requests.phrasings import FAMILIES, HELD_OUT_COMPOSITIONS, NOUNS
from robotseg_core.train.language.cache import load_cached, model_key
from robotseg_core.train.language.frames import cache_set
from robotseg_core.train.language.grpo import GrpoSettings
from robotseg_core.train.language.pool import CARRIERS, Example, Pool, answer_of, leaf_mask, training_words, varied
from robotseg_core.train.language.reward_of_masks import MaskReward
from robotseg_core.train.language.settings import PolicyConfig, PolicySet, Stage, read_policy_config
from robotseg_core.train.language.supervised import filled, likelihood_loss, make_batch, where_loss
from robotseg_core.train.language.trainer import PolicyTrainer

NETWORK = NetworkConfig(features=64, words=320, width=24, heads=2, frame_layers=1, joint_layers=1, decoder_layers=1)
TWO = [(20, "orange", 0.9, "mug"), (220, "white", 0.1, None)]
ONE = [(40, "white", 0.5, None)]
BASE = "ab" * 32


@pytest.fixture(scope="module")
def robotseg():
    config = dataclasses.replace(SMALL, image_size=384)
    found = small_robotseg(config=config)
    found.sha256 = BASE
    return found


@pytest.fixture(scope="module")
def folder(robotseg, tmp_path_factory):
    root = tmp_path_factory.mktemp("set")
    for video, robots in (("two", TWO), ("one", ONE)):
        write_scene(root, robots, [(190, "box", "blue")], video=video)
    return cache_set(robotseg, root / "cache", "set", root, frames=1, mirrored=True)


@pytest.fixture(scope="module")
def pool(folder):
    return Pool([folder])


def test_a_frame_comes_back_from_the_cache(folder, robotseg):
    assert folder.parent.name == model_key(robotseg)
    frames = {path.stem: load_cached(path) for path in folder.glob("*.safetensors")}
    assert set(frames) == {"two-00000", "two-00000-m", "one-00000", "one-00000-m"}
    plain, mirrored = frames["two-00000"], frames["two-00000-m"]
    assert plain.size == (200, 300) and plain.arrays["f16"].shape == (64, 24, 24)
    # The orange arm (leaf 1) is left; in the mirror it is right, and so is what is asked.
    assert plain.boxes[1][0] == pytest.approx(20 / 300) and mirrored.boxes[1][2] == pytest.approx(280 / 300)
    for frame, side in ((plain, "left"), (mirrored, "right")):
        (orange,) = (a for a in frame.asked if a.phrasing == "side" and a.kind == "arm" and a.slots == {"side": side})
        assert orange.target == (1,) and orange.instances == ((1,),)
    for name in ("f16", "h8", "h4", "rgb", "masks", "ids"):
        assert np.array_equal(mirrored.arrays[name], plain.arrays[name][..., ::-1])
    assert np.array_equal(mirrored.arrays["numbers"], piece_numbers(mirrored.arrays["masks"]))


def test_another_model_has_another_cache(robotseg):
    other = small_robotseg(config=robotseg.model.config)
    assert model_key(other) != model_key(robotseg)


def test_a_damaged_frame_is_named(folder, tmp_path):
    path = tmp_path / "x.safetensors"
    whole = next(iter(folder.glob("*.safetensors")))
    with safe_open(whole, "np") as file:
        said = file.metadata()
    for content in (
        (8).to_bytes(8, "little") + b'{"a": 1}',
        # A header that is longer than the file, and than any memory.
        (1 << 62).to_bytes(8, "little") + b"{}",
        b"",
        save({"ids": np.zeros((4, 4), np.uint16)}, said),
        save({}, {"frame": "[" * 5000}),
        save({}, {"frame": "[]"}),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"x\.safetensors is no cached frame"):
            load_cached(path)


def test_the_right_answer_is_the_target(pool):
    seen = set()
    for frame in pool.frames:
        for asked in frame.asked:
            written = tk.read_answer(answer_of(frame, asked, np.random.default_rng(0)))
            seen.add(written.op)
            assert (written.op == "invert") == asked.invert and len(written.targets) == len(asked.instances)
            union = leaf_mask(frame, asked.target)
            for target in written.targets:
                # The place lies on the target, the box around it.
                assert union[int(target.place[1] * 96), int(target.place[0] * 96)]
            if len(written.targets) == 1:
                rows, columns = np.nonzero(union)
                box = (columns.min() / 96, rows.min() / 96, (columns.max() + 1) / 96, (rows.max() + 1) / 96)
                np.testing.assert_allclose(written.targets[0].box, box, atol=0.05)
    assert seen == {"one", "many", "invert", "none"}


def test_held_out_words_and_pairs_are_never_trained_on(pool):
    rng = np.random.default_rng(3)
    known = set(training_words())
    held_out = {w for nouns in NOUNS.values() for n in nouns.held_out for w in n.split()} - known
    said = pool.draw(rng, 60, 8)
    words = {word.removeprefix("~") for one in said for word in one.words}
    assert held_out == {"limb", "jaws", "tool", "grasper", "bot", "robotic", "system"} - known
    assert not words & held_out
    for one in said:
        if one.asked is not None:
            assert not any((one.asked.kind, word) in HELD_OUT_COMPOSITIONS for word in one.asked.slots.values())
    assert any(one.asked is None for one in said)
    absent = np.mean([one.asked is not None and not one.asked.target for one in said])
    assert 0.1 < absent < 0.3
    assert all(t not in known for family in FAMILIES.values() for t in family.held_out)
    held_out_templates = {t.replace(",", "") for family in FAMILIES.values() for t in family.held_out}
    assert not held_out_templates & {carrier.format("the {x}") for carrier in CARRIERS}


def test_the_same_is_said_in_many_ways():
    rng = np.random.default_rng(0)
    said = [varied("the left arm", rng) for _ in range(400)]
    as_it_is = said.count("the left arm")
    assert 100 < as_it_is < 300 and len(set(said)) > 100
    # Only what stands for a thing is put into a sentence.
    asked = [varied("find the left arm", rng) for _ in range(400)]
    assert not any(one.endswith("is what i am after") for one in asked)


def test_the_loss_is_that_of_the_definition():
    tokens, mask = filled(
        [tk.write_answer("none"), tk.write_answer("one", "arm", [tk.Target((0.5, 0.5), (0, 0, 1, 1))])]
    )
    masks, _ = tk.masks_of(tokens)
    logits = torch.zeros(*tokens.shape, tk.VOCABULARY).masked_fill(~masks, float("-inf"))
    # Of equal choices -log p is the log of their number, also with soft targets; the cell counts twice.
    choices = masks.sum(-1).double().log()
    _, places = tk.masks_of(tokens)
    weight = torch.where(places == tk.CELL, 2.0, 1.0) * mask
    want = (choices * weight).sum() / weight.sum()
    assert float(likelihood_loss(logits, tokens, mask)) == pytest.approx(float(want), rel=1e-5)


def settings(**more):
    grpo = Stage("grpo", 2, frames=2, each=2, lr=1e-4, settings=GrpoSettings(group=3, min_spread=0.0))
    stages = (Stage("supervised", 4, frames=2, each=4, warmup=1), grpo)
    return PolicyConfig(sets=(PolicySet("x"),), stages=stages, network=NETWORK, save_every=1, **more)


def test_what_cells_cover_is_learned_by_shares_and_a_small_target_counts_as_much():
    covered = torch.zeros(2, 4, 4)
    covered[0, 1, 1], covered[1, :2] = 1.0, 1.0
    right = (covered - 0.5) * 20
    assert float(where_loss(right, covered)) < 1e-3
    missed = right.clone()
    missed[0, 1, 1] = -10
    half = right.clone()
    half[1, 0] = -10
    # All of a small target missed costs twice what half of a large one does.
    assert float(where_loss(missed, covered)) == pytest.approx(2 * float(where_loss(half, covered)), rel=1e-3)
    # Where nothing is asked for, nothing may be covered.
    assert float(where_loss(torch.full((1, 4, 4), 5.0), torch.zeros(1, 4, 4))) > 2


def test_the_share_of_each_quarter_is_that_of_the_mask(pool):
    frame, number = pool.frames[0], 0
    asked = next(one for one in frame.asked if one.target)
    absent = next(one for one in frame.asked if not one.target)
    examples = [Example(number, ("x",), one, answer_of(frame, one)) for one in (asked, absent)]
    covered = make_batch(pool, examples).covered
    assert covered.shape == (2, 24, 24) and not covered[1].any()
    assert float(covered[0].mean()) == pytest.approx(leaf_mask(frame, asked.target).mean(), abs=1e-6)


def test_both_stages_run_and_a_stopped_run_goes_on(pool, robotseg, tmp_path):
    PolicyTrainer(settings(), pool, robotseg.model, BASE, tmp_path / "a").run()
    first = PolicyTrainer(settings(), pool, robotseg.model, BASE, tmp_path / "b")
    stop = RuntimeError("the machine has gone")
    steps = iter((None, None, stop))
    genuine = first._supervised

    def dies(*arguments):
        if error := next(steps):
            raise error
        return genuine(*arguments)

    first._supervised = dies
    with pytest.raises(RuntimeError, match="has gone"):
        first.run()
    PolicyTrainer(settings(), pool, robotseg.model, BASE, tmp_path / "b").run()
    one, other = (load_policy(tmp_path / x / "policy.safetensors").network.state_dict() for x in "ab")
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert load_policy(tmp_path / "a" / "stage0_supervised.safetensors").bases == (BASE,)


def test_a_run_of_other_weights_is_refused(pool, robotseg, tmp_path):
    trainer = PolicyTrainer(settings(), pool, robotseg.model, BASE, tmp_path)
    trainer.save()
    with pytest.raises(ValueError, match="was trained on weights abab"):
        PolicyTrainer(settings(), pool, robotseg.model, "cd" * 32, tmp_path)


def test_rewards_are_those_of_the_masks(pool, robotseg):
    from robotseg_core.train.language.grpo import Rollout

    examples = pool.draw(np.random.default_rng(1), 2, 6)
    tokens, mask = filled([t for one in examples for t in (one.tokens, tk.write_answer("none"))])
    reward = MaskReward(pool, robotseg.model)
    earned = reward(examples, Rollout(tokens, mask, torch.zeros(tokens.shape)), 2)
    for row, one in zip(earned.tolist(), examples, strict=True):
        if one.asked is None:
            assert row == [1.0, 0.0]
        elif not one.asked.target:
            assert row == [1.0, 1.0]
        else:
            assert 0 <= row[0] <= 1.1 and row[1] == 0
    means = reward.statistics.means()
    assert 0.5 <= means["none"] <= 1 and means["box area"] > 0


def test_the_command(folder, robotseg, monkeypatch, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    from robotseg_core import cli
    from robotseg_core.train.language import command

    monkeypatch.setattr(command.RobotSeg, "load", lambda *a, **k: robotseg)
    root = folder.parents[2]
    doc = {
        "cache": str(root / "cache"),
        "sets": [{"root": str(root), "name": "set", "frames": 1}],
        "network": {**dataclasses.asdict(NETWORK)},
        "stages": [{"kind": "supervised", "steps": 20, "frames": 1, "each": 2},
                   {"kind": "grpo", "steps": 1, "frames": 1, "each": 1, "settings": {"group": 2}}],
    }  # fmt: skip
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(doc))
    arguments = ["train-policy", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "run")]
    assert cli.main([*arguments, "--data-only"]) == 0 and not (tmp_path / "run").exists()
    assert cli.main([*arguments, "--export", str(tmp_path / "p.safetensors")]) == 0
    assert "4 frames" in capsys.readouterr().out
    with (tmp_path / "run" / "curve.csv").open() as file:
        names = {row["name"] for row in csv.DictReader(file)}
    assert names == {"loss", "where", "there", "number", "box", "colour", "op", "cell"}
    assert (tmp_path / "run" / "curve.png").stat().st_size > 1000
    assert load_policy(tmp_path / "p.safetensors").bases == (BASE,)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sets": []}, "must not be empty"),
        ({"stages": [{"kind": "sleep", "steps": 1}]}, "kind of a stage is 'sleep'"),
        ({"stages": [{"kind": "grpo", "steps": 1, "settings": {"groups": 3}}]}, "unknown key 'groups'"),
        ({"sets": [{"root": "x", "kind": "drawn"}]}, "kind of x is 'drawn'"),
    ],
)
def test_bad_files_are_refused(tmp_path, change, words):
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump({"sets": [{"root": "x"}], "stages": [{"kind": "supervised", "steps": 1}], **change}))
    with pytest.raises(ValueError, match=words):
        read_policy_config(path)
