# SPDX-License-Identifier: Apache-2.0
"""``robotseg average``: the mean, what it says of itself, and what it refuses."""

import json

import pytest
import safetensors
import torch

from robotseg_core.cli import main
from robotseg_core.config import NANO
from robotseg_core.model.robotseg_model import RobotSegModel
from robotseg_core.weights.average import PROVENANCE, average, parse_ingredients
from robotseg_core.weights.files import sha256_of
from robotseg_core.weights.load import load_weights, read_state_dict, save_safetensors


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two files of nano's architecture."""
    folder = tmp_path_factory.mktemp("weights")
    paths = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        paths.append(folder / f"{seed}.safetensors")
        save_safetensors(RobotSegModel(NANO).state_dict(), paths[-1], {"preset": "nano", "seed": str(seed)})
    return paths


def test_the_mean_is_the_mean_loads_and_says_what_it_was_made_of(files, tmp_path, capsys):
    a, b = files
    out = tmp_path / "mean.safetensors"
    assert main(["average", f"{a}=0.25", f"{b}=0.75", "--out", str(out)]) == 0
    mean, first, second = (read_state_dict(path)[0] for path in (out, a, b))
    assert mean.keys() == first.keys()
    for key, value in mean.items():
        if value.is_floating_point():
            expected = 0.25 * first[key].double() + 0.75 * second[key].double()
            torch.testing.assert_close(value.double(), expected, atol=1e-4, rtol=1e-3)
    assert not torch.equal(mean["no_obj_ptr"], first["no_obj_ptr"])
    report = load_weights(RobotSegModel(NANO), out)
    assert report.kind == "robotseg" and report.metadata["preset"] == "nano"
    made_of = json.loads(report.metadata[PROVENANCE])
    assert [(one["file"], one["share"], one["sha256"]) for one in made_of] == [
        (a.name, 0.25, sha256_of(a)),
        (b.name, 0.75, sha256_of(b)),
    ]
    assert made_of[0]["header"]["seed"] == "0"
    assert sha256_of(out) in capsys.readouterr().out


def test_the_order_of_the_files_does_not_matter_and_shares_may_be_left_out(files):
    a, b = map(str, files)
    one, other = (average(parse_ingredients(words)).tensors for words in ([a, b], [f"{b}=0.5", f"{a}=0.5"]))
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_mean_of_a_mean_keeps_where_that_came_from(files, tmp_path):
    a, b = map(str, files)
    assert main(["average", a, b, "--out", str(tmp_path / "c.safetensors")]) == 0
    assert main(["average", a, str(tmp_path / "c.safetensors"), "--out", str(tmp_path / "d.safetensors")]) == 0
    with safetensors.safe_open(tmp_path / "d.safetensors", framework="pt") as file:
        made_of = json.loads(file.metadata()[PROVENANCE])
    assert [one["file"] for one in json.loads(made_of[1]["header"][PROVENANCE])] == ["0.safetensors", "1.safetensors"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["{a}"], "1 weight file is given"),
        (["{a}", "{a}"], "is given twice"),
        (["{a}=0.5", "{b}"], "1 of 2 files have a share"),
        (["{a}=0.5", "{b}=0.6"], "the shares add up to 1.1, must be 1"),
        (["{a}=1.5", "{b}=-0.5"], "a share is 1.5"),
        (["{a}=half", "{b}=half"], "must be numbers"),
    ],
)
def test_shares_that_make_no_mean_are_refused(files, tmp_path, capsys, words, said):
    given = [word.format(a=files[0], b=files[1]) for word in words]
    assert main(["average", *given, "--out", str(tmp_path / "out.safetensors")]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_another_architecture_is_refused_and_the_difference_is_named(files, tmp_path, capsys):
    state = read_state_dict(files[0])[0]
    other = tmp_path / "other.safetensors"
    for changed, said in (
        ({**state, "no_obj_ptr": torch.zeros(1, 7)}, "no_obj_ptr"),
        ({key: value for key, value in state.items() if key != "no_obj_ptr"}, "only the first has no_obj_ptr"),
    ):
        save_safetensors(changed, other)
        assert main(["average", str(files[0]), str(other), "--out", str(tmp_path / "out.safetensors")]) == 2
        words = capsys.readouterr().err
        assert "different architectures" in words and said in words


def test_an_architecture_that_nobody_knows_is_refused(tmp_path, capsys):
    for name in "ab":
        save_safetensors({"weight": torch.zeros(3)}, tmp_path / f"{name}.safetensors")
    given = [str(tmp_path / f"{name}.safetensors") for name in "ab"]
    assert main(["average", *given, "--out", str(tmp_path / "out.safetensors")]) == 2
    assert "which are those of none of base, nano" in capsys.readouterr().err


def test_what_is_there_is_not_overwritten(files, tmp_path, capsys):
    out = tmp_path / "out.safetensors"
    out.write_bytes(b"mine")
    assert main(["average", *map(str, files), "--out", str(out)]) == 2
    assert "not overwritten" in capsys.readouterr().err and out.read_bytes() == b"mine"
