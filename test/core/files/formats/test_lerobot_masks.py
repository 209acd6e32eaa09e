# SPDX-License-Identifier: Apache-2.0
"""Masks as features of LeRobot data sets: what is added is right, and all else is as it was."""

import json

import cv2
import numpy as np
import pytest
from small_models import small_robotseg

pytest.importorskip("pyarrow", reason="LeRobot data sets need the extra 'lerobot'")
pytest.importorskip("av", reason="LeRobot data sets need the extra 'lerobot'")

import pyarrow.parquet as pq
from lerobot_sets import files_of, make_v2, make_v3

from robotseg_core import cli
from robotseg_core.lerobot.layout import open_data_set
from robotseg_core.lerobot.video import read_frames
from robotseg_core.storage.new_folder import PARTIAL
from robotseg_core.stream.stream import Stream
from robotseg_core.types import PARTS, ModelFault

pytestmark = pytest.mark.usefixtures("small")

MASKS = "observation.masks.top"


@pytest.fixture(params=[make_v2, make_v3], ids=["v2.1", "v3.0"])
def root(request, tmp_path):
    return request.param(tmp_path / "set")


def segment(root, out, *more):
    return cli.main(["segment", str(root), "--format", "lerobot", "--camera", "top", "--out", str(out), *more])


def masks_in(root):
    """(masks [H, W, 3] arm, gripper, robot; valid) of all rows, in the order of the index."""
    rows = [row for file in sorted((root / "data").glob("*/*.parquet")) for row in pq.read_table(file).to_pylist()]
    rows.sort(key=lambda row: row["index"])
    coded = [np.frombuffer(row[MASKS]["bytes"], np.uint8) for row in rows]
    return [(cv2.imdecode(c, -1)[..., ::-1], row[f"{MASKS}.valid"]) for c, row in zip(coded, rows, strict=True)]


def expected(root):
    """The same by the stream itself, which begins anew with each episode."""
    data = open_data_set(root)
    for episode in data.episodes:
        stream = small_robotseg().stream()
        file, first = episode.videos["observation.images.top"]
        for rgb in read_frames(data.root / file, first, episode.length):
            result = stream.step(rgb)
            yield np.stack([result[part].mask for part in PARTS], -1)


def test_masks_and_validity_of_every_frame_are_added_and_all_else_keeps_its_value(root, tmp_path):
    before = files_of(root)
    assert segment(root, tmp_path / "out") == 0
    assert files_of(root) == before
    for (found, valid), wanted in zip(masks_in(tmp_path / "out"), expected(root), strict=True):
        assert valid and np.array_equal(found, wanted)
    after = files_of(tmp_path / "out")
    assert set(after) == set(before)
    changed = {name for name in before if after[name] != before[name]}
    tables = {name for name in before if name.startswith("data/")}
    assert changed - tables <= {name for name in before if name.startswith("meta/")}
    assert not {name for name in changed if name.startswith("videos/") or "tasks" in name}
    for name in tables:
        old, new = pq.read_table(root / name), pq.read_table(tmp_path / "out" / name)
        assert new.select(old.column_names).equals(old)
        assert set(new.column_names) - set(old.column_names) == {MASKS, f"{MASKS}.valid"}


