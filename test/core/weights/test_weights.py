# SPDX-License-Identifier: Apache-2.0
"""Weights are loaded as they are, or refused by name before the model is touched."""

import hashlib
import logging
import pickle
import tempfile
import zipfile
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from robotseg_core.weights.files import WeightsError
from robotseg_core.weights.load import load_weights, save_safetensors

pytestmark = pytest.mark.usefixtures("models")


class Toy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.norm = nn.BatchNorm2d(2)
        self.robot_prompt_generator = nn.Embedding(1, 4)


def test_safetensors_round_trip_in_half_precision(tmp_path: Path) -> None:
    a, b = Toy(), Toy()
    a.norm.num_batches_tracked.fill_(100_001)
    save_safetensors(a.state_dict(), tmp_path / "a.safetensors", {"preset": "toy"})
    report = load_weights(b, tmp_path / "a.safetensors")
    assert report.kind == "robotseg" and report.missing == () and report.metadata == {"preset": "toy"}
    assert report.path == tmp_path / "a.safetensors"
    assert report.sha256 == hashlib.sha256(report.path.read_bytes()).hexdigest()
    assert b.linear.weight.dtype == torch.float32
    torch.testing.assert_close(b.linear.weight, a.linear.weight.half().float(), atol=0, rtol=0)
    assert b.norm.num_batches_tracked.item() == 100_001
    assert [file.name for file in tmp_path.glob("*.part")] == []


def test_values_that_half_precision_cannot_hold_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="scale has values"):
        save_safetensors({"scale": torch.tensor([1e6])}, tmp_path / "a.safetensors")
    assert list(tmp_path.glob("*.safetensors")) == []


def test_official_layout_has_the_state_dict_under_model(tmp_path: Path) -> None:
    a, b = Toy(), Toy()
    torch.save({"model": a.state_dict()}, tmp_path / "robotseg.pt")
    assert load_weights(b, tmp_path / "robotseg.pt").kind == "robotseg"
    assert torch.equal(a.linear.weight, b.linear.weight)


def test_sam2_checkpoint_keeps_the_initialisation_of_the_rest_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    a, b = Toy(), Toy()
    before = b.robot_prompt_generator.weight.clone()
    state = {key: value for key, value in a.state_dict().items() if not key.startswith("robot_")}
    torch.save({"model": state}, tmp_path / "sam.pt")
    with caplog.at_level(logging.WARNING):
        report = load_weights(b, tmp_path / "sam.pt")
    assert report.kind == "sam2" and report.missing == ("robot_prompt_generator.weight",)
    assert torch.equal(b.robot_prompt_generator.weight, before) and torch.equal(b.linear.bias, a.linear.bias)
    assert "robot_prompt_generator.weight" in caplog.text


def test_missing_and_unexpected_keys_are_named(tmp_path: Path) -> None:
    state = Toy().state_dict()
    state["surplus"] = state.pop("linear.bias")
    torch.save(state, tmp_path / "a.pt")
    with pytest.raises(WeightsError, match=r"1 missing keys \(linear.bias\), 1 unexpected \(surplus\)"):
        load_weights(Toy(), tmp_path / "a.pt")
    report = load_weights(Toy(), tmp_path / "a.pt", allow_partial=True)
    assert (report.kind, report.missing, report.unexpected) == ("partial", ("linear.bias",), ("surplus",))


def test_wrong_shapes_are_named(tmp_path: Path) -> None:
    state = Toy().state_dict()
    state["linear.bias"] = torch.zeros(5)
    torch.save(state, tmp_path / "a.pt")
    with pytest.raises(WeightsError, match=r"linear.bias: \(5,\) in the file, \(2,\) in the model"):
        load_weights(Toy(), tmp_path / "a.pt")


