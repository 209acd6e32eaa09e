# SPDX-License-Identifier: Apache-2.0
"""The robotseg command on a small model: segment, bench."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import cv2
import numpy as np
import pytest
from small_models import moving_frames
from tiny_base import TINY

from robotseg_core import cli
from robotseg_core.bench import knobs as bench_knobs
from robotseg_core.masks.nearest import Nearest
from robotseg_core.stream.stream import Stream

pytestmark = pytest.mark.usefixtures("small")


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "clip"
    path.mkdir()
    for i, frame in enumerate(moving_frames(3)):
        cv2.imwrite(str(path / f"frame{7 * i:03}.jpg"), frame[..., ::-1])
    return path


def read(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def test_segment_writes_one_mask_a_part_for_every_frame_with_its_name_and_size(folder, tmp_path):
    assert cli.main(["segment", str(folder), "--out", str(tmp_path / "out")]) == 0
    for part in ("000", "001", "002"):
        masks = sorted((tmp_path / "out" / "clip" / part).iterdir())
        assert [m.name for m in masks] == ["frame000.png", "frame007.png", "frame014.png"]
        for mask in map(read, masks):
            assert mask.shape == (60, 80) and set(np.unique(mask)) <= {0, 255}
    arm, gripper, robot = (read(tmp_path / "out" / "clip" / p / "frame007.png") for p in ("000", "001", "002"))
    assert not (arm & gripper).any() and np.array_equal(arm | gripper, robot)
    assert cv2.VideoCapture(str(tmp_path / "out" / "clip_overlay.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 3
    assert read(tmp_path / "out" / "clip_contact_sheet.png") is not None


def test_segment_takes_a_single_image(folder, tmp_path):
    image = folder / "frame007.jpg"
    assert cli.main(["segment", str(image), "--out", str(tmp_path / "out"), "--no-video"]) == 0
    assert read(tmp_path / "out" / "frame007" / "002" / "frame007.png").shape == (60, 80)
    assert not (tmp_path / "out" / "frame007_overlay.mp4").exists()


def test_soft_masks_cut_at_one_half_are_the_robots(folder, tmp_path):
    out = tmp_path / "out"
    assert cli.main(["segment", str(folder), "--out", str(out), "--no-video", "--soft"]) == 0
    soft = sorted((out / "clip" / "soft").iterdir())
    assert [file.name for file in soft] == ["frame000.png", "frame007.png", "frame014.png"]
    for file in soft:
        assert np.array_equal(read(file) >= 128, read(out / "clip" / "002" / file.name) > 0)
    # Replaced as a whole: soft masks of an earlier run do not stay.
    assert cli.main(["segment", str(folder), "--out", str(out), "--no-video", "--overwrite"]) == 0
    assert not list((out / "clip" / "soft").glob("*.png"))


def test_segment_means_the_robot_in_the_region_and_near_enough(folder, tmp_path, monkeypatch):
    told = []
    step = Stream.step

    def noting(self, frame, stamp=0, *, depth=None):
        told.append((self.nearest, None if depth is None else int(depth.max())))
        return step(self, frame, stamp, depth=depth)

    monkeypatch.setattr(Stream, "step", noting)
    depth = tmp_path / "depth"
    depth.mkdir()
    for i, file in enumerate(sorted(folder.glob("*.jpg"))):
        cv2.imwrite(str(depth / f"{file.stem}.png"), np.full((60, 80), 1000 + i, np.uint16))
    near = ["--region", "0,0,0.5,0,0.5,1", "--depth", str(depth), "--max-depth", "1.5"]
    assert cli.main(["segment", str(folder), "--out", str(tmp_path / "out"), "--no-video", *near]) == 0
    nearest = Nearest(((0.0, 0.0), (0.5, 0.0), (0.5, 1.0)), 1.5)
    assert told == [(nearest, 1000), (nearest, 1001), (nearest, 1002)]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--max-depth", "1.5"], "--depth goes with --max-depth or --depth-border"),
        (["--region", "0,0,640,480,0,1"], "must be shares of the image's width and height"),
        (["--max-depth", "1.5", "--depth", "nowhere"], "nowhere is no folder of depth images"),
    ],
)
def test_segment_refuses_limits_that_cannot_be(folder, tmp_path, capsys, given, words):
    assert cli.main(["segment", str(folder), "--out", str(tmp_path / "out"), *given]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_unreadable_frame_does_not_end_the_run(folder, tmp_path, capsys):
    (folder / "frame010.jpg").write_bytes(b"not an image")
    assert cli.main(["segment", str(folder), "--out", str(tmp_path / "out")]) == 1
    assert "frame010" in capsys.readouterr().err
    for part in ("000", "001", "002"):
        masks = sorted(p.name for p in (tmp_path / "out" / "clip" / part).iterdir())
        assert masks == ["frame000.png", "frame007.png", "frame010.png", "frame014.png"]
    robot = tmp_path / "out" / "clip" / "002"
    assert np.array_equal(read(robot / "frame010.png"), read(robot / "frame007.png"))


def test_the_output_has_the_name_that_was_given_also_of_a_link(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    assert cli.main(["segment", str(tmp_path / "link"), "--out", str(tmp_path / "out"), "--no-video"]) == 0
    assert (tmp_path / "out" / "link" / "002" / "frame000.png").exists()


def test_masks_of_two_inputs_of_one_name_are_not_mixed(folder, tmp_path, capsys):
    other = tmp_path / "front" / "clip"
    other.mkdir(parents=True)
    cv2.imwrite(str(other / "frame000.jpg"), moving_frames(1)[0][:40])
    out = tmp_path / "out"
    assert cli.main(["segment", str(folder), "--out", str(out)]) == 0
    robot = out / "clip" / "002"
    before = {file.name: file.read_bytes() for file in robot.iterdir()}
    assert cli.main(["segment", str(other), "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert "would be mixed" in said and "--overwrite" in said and len(said.splitlines()[-1]) < 400
    assert {file.name: file.read_bytes() for file in robot.iterdir()} == before
    # Replaced as a whole: nothing of the first is left, neither masks nor video; what is not ours stays.
    (robot / "notes.txt").write_text("mine")
    assert cli.main(["segment", str(other), "--out", str(out), "--overwrite", "--no-video"]) == 0
    assert sorted(file.name for file in robot.iterdir()) == ["frame000.png", "notes.txt"]
    assert read(robot / "frame000.png").shape == (40, 80) and not (out / "clip_overlay.mp4").exists()


def test_an_empty_folder_of_that_name_is_no_hindrance(folder, tmp_path):
    (tmp_path / "out" / "clip" / "000").mkdir(parents=True)
    assert cli.main(["segment", str(folder), "--out", str(tmp_path / "out"), "--no-video"]) == 0


def test_segment_takes_a_video(folder, tmp_path):
    video = cv2.VideoWriter(str(tmp_path / "v.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, (80, 60))
    for frame in moving_frames(4):
        video.write(frame)
    video.release()
    assert cli.main(["segment", str(tmp_path / "v.mp4"), "--out", str(tmp_path / "out"), "--no-video"]) == 0
    assert sorted(p.name for p in (tmp_path / "out" / "v" / "001").iterdir())[-1] == "00003.png"


def test_errors_are_one_line_that_names_the_value(tmp_path, capsys):
    assert cli.main(["segment", str(tmp_path / "absent"), "--out", str(tmp_path)]) == 2
    assert "absent does not exist" in capsys.readouterr().err
    assert cli.main(["bench", "--size", "wide"]) == 2
    assert "'wide'" in capsys.readouterr().err


def test_bench_prints_hardware_versions_median_and_p95(capsys):
    assert cli.main(["bench", "--frames", "20", "--size", "80x60", "--ahead"]) == 0
    text = capsys.readouterr().out
    for word in (
        "cores",
        "torch",
        "onnxruntime",
        "GFLOP/s",
        "median ms",
        "p95 ms",
        "decoder",
        "whole step",
        "frames/s",
    ):
        assert word in text


@pytest.fixture
def tiny_base(monkeypatch):
    """Arguments of a bench of base, whose sizes are small here."""
    monkeypatch.setattr(bench_knobs, "BASE", dataclasses.replace(TINY, name="base"))
    return ["bench", "--preset", "base", "--backend", "torch", "--frames", "2", "--size", "80x60"]


def test_bench_of_base_needs_no_weights_and_says_so(tiny_base, capsys):
    assert cli.main(tiny_base) == 0
    text = capsys.readouterr().out
    assert "seeded random weights" in text and "at 128 px" in text
    # The reference's GFLOP are those of the official sizes.
    assert "scale" not in text


def test_bench_prints_a_row_for_every_knob(tiny_base, capsys):
    assert cli.main([*tiny_base, "--knobs"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    found = {(row[0], row[1]) for row in rows if len(row) > 1}
    assert {("memory_frames", str(n)) for n in range(1, TINY.memory_frames)} <= found
    assert {("precision", "bf16"), ("parts", "robot"), ("parts", "gripper")} <= found


def test_bench_compares_frame_1000_with_frame_20_and_says_what_was_stepped(tiny_base, monkeypatch, capsys):
    monkeypatch.setattr(bench_knobs, "MANY", 60)
    assert cli.main([*tiny_base, "--long"]) == 0
    text = capsys.readouterr().out
    assert "(not stepped)" in text and "100 frames stepped" in text


def test_bench_refuses_what_it_cannot_measure(capsys):
    assert cli.main(["bench", "--loop", "graphs"]) == 2
    assert "'graphs', which is for CUDA" in capsys.readouterr().err
    assert cli.main(["bench", "--frames", "1"]) == 2
    assert "--frames is 1" in capsys.readouterr().err


@pytest.mark.parametrize(("command", "package"), [("synth", "mujoco"), ("eval", "matplotlib")])
def test_command_whose_package_is_missing_says_so_in_one_line(command, package):
    code = (
        f"import sys; sys.modules[{package!r}] = None; from robotseg_core.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    ended = subprocess.run([sys.executable, "-c", code, command, "--help"], capture_output=True, text=True)
    assert ended.returncode == 2
    assert ended.stderr == f"robotseg {command}: this needs {package}, which is not installed here\n"
