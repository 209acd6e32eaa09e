# SPDX-License-Identifier: Apache-2.0
"""The robustness sweep: frames made harder, wrong masks in memory, and the whole of it on a small model."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from small_models import moving_frames, small_robotseg
from test_evaluate_command import box, write_video

from robotseg_core import cli
from robotseg_core.evaluation import recovery
from robotseg_core.evaluation.dataset import read_root
from robotseg_core.evaluation.perturb import PERTURBATIONS, occlude
from robotseg_core.evaluation.recovery import CASES, Disturbance, disturb, summarise_recovery
from robotseg_core.stream.robotseg import RobotSeg
from robotseg_core.stream.session import Session

IMAGE = moving_frames(1)[0]


@pytest.mark.parametrize("kind", PERTURBATIONS, ids=lambda kind: kind.name)
def test_frames_get_worse_with_the_strength_and_are_the_same_every_time(kind):
    before = IMAGE.copy()
    damage = []
    for strength in kind.strengths:
        spoilt, truth = kind.spoil(strength)("video", 3, IMAGE, {"robot": None})
        again, _ = kind.spoil(strength)("video", 3, IMAGE, {"robot": None})
        np.testing.assert_array_equal(spoilt, again)
        assert spoilt.shape == IMAGE.shape and spoilt.dtype == np.uint8 and truth == {"robot": None}
        damage.append(np.abs(spoilt.astype(float) - IMAGE).mean())
    assert 0 < damage[0] < damage[1] < damage[2]
    np.testing.assert_array_equal(IMAGE, before)


def test_an_occluder_covers_robot_and_truth_alike_and_goes_again():
    robot = box()
    truth = {"arm": robot.copy(), "gripper": None, "robot": robot}
    for index in range(8):
        image, rest = occlude(0.5, "video", index, IMAGE, truth)
        if index % 4 < 2:
            assert image is IMAGE and rest is truth
            continue
        changed = (image != IMAGE).any(-1)
        gone = robot & ~rest["robot"]
        # Half the sides: a quarter of the box, all of it before the robot, whose mask fills its box.
        assert gone.sum() == 10 * 15 and not changed[~gone].any() and changed[gone].mean() > 0.9
        assert rest["gripper"] is None and np.array_equal(rest["arm"], rest["robot"])
    assert robot.sum() == 20 * 30


def test_frames_until_recovery():
    def frames(disturbed, clean=(0.8, 0.8, 0.8)):
        return Disturbance("1 frame", "v", "arm", clean, disturbed).frames

    assert frames((0.8, 0.7, 0.8)) == 0
    assert frames((0.1, 0.7, 0.76)) == 2
    assert frames((0.1, 0.7, 0.74)) is None
    assert not Disturbance("1 frame", "v", "arm", (0.4, 0.5), (0.4, 0.5)).counts
    assert not Disturbance("1 frame", "v", "arm", (), ()).counts


def test_only_what_was_followed_counts_for_recovery():
    case = "3 frames"
    found = [
        Disturbance(case, "a", "arm", (0.8, 0.8, 0.8), (0.2, 0.8, 0.8)),
        Disturbance(case, "b", "arm", (0.6, 0.6), (0.0, 0.0)),
        Disturbance(case, "c", "arm", (0.1, 0.1), (0.1, 0.1)),
    ]
    row = next(row for row in summarise_recovery(found) if row.case == case)
    assert (row.objects, row.recovered, row.frames) == (2, 1, 1.0)
    assert row.loss == pytest.approx((0.6, 0.3))
    empty = next(row for row in summarise_recovery(found) if row.case == "1 frame")
    assert empty.objects == 0 and empty.as_json()["median_frames"] is None


def test_wrong_masks_enter_the_memory_on_the_frames_that_are_said(tmp_path, monkeypatch):
    write_video(tmp_path, "franka_1", [np.zeros_like(box()), *(box(18 + i) for i in range(9))])
    given = []
    original = Session.prompt_mask

    def spy(self, index, frame, mask):
        given.append((id(self), index, mask.numpy()))
        return original(self, index, frame, mask)

    monkeypatch.setattr(Session, "prompt_mask", spy)
    found = disturb(small_robotseg(), read_root(tmp_path)[0], ["robot"])
    frames = {}
    for session, index, mask in given:
        frames.setdefault(session, []).append(index)
        # Displaced by half the image's width.
        np.testing.assert_array_equal(mask, np.roll(box(17 + index), 40, axis=1))
    # The part is first seen on frame 1.
    assert sorted(frames.values()) == [[1], [3], [3, 4, 5], [3, 4, 5, 6, 7]]
    assert {one.case: len(one.disturbed) for one in found} == {
        "1 frame": 6,
        "3 frames": 4,
        "5 frames": 2,
        "first frame": 8,
    }
    assert all(len(one.clean) == len(one.disturbed) for one in found)


def test_a_sweep_writes_table_plot_and_figures(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(RobotSeg, "load", classmethod(lambda cls, preset="nano", **_: small_robotseg()))
    monkeypatch.setattr(recovery, "FOLLOWED", 0.0)
    root, out = tmp_path / "set", tmp_path / "out"
    write_video(root, "franka_1", [box(18 + i) for i in range(4)])
    assert cli.main(["eval", str(root), "--robustness", "--parts", "robot", "--out", str(out)]) == 0
    whole = json.loads((out / "robustness.json").read_text())
    checks = [(row["check"], row["protocol"]) for row in whole["checks"]]
    for check in ("blur", "dark", "noise", "jpeg", "occlusion"):
        assert checks.count((check, "stream")) == 3
    for protocol in ("1c", "bb"):
        assert checks.count(("prompt misses", protocol)) == 3 and checks.count(("none", protocol)) == 1
    assert checks.count(("memory", "stream")) == 1
    assert [row["wrong_masks"] for row in whole["recovery"]] == list(CASES)
    # Of four frames only these two leave some after the wrong masks.
    assert [row["objects"] for row in whole["recovery"]] == [1, 0, 0, 1]
    text = (out / "robustness.md").read_text()
    assert "robustness.png" in text and cv2.imread(str(out / "robustness.png")) is not None
    assert "prompt misses" in capsys.readouterr().out
    assert len((out / "robustness.jsonl").read_text().splitlines()) == len(checks) + len(CASES)


def test_a_sweep_of_single_images_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(RobotSeg, "load", classmethod(lambda cls, preset="nano", **_: small_robotseg()))
    write_video(tmp_path, "franka_1", [box()])
    assert cli.main(["eval", str(tmp_path), "--robustness", "--out", str(tmp_path / "out")]) == 2
    assert "only single images" in capsys.readouterr().err