def saved(tmp_path: Path, **changes: object) -> Path:
    torch.save({**Toy().state_dict(), **changes}, tmp_path / "a.pt")
    return tmp_path / "a.pt"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (torch.full((2,), float("nan")), "linear.bias has values that are not finite"),
        (torch.tensor([0.0, float("-inf")]), "linear.bias has values that are not finite"),
        (torch.tensor([0.0, 1e300], dtype=torch.float64), "not finite"),
        (torch.zeros(2, dtype=torch.complex64), "linear.bias is torch.complex64"),
        (torch.zeros(2).to_sparse(), "must be plain real numbers"),
        (torch.zeros(2, device="meta"), "must be plain real numbers"),
        (torch.zeros(2, dtype=torch.int64), "linear.bias: torch.int64 in the file, torch.float32 in the model"),
    ],
)
def test_tensors_that_no_weight_can_be_are_refused_by_name(tmp_path: Path, value: torch.Tensor, words: str) -> None:
    toy = Toy()
    before = {key: tensor.clone() for key, tensor in toy.state_dict().items()}
    with pytest.raises(WeightsError, match=words):
        load_weights(toy, saved(tmp_path, **{"linear.bias": value}))
    assert all(torch.equal(before[key], tensor) for key, tensor in toy.state_dict().items())


def test_weights_that_are_not_finite_in_safetensors_are_refused(tmp_path: Path) -> None:
    state = {**Toy().state_dict(), "linear.bias": torch.tensor([1.0, float("inf")])}
    safetensors.torch.save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match="linear.bias has values that are not finite"):
        load_weights(Toy(), tmp_path / "a.safetensors")


def test_a_tensor_that_is_larger_than_its_file_is_refused_before_it_is_made(tmp_path: Path) -> None:
    torch.save({"linear.weight": torch.zeros(1).expand(1 << 40)}, tmp_path / "a.pt")
    with pytest.raises(WeightsError, match="linear.weight has 4398046511104 bytes, of which the file holds 4"):
        load_weights(Toy(), tmp_path / "a.pt")
    once = torch.zeros(100_000)
    torch.save({f"name {i}": once for i in range(1000)}, tmp_path / "a.pt")
    with pytest.raises(WeightsError, match="repeats others of the file"):
        load_weights(Toy(), tmp_path / "a.pt")


def test_names_must_be_text(tmp_path: Path) -> None:
    torch.save({**Toy().state_dict(), 7: torch.zeros(1)}, tmp_path / "a.pt")
    with pytest.raises(WeightsError, match="a tensor whose name is a int, names must be text"):
        load_weights(Toy(), tmp_path / "a.pt")


def test_packed_checkpoints_are_refused_before_they_are_unpacked(tmp_path: Path) -> None:
    packed = tmp_path / "b.pt"
    with zipfile.ZipFile(saved(tmp_path)) as plain, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as out:
        for entry in plain.infolist():
            out.writestr(entry.filename, plain.read(entry))
    with pytest.raises(WeightsError, match="is packed"):
        load_weights(Toy(), packed)


@given(st.integers(0, 5000), st.binary(max_size=6), st.integers(0, 3000), st.booleans())
@settings(deadline=None, max_examples=150)
def test_a_damaged_file_is_loaded_or_refused_and_nothing_else(at: int, garbage: bytes, cut: int, old: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.pt"
        torch.save(Toy().state_dict(), path, _use_new_zipfile_serialization=not old)
        data = path.read_bytes()
        at %= len(data)
        path.write_bytes((data[:at] + garbage + data[at + len(garbage) :])[: len(data) - cut % 50])
        try:
            load_weights(Toy(), path)
        except WeightsError as error:
            assert str(path) in str(error)


class Malicious:
    def __reduce__(self) -> tuple:
        return (print, ("code ran",))


@pytest.mark.parametrize("writer", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_pickles_that_run_code_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], writer) -> None:
    writer({"model": {"linear.weight": Malicious()}}, tmp_path / "evil.pt")
    with pytest.raises(WeightsError, match="refused"):
        load_weights(Toy(), tmp_path / "evil.pt")
    assert "code ran" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "content",
    [b"", b"\x10\0\0\0\0\0\0\0{nonsense", b"\x80\x02garbage", b"\x80\x02" + b"(" * 1000 + b".", b"PK\3\4", b"\xff" * 9],
)
def test_damaged_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(WeightsError, match="damaged"):
        load_weights(Toy(), tmp_path / "a.pt")


def test_hashes_beside_the_file_are_verified(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_safetensors(Toy().state_dict(), path)
    assert not load_weights(Toy(), path).sha256_verified
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    (tmp_path / "SHA256SUMS").write_text(f"{digest}  a.safetensors\n")
    assert load_weights(Toy(), path).sha256_verified
    (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64}  a.safetensors\n")
    with pytest.raises(WeightsError, match=f"{digest}, expected 0000"):
        load_weights(Toy(), path)
