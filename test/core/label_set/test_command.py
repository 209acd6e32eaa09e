# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os

import cv2
import numpy as np
import pytest
from label_sets import QUICK, make_tree, manifest, quick_settings, tree

from robotseg_core.cli import main
from robotseg_core.label_set import command
from robotseg_core.label_set.clips import find_clips
from robotseg_core.label_set.command import label_set
from robotseg_core.label_set.labeller import MOST_DEATHS, Labeller
from robotseg_core.label_set.manifest import hold
from robotseg_core.stream.robotseg import RobotSeg
from robotseg_core.weights.files import find_weights, sha256_of


def test_masks_are_those_of_a_stream_and_the_manifest_says_of_which_weights(tmp_path, capsys):
    root = make_tree(tmp_path / "set", clips=2, frames=3)
    assert main(["label-set", str(root), "--out", str(tmp_path / "out"), *QUICK]) == 0
    assert "2 of 2 clips labelled" in capsys.readouterr().out
    header, lines = manifest(tmp_path / "out")
    assert header["weights_sha256"] == sha256_of(find_weights("nano")) and header["layout"] == "vrs"
    assert [(line["clip"], line["state"], line["frames"], line["masked"]) for line in lines] == [
        ("v0", "done", 3, 3),
        ("v1", "done", 3, 3),
    ]
    assert lines[0]["input"] == str(root / "image" / "v0") and lines[0]["seconds"] > 0
    stream = RobotSeg.load("nano", device="cpu", backend="torch", precision="fp32", image_size=64, warm=False).stream()
    for i in range(3):
        bgr = cv2.imread(str(root / "image" / "v1" / f"{i:05d}.png"))
        answer = stream.step(np.ascontiguousarray(bgr[..., ::-1]))
        for part, folder in (("arm", "000"), ("gripper", "001"), ("robot", "002")):
            mask = cv2.imread(str(tmp_path / "out" / "masks" / "v1" / folder / f"{i:05d}.png"), cv2.IMREAD_GRAYSCALE)
            assert np.array_equal(mask, answer[part].mask)
    assert not (tmp_path / "out" / ".partial").exists()


def test_a_bad_clip_fails_alone_is_named_and_is_tried_again(tmp_path, capsys):
    root, out = make_tree(tmp_path / "set", clips=3, frames=2), tmp_path / "out"
    bad = root / "image" / "v1"
    kept = {file: file.read_bytes() for file in bad.iterdir()}
    for file in kept:
        file.write_bytes(b"no picture")
    assert main(["label-set", str(root), "--out", str(out), *QUICK]) == 1
    said = capsys.readouterr()
    assert "2 of 3 clips labelled" in said.out and "1 clips failed" in said.err and "v1: none of 2 frames" in said.err
    assert [line["state"] for line in manifest(out)[1]] == ["done", "failed", "done"]
    assert sorted(p.name for p in (out / "masks").iterdir()) == ["v0", "v2"]
    for file, content in kept.items():
        file.write_bytes(content)
    times = {p: p.stat().st_mtime_ns for p in (out / "masks").rglob("*")}
    assert main(["label-set", str(root), "--out", str(out), *QUICK]) == 0
    assert "1 of 3 clips labelled, 2 before" in capsys.readouterr().out
    assert all(p.stat().st_mtime_ns == time for p, time in times.items() if p != out / "masks")
    assert [(line["clip"], line["state"]) for line in manifest(out)[1]][2:] == [("v2", "done"), ("v1", "done")]


def test_a_run_that_is_cut_off_anywhere_goes_on_and_nothing_is_made_twice(tmp_path, monkeypatch):
    root, out, whole = make_tree(tmp_path / "set"), tmp_path / "out", tmp_path / "whole"
    settings = quick_settings()
    label_set(root, whole, settings)
    labelled = []

    class CutOff(Labeller):
        def label(self, clip):
            if len(labelled) == 1:
                (self._partial(clip) / "000").mkdir()
                raise KeyboardInterrupt
            labelled.append(clip.key)
            return super().label(clip)

    with monkeypatch.context() as patch:
        patch.setattr(command, "Labeller", CutOff)
        with pytest.raises(KeyboardInterrupt):
            label_set(root, out, settings)
    assert labelled == ["v0"] and sorted(p.name for p in (out / "masks").iterdir()) == ["v0"]
    # The power fails: between the name of a clip and its line, and within a line.
    file = out / "manifest.jsonl"
    first = file.read_text().splitlines()[0]
    file.write_text(f'{first}\n{{"clip": "v')
    (out / ".partial" / "v1.host.1.x").mkdir(parents=True)
    report = label_set(root, out, settings)
    assert (report.before, report.done, report.failed) == (1, 2, ())
    assert tree(out) == tree(whole)
    assert [line["clip"] for line in manifest(out)[1]] == ["v0", "v1", "v2"]
    assert not (out / ".partial").exists()


