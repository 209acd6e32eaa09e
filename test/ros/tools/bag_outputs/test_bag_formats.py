# SPDX-License-Identifier: Apache-2.0
"""robotseg bag --format: masks of a bag's images as files, called by their stamps."""

import cv2
import numpy as np
import pytest
from small_models import moving_frames, small_robotseg

pytest.importorskip("rosbags", reason="bags need the extra 'bag'")

from small_bags import STEP_NS, T0, write_bag

from robotseg_core import cli
from robotseg_core.files.formats.coco import read_coco
from robotseg_core.files.formats.labels import read_labels
from robotseg_core.stream.stream import Stream
from robotseg_core.types import PARTS

pytestmark = pytest.mark.usefixtures("small")

FRAMES = moving_frames(4)
NAMES = [str(T0 + number * STEP_NS) for number in range(4)]


def expected():
    stream = small_robotseg().stream()
    return [stream.step(frame) for frame in FRAMES]


def test_every_format_holds_the_masks_of_every_image_by_its_stamp(tmp_path):
    bag = write_bag(tmp_path / "drive", FRAMES)
    formats = [word for kind in ("png", "coco", "coco-gz", "labels") for word in ("--format", kind)]
    assert cli.main(["bag", str(bag), "--out", str(tmp_path / "out"), *formats]) == 0
    results = dict(zip(NAMES, expected(), strict=True))
    for file in ("drive.coco.json", "drive.coco.json.gz"):
        found = dict(read_coco(tmp_path / "out" / file))
        assert list(found) == NAMES
        assert all(np.array_equal(found[n][p], results[n][p].mask) for n in NAMES for p in PARTS)
    labels = dict(read_labels(tmp_path / "out" / "drive_labels.avi"))
    for number, name in enumerate(NAMES):
        robot = results[name]["robot"].mask
        assert np.array_equal(labels[name] > 0, robot > 0), number
        assert np.array_equal(cv2.imread(str(tmp_path / "out" / "drive" / "002" / f"{name}.png"), 0), robot)
    assert cv2.VideoCapture(str(tmp_path / "out" / "drive_labels.avi")).get(cv2.CAP_PROP_FPS) == 20


def test_an_image_that_cannot_be_read_is_not_known(tmp_path, capsys):
    bag = write_bag(tmp_path / "drive", FRAMES, broken=(1,))
    assert cli.main(["bag", str(bag), "--out", str(tmp_path / "out"), "--format", "coco"]) == 1
    found = dict(read_coco(tmp_path / "out" / "drive.coco.json"))
    assert [name for name, masks in found.items() if masks is None] == ["unreadable_1"] and len(found) == 4
    assert "1 images could not be read; the first: number 1: step is 3" in capsys.readouterr().err


def test_nothing_is_overwritten_joined_or_left_half_done(tmp_path, capsys, monkeypatch):
    bag = write_bag(tmp_path / "drive", FRAMES)
    (tmp_path / "mine").mkdir()
    assert cli.main(["bag", str(bag), "--out", str(tmp_path / "mine"), "--format", "png"]) == 2
    assert "exists; it is not overwritten" in capsys.readouterr().err
    new = str(tmp_path / "new")
    assert cli.main(["bag", str(bag), "--out", new, "--format", "png", "--format", "topics"]) == 2
    assert "cannot be joined" in capsys.readouterr().err
    step, calls = Stream.step, []

    def interrupted(self, *arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return step(self, *arguments)

    monkeypatch.setattr(Stream, "step", interrupted)
    assert cli.main(["bag", str(bag), "--out", new, "--format", "png", "--format", "labels"]) == 130
    assert {path.name for path in tmp_path.iterdir()} == {"drive", "mine"}
