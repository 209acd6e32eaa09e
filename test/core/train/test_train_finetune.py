# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import argparse
import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from small_models import SMALL
from train_videos import make_videos

from robotseg_core.cli import main
from robotseg_core.config import PRESETS
from robotseg_core.model.robotseg_model import RobotSegModel
from robotseg_core.train import ablation
from robotseg_core.train import finetune as finetune_module
from robotseg_core.train.adapted import ADAPTED, TRUNK
from robotseg_core.train.data.sources import any_store
from robotseg_core.train.finetune import Finetuning, configure, finetune, labelled_throughout, phases
from robotseg_core.train.pretrained import start_from
from robotseg_core.train.trainer import Trainer
from robotseg_core.weights.adapter import apply_adapter, read_adapter
from robotseg_core.weights.files import sha256_of
from robotseg_core.weights.load import load_weights, save_safetensors


@pytest.fixture
def small_nano(tmp_path, monkeypatch):
    """The preset nano made small, and a file of random weights for it."""
    small = SMALL.__class__(**{**vars(SMALL), "name": "nano"})
    monkeypatch.setitem(PRESETS, "nano", small)
    monkeypatch.setattr(ablation, "NANO", small)
    torch.manual_seed(0)
    path = tmp_path / "start.safetensors"
    save_safetensors(RobotSegModel(small).state_dict(), path, {"preset": "nano"})
    return path


def wanted(tmp_path, start, **more) -> Finetuning:
    data, out = (tmp_path / "videos",), tmp_path / "run"
    return Finetuning(**{"data": data, "out": out, "start": str(start), "steps": 6, "batch": 6, "size": 64, **more})


def test_the_command_ends_with_weights_that_differ_from_the_first_and_says_how_to_use_them(
    tmp_path, small_nano, capsys
):
    make_videos(tmp_path / "videos")
    run = ["--data", str(tmp_path / "videos"), "--from", str(small_nano), "--out", str(tmp_path / "run")]
    assert main(["finetune", *run, "--steps", "3", "--batch", "3", "--image-size", "64"]) == 0
    target = tmp_path / "run" / "nano_finetuned.safetensors"
    said = capsys.readouterr().out
    assert f"--weights {target}" in said and ", 0 from initialisation" in said
    with safe_open(target, "pt") as opened:
        assert opened.metadata()["preset"] == "nano" and opened.metadata()["updates"] == "3"
    model, before = RobotSegModel(PRESETS["nano"]), RobotSegModel(PRESETS["nano"])
    _, left = start_from(model, target)
    start_from(before, small_nano)
    assert left == 0
    changed = [k for k, v in model.state_dict().items() if not torch.equal(v, before.state_dict()[k])]
    assert any(key.startswith("memory_attention") for key in changed)
    # The stem and the first stages keep what photographs taught them.
    assert not any(key.startswith("image_encoder.trunk.stem") for key in changed)


def test_where_only_first_frames_have_masks_the_rest_is_let(tmp_path, small_nano, capsys):
    root = make_videos(tmp_path / "videos")
    assert labelled_throughout(root)
    _, config = configure(wanted(tmp_path, small_nano))
    assert [phase.kind for phase in config.phases] == ["frame", "clip"]
    assert sum(phase.steps for phase in config.phases) == 6
    (root / "mask_gt" / "v1" / "000" / "00002.png").unlink()
    assert not labelled_throughout(root)
    _, config = configure(wanted(tmp_path, small_nano))
    assert [phase.kind for phase in config.phases] == ["let"] and config.phases[0].length == 7
    assert "label-efficient" in capsys.readouterr().out


def test_wrong_data_is_named(tmp_path, small_nano):
    with pytest.raises(ValueError, match=r"no folder image/.*mask_gt/<video>/000"):
        labelled_throughout(tmp_path)
    root = make_videos(tmp_path / "videos")
    (root / "mask_gt" / "v0" / "001" / "00000.png").unlink()
    with pytest.raises(ValueError, match=r"first frame of v0 has no mask .*001.00000\.png"):
        labelled_throughout(root)