def test_a_clip_at_which_every_process_dies_fails_at_last(tmp_path):
    root, settings = make_tree(tmp_path / "set", clips=2, frames=1), quick_settings()
    labeller, (first, second) = Labeller(settings, tmp_path / "out"), find_clips(root)[1]
    for _ in range(MOST_DEATHS - 1):
        labeller._partial(first)
    assert labeller.label(second).state == "done"
    assert labeller.label(first).state == "done"
    for _ in range(MOST_DEATHS):
        labeller._partial(second)
    outcome = labeller.label(second)
    assert (outcome.state, outcome.error) == ("failed", "5 processes died at it")


def test_labels_of_another_run_and_foreign_folders_are_left_alone(tmp_path, capsys):
    root, out = make_tree(tmp_path / "set", clips=1, frames=1), tmp_path / "out"
    run = ["label-set", str(root), "--out", str(out), *QUICK]
    assert main(run) == 0
    before = tree(out), (out / "manifest.jsonl").read_text()
    assert main([*run[:-3], "96", *run[-2:]]) == 2
    assert "its image_size is 64, now it is 96; give another --out" in capsys.readouterr().err
    assert (tree(out), (out / "manifest.jsonl").read_text()) == before
    foreign = tmp_path / "foreign" / "masks" / "v0"
    foreign.mkdir(parents=True)
    (foreign / "mine.txt").write_text("mine")
    assert main(["label-set", str(root), "--out", str(tmp_path / "foreign"), *QUICK]) == 2
    assert "is not of this run" in capsys.readouterr().err and os.listdir(foreign) == ["mine.txt"]


def test_a_run_that_ended_before_its_first_clip_binds_nobody(tmp_path):
    root, out = make_tree(tmp_path / "set", clips=1, frames=1), tmp_path / "out"
    with hold(out, root=root, layout="vrs", settings=quick_settings()):
        pass
    assert manifest(out)[0]["image_size"] == 64
    run = ["label-set", str(root), "--out", str(out), *QUICK]
    assert main([*run[:-3], "96", *run[-2:]]) == 0
    header, lines = manifest(out)
    assert header["image_size"] == 96 and [line["state"] for line in lines] == ["done"]


def test_two_processes_do_not_label_into_one_folder(tmp_path):
    root, settings = make_tree(tmp_path / "set", clips=1, frames=1), quick_settings()
    with (
        hold(tmp_path / "out", root=root, layout="vrs", settings=settings),
        pytest.raises(RuntimeError, match="another process labels into"),
    ):
        label_set(root, tmp_path / "out", settings)


def test_other_formats_lie_beside_what_says_what_they_are(tmp_path):
    from robotseg_core.files.formats.coco import read_coco

    root, out = make_tree(tmp_path / "set", clips=1, frames=2), tmp_path / "out"
    assert main(["label-set", str(root), "--out", str(out), "--format", "png", "--format", "coco", *QUICK]) == 0
    folder = out / "masks" / "v0"
    assert {p.name for p in folder.iterdir()} == {"000", "001", "002", "clip.json", "v0.coco.json"}
    for name, masks in read_coco(folder / "v0.coco.json"):
        png = cv2.imread(str(folder / "002" / f"{name}.png"), cv2.IMREAD_GRAYSCALE)
        assert np.array_equal(masks["robot"] > 0, png > 0)
    assert json.loads((folder / "clip.json").read_text())["formats"] == ["png", "coco"]


def test_bad_input_gets_one_line(tmp_path, capsys):
    root = make_tree(tmp_path / "set", clips=1, frames=1)
    for more, words in (
        (["--workers", "2"], "--workers goes with --ray"),
        (["--threads", "0"], "--threads is 0"),
        (["--weights", str(tmp_path / "none.safetensors")], "no weight file"),
        (["--adapter", str(tmp_path / "none.safetensors")], "no adapter file"),
    ):
        assert main(["label-set", str(root), "--out", str(tmp_path / "out"), *QUICK, *more]) == 2
        said = capsys.readouterr().err
        assert words in said and len(said.strip().splitlines()) == 1
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"damaged")
    assert main(["label-set", str(root), "--out", str(tmp_path / "out"), *QUICK, "--weights", str(damaged)]) == 2
    assert "damaged" in capsys.readouterr().err
    assert manifest(tmp_path / "out")[1] == []
