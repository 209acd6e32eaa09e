# SPDX-License-Identifier: Apache-2.0
"""``robotseg say``: files, exit statuses, and what is said of bad input."""

import cv2
import numpy as np
import pytest
from instruct_scenes import ORANGE, WHITE, view_of

from robotseg_core import cli
from robotseg_core.instruct import command


class Stand:
    """A perfect model of the pictures of instruct_scenes: a frame's masks are found by its robots' count."""

    preset, device, source = "fake", "cpu", "none"

    def __init__(self, shown):
        self.shown = iter(shown)

    def encode_frames(self, frames):
        self.view = view_of(next(self.shown))
        return [self]

    @property
    def size(self):
        return self.view.rgb.shape[:2]

    def stream(self):
        return self

    def step_encoded(self, encoded, stamp):
        return self.view.parts


@pytest.fixture
def say(tmp_path, monkeypatch, capsys):
    def run(bars, text, *options):
        folder = tmp_path / "clip"
        folder.mkdir(exist_ok=True)
        for i, one in enumerate(bars):
            cv2.imwrite(str(folder / f"f{i}.png"), view_of(one).rgb[..., ::-1])
        monkeypatch.setattr(command, "load_model", lambda arguments: Stand(bars))
        status = cli.main(["say", str(folder), text, "--out", str(tmp_path / "out"), "--no-video", *options])
        masks = sorted((tmp_path / "out" / "clip" / "target").glob("*.png"))
        return status, {m.stem: cv2.imread(str(m), cv2.IMREAD_UNCHANGED) for m in masks}, capsys.readouterr()

    return run


ONE, TWO = [(30, WHITE)], [(30, WHITE), (150, ORANGE)]


def test_found(say):
    status, masks, said = say([TWO, TWO], "the grippers")
    assert status == 0 and list(masks) == ["f0", "f1"]
    want = view_of(TWO).parts["gripper"].mask
    for mask in masks.values():
        np.testing.assert_array_equal(mask, want)
    assert "'the grippers': found" in said.out and "target in 2" in said.out


def test_none_is_an_empty_mask_and_status_3(say):
    status, masks, said = say([ONE, ONE], "the orange arm")
    assert status == 3 and len(masks) == 2
    assert not any(mask.any() for mask in masks.values())
    assert all(mask.shape == (120, 200) for mask in masks.values())
    assert "none" in said.out


def test_asked_again_until_it_is_in_view(say):
    status, masks, _ = say([[], ONE, []], "the robot")
    assert status == 0
    assert [bool(mask.any()) for mask in masks.values()] == [False, True, False]


def test_not_understood_is_status_4_and_no_mask(say):
    status, masks, said = say([TWO], "the red cup\x1b[31m")
    assert status == 4 and not masks
    assert "names no robot, arm or gripper" in said.out and "\x1b" not in said.out


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("x" * 500, (), "500 characters, must have at most 200"),
        (" ", (), "the request is empty"),
        ("robot", ("--policy", "seg-r1"), "needs --policy-weights FOLDER"),
        ("robot", ("--policy", "seg-r1", "--policy-weights", "nowhere"), "nowhere has no config.json"),
    ],
)
def test_bad_requests_are_errors(say, text, options, words):
    status, masks, said = say([TWO], text, *options)
    assert (status, masks) == (2, {}) and words in said.err


def test_an_unreadable_frame_is_reported(say, tmp_path):
    folder = tmp_path / "clip"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"no picture")
    status, masks, said = say([ONE], "the robot")
    assert status == 1 and list(masks) == ["f0"] and "not readable, no mask written: a" in said.err


@pytest.mark.real_model
def test_with_the_shipped_weights(tmp_path):
    picture = np.full((120, 160, 3), 90, np.uint8)
    cv2.imwrite(str(tmp_path / "grey.png"), picture)
    status = cli.main(["say", str(tmp_path / "grey.png"), "the left gripper", "--out", str(tmp_path / "out")])
    assert status == 3
    mask = cv2.imread(str(tmp_path / "out" / "grey" / "target" / "grey.png"), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (120, 160) and not mask.any()
    assert (tmp_path / "out" / "grey_target_sheet.png").is_file()
