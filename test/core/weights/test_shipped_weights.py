# SPDX-License-Identifier: Apache-2.0
"""What the shipped nano weights reach: guards against losing it, a little below the figures of models/README.md."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from robotseg_core.evaluation.metrics import iou
from robotseg_core.files.frames import open_frames
from robotseg_core.files.mask_files import FOLDERS
from robotseg_core.stream.robotseg import RobotSeg
from robotseg_core.types import PARTS

ROOT = Path(__file__).resolve().parents[3]
SHARED = ROOT.parent / "shared"

VAL_ROBOT, VAL_GRIPPER, DEMO_ROBOT = 0.69, 0.37, 0.75


@pytest.fixture(scope="module")
def nano():
    return RobotSeg.load("nano", device="cpu")


def mean_iou(nano, videos, truth, every=1):
    """Mean IoU per part of the annotated frames, streamed through the memory."""
    found = {part: [] for part in PARTS}
    for video in videos:
        stream = nano.stream()
        for number, (name, bgr) in enumerate(open_frames(str(video)).frames):
            result = stream.step(np.ascontiguousarray(bgr[..., ::-1]))
            if number % every:
                continue
            for part in PARTS:
                mask = cv2.imread(str(truth(video) / FOLDERS[part] / f"{name}.png"), cv2.IMREAD_GRAYSCALE)
                if mask is not None:
                    found[part].append(iou(result[part].mask > 0, mask > 0))
    return {part: float(np.mean(values)) for part, values in found.items()}


def test_weights_are_small_and_hashed():
    file = ROOT / "models" / "nano.safetensors"
    assert file.stat().st_size < 20e6
    assert file.name in (ROOT / "models" / "SHA256SUMS").read_text()


def test_arms_never_trained_on_are_found_in_rendered_videos(nano):
    root = SHARED / "starter" / "val"
    if not root.is_dir():
        pytest.skip("../shared/starter/val is not beside this checkout")
    videos = sorted((root / "image").iterdir())[::2]
    reached = mean_iou(nano, videos, lambda video: root / "mask_gt" / video.name, every=3)
    assert reached["robot"] >= VAL_ROBOT
    assert reached["gripper"] >= VAL_GRIPPER


def test_the_robot_of_the_demo_clip_is_found(nano):
    reached = mean_iou(nano, [ROOT / "demo" / "clip.mp4"], lambda _: ROOT / "demo" / "mask_gt" / "clip")
    assert reached["robot"] >= DEMO_ROBOT


def test_hands_without_a_robot_are_left_unmarked(nano):
    folder = SHARED / "clips" / "frames" / "neg_doughkneading"
    if not folder.is_dir():
        pytest.skip("../shared/clips is not beside this checkout")
    stream = nano.stream()
    marked = [
        float((stream.step(frame[..., ::-1].copy())["robot"].mask > 0).mean())
        for _, frame in open_frames(str(folder)).frames
    ]
    assert np.mean(marked) <= 0.02


def test_a_black_picture_has_no_robot(nano):
    assert nano.stream().step(cv2.cvtColor(np.zeros((480, 640), np.uint8), cv2.COLOR_GRAY2RGB))["robot"].area == 0