def test_weights_of_another_preset_are_refused(tmp_path, small_nano):
    make_videos(tmp_path / "videos")
    other = tmp_path / "other.safetensors"
    save_safetensors({"x": torch.zeros(1)}, other, {"preset": "base"})
    with pytest.raises(ValueError, match="preset 'base'"):
        configure(wanted(tmp_path, other))


@pytest.mark.parametrize("steps", [1, 2, 3, 300])
def test_phases_take_the_steps_that_were_asked_for(steps):
    for whole in (True, False):
        parts = phases(steps=steps, batch=1, size=64, lr=1e-3, whole=whole)
        assert sum(phase.steps for phase in parts) == steps and all(phase.batch == 1 for phase in parts)


def test_ablation_scores_every_variant_once_and_goes_on_where_it_stopped(tmp_path, small_nano):
    make_videos(tmp_path / "videos", videos=2)
    run = [
        "ablate",
        str(tmp_path / "videos"),
        "--from",
        str(small_nano),
        "--out",
        str(tmp_path / "out"),
        "--image-size",
        "64",
    ]
    run += ["--steps", "1", "--seeds", "1", "--batch", "1", "--length", "3", "--variants", "let", "noise_tokens"]
    assert main(run) == 0
    result = tmp_path / "out" / "results" / "let_0.json"
    assert set(json.loads(result.read_text())) == {"arm", "gripper", "robot", "mean"}
    table = (tmp_path / "out" / "ablation.md").read_text()
    assert "| LET | 1 |" in table and "RPG tokens are noise" in table and "| no training | 1 |" in table
    result.write_text(json.dumps({"arm": 11.1, "gripper": 22.2, "robot": 33.3, "mean": 22.2}))
    assert main(run) == 0
    assert "| LET | 1 | 11.1 | 22.2 | 33.3 | 22.2 | +0.0 |" in (tmp_path / "out" / "ablation.md").read_text()
    # The videos that are scored are not those that are trained on.
    assert [p.name for p in (tmp_path / "out" / "train" / "image").iterdir()] == ["v0"]


def test_the_table_compares_with_let_seed_by_seed(tmp_path):
    (tmp_path / "results").mkdir()

    def put(name: str, mean: float) -> None:
        scores = {"arm": mean, "gripper": mean, "robot": mean, "mean": mean}
        (tmp_path / "results" / f"{name}.json").write_text(json.dumps(scores))

    for name, mean in (
        ("start", 1),
        ("let_0", 10),
        ("let_1", 30),
        ("no_patch_0", 8),
        ("no_patch_1", 27),
        ("first_1", 35),
    ):
        put(name, mean)
    settings = argparse.Namespace(seeds=3, steps=1, batch=1, length=3, image_size=64, lr=1.0, score=1)
    settings.variants = ["first", "let", "no_patch", "no_cycle"]
    ablation.write_table(tmp_path, settings)
    rows = {
        line.split(" | ")[0][2:]: line.split(" | ")[1:] for line in (tmp_path / "ablation.md").read_text().splitlines()
    }
    # Means of two seeds are 2.5 apart, with a spread of 14 each; seed by seed the difference is 2 and 3.
    assert rows["LET without patch"][4] == "17.5 ± 13.4" and rows["LET without patch"][5] == "-2.5 ± 0.7 |"
    # Only the seed that both have counts.
    assert rows["first frames alone, as still clips"][5] == "+5.0 |" and "LET without cycle" not in rows


def test_changes_of_the_model_are_what_they_say():
    torch.manual_seed(0)
    model = RobotSegModel(SMALL)
    ablation.without_gate(model)
    strength = model.memory_attention.layers[0].structure_strength
    assert float(strength.detach()) == 0 and not strength.requires_grad
    ablation.with_noise_tokens(model)
    tokens = model.object_tokens(torch.zeros(3, 16, 16), torch.zeros(3, 16, 16))
    assert tokens.shape == (3, 3, 64)
    # Four sub-regions of unit length: norm 2, like real tokens, but nothing of the memory in them.
    torch.testing.assert_close(tokens.norm(dim=-1), torch.full((3, 3), 2.0))
    assert not torch.equal(tokens, model.object_tokens(torch.zeros(3, 16, 16), torch.zeros(3, 16, 16)))