def test_meta_tells_of_the_new_features_and_keeps_the_old(root, tmp_path):
    assert segment(root, tmp_path / "out") == 0
    old, new = (json.loads((path / "meta" / "info.json").read_text()) for path in (root, tmp_path / "out"))
    features = new.pop("features")
    assert features[MASKS] == {"dtype": "image", "shape": [48, 64, 3], "names": ["height", "width", "channels"]}
    assert features[f"{MASKS}.valid"] == {"dtype": "bool", "shape": [1], "names": None}
    assert {k: v for k, v in features.items() if MASKS not in k} == old.pop("features") and new == old
    shares = np.stack([mask > 0 for mask, _ in masks_in(tmp_path / "out")]).mean((0, 1, 2))
    if (tmp_path / "out" / "meta" / "stats.json").exists():
        stats = json.loads((tmp_path / "out" / "meta" / "stats.json").read_text())
    else:
        lines = (tmp_path / "out" / "meta" / "episodes_stats.jsonl").read_text().splitlines()
        assert [json.loads(line)["stats"][MASKS]["count"] for line in lines] == [[5], [4]]
        means = np.array([json.loads(line)["stats"][MASKS]["mean"] for line in lines]).reshape(2, 3)
        stats = {MASKS: {"mean": (means * [[5 / 9], [4 / 9]]).sum(0).reshape(3, 1, 1).tolist()}}
    assert np.allclose(np.array(stats[MASKS]["mean"])[:, 0, 0], shares, atol=1e-9)
    again = open_data_set(tmp_path / "out")
    assert again.cameras[MASKS].kind == "image" and len(again.episodes) == len(open_data_set(root).episodes)


def test_a_frame_on_which_the_model_fails_is_not_valid(root, tmp_path, monkeypatch, capsys):
    step, calls = Stream.step, []

    def failing(self, *arguments):
        calls.append(1)
        if len(calls) == 3:
            raise ModelFault("not finite")
        return step(self, *arguments)

    monkeypatch.setattr(Stream, "step", failing)
    assert segment(root, tmp_path / "out") == 1
    assert "1 are not valid, the model failed; the first: episode 0, frame 2" in capsys.readouterr().err
    found = masks_in(tmp_path / "out")
    assert [valid for _, valid in found] == [i != 2 for i in range(len(found))]
    assert not found[2][0].any()


def test_interrupted_work_goes_on_and_never_bears_the_final_name(tmp_path, monkeypatch):
    root, out = make_v2(tmp_path / "set"), tmp_path / "out"
    step, calls = Stream.step, []

    def interrupted(self, *arguments):
        calls.append(1)
        if len(calls) == 7:
            raise KeyboardInterrupt
        return step(self, *arguments)

    monkeypatch.setattr(Stream, "step", interrupted)
    assert segment(root, out) == 130
    assert not out.exists() and (tmp_path / f"out{PARTIAL}").is_dir()
    monkeypatch.setattr(Stream, "step", step)
    assert segment(root, out, "--no-video") == 0
    assert segment(root, tmp_path / "whole") == 0
    assert files_of(out) == files_of(tmp_path / "whole") and not (tmp_path / f"out{PARTIAL}").exists()


def test_what_cannot_be_done_is_one_line_and_leaves_nothing(tmp_path, capsys):
    root = make_v3(tmp_path / "set", cameras=("top", "left.top"))
    (tmp_path / "clip.mp4").write_bytes(b"")
    there = set(tmp_path.iterdir())

    def refused(words, *arguments):
        assert cli.main(["segment", *map(str, arguments)]) == 2
        said = capsys.readouterr().err
        assert words in said and len(said.splitlines()) == 1, said
        assert set(tmp_path.iterdir()) == there

    out = tmp_path / "out"
    refused("--format must be lerobot", root, "--out", out)
    refused("--format must be lerobot", root, "--out", out, "--format", "lerobot", "--format", "png")
    refused("no LeRobot data set", tmp_path, "--out", out, "--format", "lerobot")
    refused("clip.mp4 is no LeRobot data set", tmp_path / "clip.mp4", "--out", out, "--format", "lerobot")
    refused("0 cameras called side; it has", root, "--out", out, "--format", "lerobot", "--camera", "side")
    refused("would give observation.masks.top", root, "--out", out, "--format", "lerobot")
    refused("exists; it is not overwritten", root, "--out", root, "--format", "lerobot",
            "--camera", "observation.images.top")  # fmt: skip
    video = next((root / "videos").rglob("*.mp4"))
    video.unlink()
    refused(f"has no {video.relative_to(root)}, which episode", root, "--out", out, "--format", "lerobot")
    (root / "meta" / "info.json").write_text('{"codebase_version": "v1.6"}')
    refused("cannot be read", root, "--out", out, "--format", "lerobot")
