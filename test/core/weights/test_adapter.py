# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch
from small_models import SMALL, moving_frames

from robotseg_core.config import PRESETS
from robotseg_core.model.robotseg_model import RobotSegModel
from robotseg_core.stream.robotseg import RobotSeg
from robotseg_core.weights.adapter import apply_adapter, find_adapter, read_adapter, save_adapter
from robotseg_core.weights.files import WeightsError, sha256_of
from robotseg_core.weights.load import read_state_dict, save_safetensors

MATRIX, TABLE = "sam_mask_decoder.conv_s1.weight", "sam_mask_decoder.robot_token_embedding.weight"


@pytest.fixture
def base(tmp_path, monkeypatch):
    """The preset nano made small, and a file of random weights for it."""
    monkeypatch.setitem(PRESETS, "nano", SMALL.__class__(**{**vars(SMALL), "name": "nano"}))
    torch.manual_seed(0)
    path = tmp_path / "base.safetensors"
    save_safetensors(RobotSegModel(PRESETS["nano"]).state_dict(), path, {"preset": "nano"})
    return path


def factors(base, rank=2, scale=1.0):
    own, generator = read_state_dict(base)[0], torch.Generator().manual_seed(1)
    rows, columns = own[MATRIX].shape[0], own[MATRIX][0].numel()
    return {
        f"{MATRIX}:up": scale * torch.randn(rows, rank, generator=generator),
        f"{MATRIX}:down": scale * torch.randn(rank, columns, generator=generator),
        f"{TABLE}:add": scale * torch.randn(own[TABLE].shape, generator=generator),
    }


def save(base, path, tensors=None, **more):
    said = {"name": "mine", "base_sha256": sha256_of(base), "preset": "nano", **more}
    save_adapter(factors(base) if tensors is None else tensors, path, **said)
    return path


def load(base, adapter=None):
    return RobotSeg.load(
        "nano", device="cpu", backend="torch", precision="fp32", weights=base, adapter=adapter, warm=False
    )


def test_an_adapter_adds_its_products_and_sums_to_the_weights_and_nothing_else(tmp_path, base):
    path = save(base, tmp_path / "mine.safetensors")
    plain, adapted = load(base), load(base, path)
    tensors = {key: value.half().float() for key, value in factors(base).items()}
    for key, value in adapted.model.state_dict().items():
        meant = plain.model.state_dict()[key]
        if key == MATRIX:
            meant = meant + (tensors[f"{MATRIX}:up"] @ tensors[f"{MATRIX}:down"]).reshape(meant.shape)
        elif key == TABLE:
            meant = meant + tensors[f"{TABLE}:add"]
        assert torch.equal(value, meant), key
    assert plain.adapter is None and adapted.adapter.name == "mine"
    assert f"adapter mine (SHA-256 {sha256_of(path)})" in adapted.loaded and ", adapter" not in plain.loaded
    assert adapted.sha256 == sha256_of(base)
    frame = moving_frames(1)[0]
    answers = [robotseg.stream().step(frame) for robotseg in (plain, adapted)]
    pairs = zip(answers[0].parts, answers[1].parts, strict=True)
    assert any(not np.array_equal(a.mask, b.mask) or a.score != b.score for a, b in pairs)


def test_an_adapter_of_other_weights_is_refused_and_says_so(tmp_path, base):
    path = save(base, tmp_path / "mine.safetensors", base_sha256="0" * 64)
    with pytest.raises(WeightsError, match=r"was trained on weights with SHA-256 0000000000000000.*train it anew"):
        load(base, path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"nothing.weight:add": torch.zeros(1)}, "changes 'nothing.weight', which the model does not have"),
        ({f"{TABLE}:add": torch.zeros(1)}, r"robot_token_embedding.weight:add is \(1,\), the weight is"),
        ({f"{MATRIX}:up": torch.zeros(1, 2)}, "its factors are"),
        ({f"{MATRIX}:add": torch.zeros(1)}, "needs :up and :down, or :add alone"),
        ({f"{MATRIX}:scale": torch.zeros(1)}, "whose use is not known"),
    ],
)
def test_tensors_that_do_not_fit_are_named_and_the_model_stays_as_it_is(tmp_path, base, change, words):
    path = save(base, tmp_path / "mine.safetensors", factors(base) | change)
    robotseg = load(base)
    before = {key: value.clone() for key, value in robotseg.model.state_dict().items()}
    with pytest.raises(WeightsError, match=words):
        apply_adapter(robotseg.model, read_adapter(path), robotseg.sha256)
    assert all(torch.equal(value, before[key]) for key, value in robotseg.model.state_dict().items())


def test_what_is_no_adapter_is_refused(tmp_path, base):
    with pytest.raises(WeightsError, match="whole weights go with --weights"):
        read_adapter(base)
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(save(base, tmp_path / "mine.safetensors").read_bytes()[:-9])
    with pytest.raises(WeightsError, match="damaged"):
        read_adapter(damaged)
    endless = factors(base)
    endless[f"{TABLE}:add"][0, 0] = float("nan")
    with pytest.raises(ValueError, match="not finite"):
        save(base, tmp_path / "nan.safetensors", endless)
    assert not (tmp_path / "nan.safetensors").exists()
    with pytest.raises(ValueError, match=r"adapter name is '\.\./up'"):
        save(base, tmp_path / "up.safetensors", name="../up")


def test_names_are_looked_for_in_the_folder_of_adapters_alone(tmp_path, base, monkeypatch):
    folder, elsewhere = tmp_path / "adapters", tmp_path / "elsewhere"
    monkeypatch.setenv("ROBOTSEG_ADAPTERS", str(folder))
    with pytest.raises(WeightsError, match="adapters is not there"):
        find_adapter("mine")
    for place in (folder, elsewhere):
        place.mkdir()
    monkeypatch.chdir(elsewhere)
    save(base, elsewhere / "mine.safetensors")
    (elsewhere / "mine").write_bytes(b"")
    save(base, folder / "other.safetensors", name="other")
    with pytest.raises(WeightsError, match=r"no adapter 'mine' in .*adapters; there: other"):
        find_adapter("mine")
    assert find_adapter("other") == folder / "other.safetensors"
    assert find_adapter("./mine.safetensors").samefile(elsewhere / "mine.safetensors")
    for name in ("../elsewhere/none", "..", "", "mine"):
        with pytest.raises(WeightsError):
            find_adapter(name)
    folder.chmod(0o777)
    with pytest.raises(WeightsError, match="can be written by anybody"):
        find_adapter("other")


def test_the_folder_is_that_of_the_users_configuration(monkeypatch, tmp_path):
    from robotseg_core.weights.adapter import adapter_folder

    monkeypatch.delenv("ROBOTSEG_ADAPTERS", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert adapter_folder() == tmp_path / "robotseg" / "adapters"
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert adapter_folder() == tmp_path / "home" / ".config" / "robotseg" / "adapters"