def test_an_adapter_learns_while_the_weights_stay_and_is_loaded_on_them_alone(tmp_path, small_nano, capsys):
    make_videos(tmp_path / "videos")
    run = ["finetune", "--data", str(tmp_path / "videos"), "--from", str(small_nano), "--out", str(tmp_path / "run")]
    run += ["--adapter", "mine", "--rank", "1", "--steps", "4", "--batch", "3", "--image-size", "64"]
    assert main(run) == 0
    target = tmp_path / "run" / "mine.safetensors"
    said = capsys.readouterr().out
    assert f"--adapter {target}" in said and "robot:=mine" in said
    adapter = read_adapter(target)
    assert (adapter.name, adapter.base_sha256, adapter.preset) == ("mine", sha256_of(small_nano), "nano")
    whole = sum(p.numel() for p in RobotSegModel(PRESETS["nano"]).parameters())
    assert 0 < adapter.numbers < 0.05 * whole
    assert any(value.abs().max() > 0 for key, value in adapter.tensors.items() if key.endswith((":add", ":up")))
    # What the training holds is the base plus what the file says.
    state = torch.load(tmp_path / "run" / "state.pt", weights_only=True)
    before = load_file(small_nano)
    for key, value in before.items():
        assert torch.equal(state["net"][f"objective.model.{key}"].to(value.dtype), value), key
    model = RobotSegModel(PRESETS["nano"])
    loaded = load_weights(model, small_nano)
    apply_adapter(model, adapter, loaded.sha256)
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value.half(), before[key].half())}
    assert changed and all(key.startswith((*ADAPTED, TRUNK)) for key in changed)


def test_an_adapter_that_is_cut_off_ends_as_one_that_is_not(tmp_path, small_nano):
    data = (make_videos(tmp_path / "videos"),)

    def run(out, steps):
        return finetune(wanted(tmp_path, small_nano, data=data, out=out, adapter="mine", rank=1, steps=steps, batch=2))

    at_once = load_file(run(tmp_path / "at_once", 4))

    class CutOff(Trainer):
        def _average(self):
            super()._average()
            if self.updates == 2:
                self.step += 1
                self.save()
                raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(finetune_module, "Trainer", CutOff)
        run(tmp_path / "cut", 4)
    assert not (tmp_path / "cut" / "mine.safetensors").exists()
    resumed = load_file(run(tmp_path / "cut", 4))
    assert at_once.keys() == resumed.keys()
    assert all(torch.equal(at_once[key], resumed[key]) for key in at_once)


def test_a_run_of_another_kind_in_the_folder_is_refused(tmp_path, small_nano):
    make_videos(tmp_path / "videos")
    finetune(wanted(tmp_path, small_nano, adapter="mine", rank=1, steps=1, batch=1))
    for more in ({"adapter": None}, {"adapter": "other"}, {"adapter": "mine", "rank": 2}):
        with pytest.raises(ValueError, match="holds a run of .*give another --out"):
            finetune(wanted(tmp_path, small_nano, steps=1, batch=1, **{"rank": 1, **more}))
    with pytest.raises(ValueError, match="rank is 65"):
        finetune(wanted(tmp_path, small_nano, adapter="mine", rank=65))
    with pytest.raises(ValueError, match=r"must have less than 5 %: take a smaller rank"):
        finetune(wanted(tmp_path, small_nano, out=tmp_path / "large", adapter="mine", rank=16))
    with pytest.raises(ValueError, match="adapter name is 'a b'"):
        wanted(tmp_path, small_nano, adapter="a b")


def test_roots_weigh_the_same_however_many_videos_they_have(tmp_path):
    stores = [argparse.Namespace(names=["one"]), argparse.Namespace(names=["a", "b", "c"] * 33)]
    drawn = [any_store(stores, np.random.default_rng(i), even=True) is stores[0] for i in range(400)]
    assert 150 < sum(drawn) < 250
    drawn = [any_store(stores, np.random.default_rng(i)) is stores[0] for i in range(400)]
    assert sum(drawn) < 20
