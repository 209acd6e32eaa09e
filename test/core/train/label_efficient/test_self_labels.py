# SPDX-License-Identifier: Apache-2.0
"""robotseg label: what agrees with its mirror image becomes training videos, which the stores of training can read."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from small_models import moving_frames, small_model, small_robotseg

from robotseg_core.cli import main
from robotseg_core.stream.postprocess import part_mask
from robotseg_core.stream.robotseg import RobotSeg
from robotseg_core.train.data.sources import VideoStore
from robotseg_core.train.finetune import labelled_throughout
from robotseg_core.train.label_efficient.first_frames import FirstFrameStore
from robotseg_core.train.label_efficient.frame_features import EncoderFeatures
from robotseg_core.train.label_efficient.self_labels import LabelConfig, judge
from robotseg_core.types import PartMasks, StageTimes, State

HEIGHT, WIDTH = 60, 80


class ByColour:
    """Stands for a model and its streams: takes red for a robot on either side, and green on the left only."""

    preset, device, backend, source = "nano", "cpu", "none", "colours"
    loaded = "nano on cpu, colours"

    def __init__(self):
        self.streams = []

    def stream(self):
        self.streams.append(0)
        number = len(self.streams) - 1

        class Stream:
            def step(_, rgb):
                self.streams[number] += 1
                red, green = rgb[..., 0] > 200, rgb[..., 1] > 200
                green[:, WIDTH // 2 :] = False
                robot = red | green
                upper = np.arange(HEIGHT)[:, None] < 30
                masks = {"arm": robot & upper, "gripper": robot & ~upper, "robot": robot}
                parts = tuple(part_mask(name, mask, 1.0) for name, mask in masks.items())
                return PartMasks(stamp=0, state=State.TRACKING, parts=parts, stage_ms=StageTimes())

        return Stream()


@pytest.fixture
def model(monkeypatch):
    stub = ByColour()
    monkeypatch.setattr(RobotSeg, "load", classmethod(lambda cls, preset="nano", **_: stub))
    return stub


def picture(i=0, *, red=True, green=False):
    """A robot of 20 x 20 pixels, 8.3 % of the picture, and as much of what only looks like one from one side."""
    image = np.full((HEIGHT, WIDTH, 3), 60, np.uint8)
    if red:
        image[20:40, 20 + i : 40 + i] = (250, 0, 0)
    if green:
        image[20:40, 0:20] = (0, 250, 0)
    return image


def make_clip(folder, count, **special):
    """Frames frame000.png on; those of ``green`` hold a guess beside the robot, those of ``empty`` nothing."""
    folder.mkdir(parents=True)
    for i in range(count):
        image = picture(i, green=i in special.get("green", ()), red=i not in special.get("empty", ()))
        cv2.imwrite(str(folder / f"frame{i:03}.png"), image[..., ::-1])
    return folder


def names(folder):
    return sorted(p.stem for p in folder.iterdir())


def frames(*numbers):
    return [f"frame{i:03}" for i in numbers]


def test_a_frame_is_kept_where_both_masks_are_large_enough_and_agree():
    straight = np.zeros((10, 10), np.uint8)
    straight[0:4, 0:4] = 255
    mirrored = np.zeros((10, 10), np.uint8)
    mirrored[0:4, 6:8] = 255  # in the frame itself columns 2 and 3: 8 of 16 pixels
    assert judge(straight, np.ascontiguousarray(straight[:, ::-1]), LabelConfig()).kept == 1
    assert judge(straight, straight, LabelConfig()).differ == 1
    verdict = judge(straight, mirrored, LabelConfig(agree=0.51))
    assert (verdict.frames, verdict.kept, verdict.differ, verdict.best) == (1, 0, 1, 0.5)
    assert judge(straight, mirrored, LabelConfig(agree=0.5)).kept == 1
    # The smaller of the two counts.
    assert judge(straight, mirrored, LabelConfig(agree=0.5, least=0.08)).kept == 1
    assert judge(straight, mirrored, LabelConfig(agree=0.5, least=0.081)).small == 1
    assert judge(mirrored, straight, LabelConfig(agree=0.5, least=0.081)).small == 1
    nothing = np.zeros((10, 10), np.uint8)
    assert judge(nothing, nothing, LabelConfig(agree=0.0, least=1e-9)).small == 1


def test_videos_are_overlapping_windows_of_the_frames_that_are_kept(model, tmp_path, capsys):
    clip = make_clip(tmp_path / "clip", 20, green=(4, 5), empty=(9,))
    root = tmp_path / "labels"
    assert main(["label", str(clip), "--out", str(root), "--window", "8", "--step", "3"]) == 0
    # Kept are all but 4, 5 and 9: 17 frames, a start every third; the rest at the end is too short for a sixth.
    kept = [i for i in range(20) if i not in (4, 5, 9)]
    assert names(root / "image") == names(root / "mask_gt") == [f"clip_{k:03}" for k in range(5)]
    for k in range(5):
        expected = frames(*kept[3 * k : 3 * k + 8])
        assert names(root / "image" / f"clip_{k:03}") == expected
        for part in ("000", "001", "002"):
            assert names(root / "mask_gt" / f"clip_{k:03}" / part) == expected
    assert not any(path.is_symlink() for path in root.rglob("*"))
    image = cv2.imread(str(root / "image/clip_000/frame003.jpg"))[..., ::-1]
    assert np.abs(image.astype(int) - picture(3)).mean() < 3
    for part, rows in (("000", slice(20, 30)), ("001", slice(30, 40)), ("002", slice(20, 40))):
        truth = np.zeros((HEIGHT, WIDTH), np.uint8)
        truth[rows, 23:43] = 255
        assert np.array_equal(cv2.imread(str(root / f"mask_gt/clip_000/{part}/frame003.png"), -1), truth)
    # A row for each video, of three pictures.
    assert cv2.imread(str(root / "sheets/clip_0.png")).shape == (5 * 260, 3 * 320, 3)
    said = capsys.readouterr().out
    assert "clip       20    17          1         2       5" in said and str(root / "sheets") in said
    # Two streams of one model, each of all frames.
    assert model.streams == [20, 20]
    assert labelled_throughout(root)
    store = VideoStore(root, tmp_path / "cache")
    assert store.names == names(root / "image") and len(store.rgb) == sum(
        len(kept[3 * k : 3 * k + 8]) for k in range(5)
    )
    assert (store.label == 1).any((1, 2)).all() and (store.label == 2).any((1, 2)).all()


def test_first_frames_alone_must_agree_and_have_masks(model, tmp_path):
    clip = make_clip(tmp_path / "clip", 12, green=(0, 3, 4), empty=(7,))
    root = tmp_path / "first"
    assert main(["label", str(clip), "--out", str(root), "--first", "--window", "6", "--step", "3"]) == 0
    # Starts are frames that agree, at least three after the one before: 1, 5, 8; 11 has nothing after it.
    starts = (1, 5, 8)
    assert names(root / "image") == ["clip_000", "clip_001", "clip_002"]
    for k, start in enumerate(starts):
        assert names(root / "image" / f"clip_{k:03}") == frames(*range(start, min(start + 6, 12)))
        for part in ("000", "001", "002"):
            assert names(root / "mask_gt" / f"clip_{k:03}" / part) == frames(start)
    assert cv2.imread(str(root / "sheets/clip_0.png")).shape == (260, 3 * 320, 3)
    assert not labelled_throughout(root)
    store = FirstFrameStore(root, tmp_path / "cache", EncoderFeatures(small_model(), side=64))
    assert store.starts.tolist() == [0, 6, 12, 16]
    assert all((store.label[i] == part).any() for i in (0, 6, 12) for part in (1, 2))
    # Without --first frame 2, which agrees, has its masks, too.
    with pytest.raises(FileNotFoundError, match="frame002"):
        VideoStore(root, tmp_path / "cache")


def test_a_folder_of_folders_and_a_video_file(model, tmp_path, capsys):
    make_clip(tmp_path / "clips" / "one", 4)
    make_clip(tmp_path / "clips" / "two", 5)
    (tmp_path / "clips" / "notes").mkdir()
    (tmp_path / "clips" / "two" / "frame002.png").write_bytes(b"not an image")
    video = cv2.VideoWriter(str(tmp_path / "three.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, (WIDTH, HEIGHT))
    for i in range(4):
        video.write(picture(i)[..., ::-1])
    video.release()
    root = tmp_path / "labels"
    assert main(["label", str(tmp_path / "clips"), str(tmp_path / "three.mp4"), "--out", str(root)]) == 0
    assert names(root / "image") == ["one_000", "three_000", "two_000"]
    assert names(root / "image/two_000") == frames(0, 1, 3, 4)
    assert names(root / "image/three_000") == ["00000", "00001", "00002", "00003"]
    # Each input has streams of its own, without memory of the one before.
    assert model.streams == [4, 4, 4, 4, 4, 4]
    said = capsys.readouterr()
    assert "all        12    12          0         0       3" in said.out and "frame002.png cannot be read" in said.err


@pytest.mark.parametrize(
    ("count", "special", "reason"),
    [
        (5, {"green": range(5)}, "agrees with its mirror image by less than 0.6 in 5 (at best 0.50)"),
        (5, {"empty": range(5)}, "of 5 frames the robot covers less than 0.01 of the picture in 5"),
        (5, {"empty": (1, 3)}, "3 agree, but make no video of at least 4 frames"),
    ],
)
def test_where_nothing_is_kept_the_reason_is_said(model, tmp_path, capsys, count, special, reason):
    clip = make_clip(tmp_path / "clip", count, **special)
    assert main(["label", str(clip), "--out", str(tmp_path / "labels")]) == 1
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "labels").exists()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--agree", "1.5"], "agree is 1.5, must be 0 to 1"),
        (["--agree", "nan"], "agree is nan"),
        (["--least", "0"], "least is 0.0, must be above 0"),
        (["--window", "3"], "window is 3, must be at least 4"),
        (["--step", "13"], "step is 13, must be 1 to the window's 12"),
    ],
)
def test_values_out_of_range_are_refused(model, tmp_path, capsys, options, reason):
    clip = make_clip(tmp_path / "clip", 1)
    assert main(["label", str(clip), "--out", str(tmp_path / "labels"), *options]) == 2
    assert reason in capsys.readouterr().err and not model.streams


def test_wrong_inputs_and_a_root_that_is_in_use_are_refused(model, tmp_path, capsys):
    clip, other = make_clip(tmp_path / "clip", 4), make_clip(tmp_path / "other" / "clip", 4)
    (tmp_path / "broken.mp4").write_bytes(b"not a video")
    (tmp_path / "bare").mkdir()

    def refused(*inputs, out=tmp_path / "labels"):
        assert main(["label", *map(str, inputs), "--out", str(out)]) == 2
        return capsys.readouterr().err

    assert f"{tmp_path / 'absent'} does not exist" in refused(clip, tmp_path / "absent")
    assert "broken.mp4 cannot be read as a video" in refused(clip, tmp_path / "broken.mp4")
    assert "bare has neither images nor folders of images" in refused(tmp_path / "bare")
    assert "are both named clip" in refused(clip, other)
    assert f"{clip} exists and is not an empty folder" in refused(other, out=clip)
    # Nothing was begun before all inputs had been looked at.
    assert not model.streams and not (tmp_path / "labels").exists()
    (tmp_path / "labels").mkdir()
    assert main(["label", str(clip), "--out", str(tmp_path / "labels")]) == 0


def test_masks_are_those_of_the_stream_whatever_the_mirrored_one_sees(tmp_path, monkeypatch):
    monkeypatch.setattr(RobotSeg, "load", classmethod(lambda cls, preset="nano", **_: small_robotseg()))
    (tmp_path / "clip").mkdir()
    for i, frame in enumerate(moving_frames(4)):
        cv2.imwrite(str(tmp_path / "clip" / f"{i}.png"), frame[..., ::-1])
    options = ["--agree", "0", "--least", "0.001"]
    assert main(["label", str(tmp_path / "clip"), "--out", str(tmp_path / "labels"), *options]) == 0
    assert main(["segment", str(tmp_path / "clip"), "--out", str(tmp_path / "masks"), "--no-video"]) == 0
    for mask in sorted((tmp_path / "masks" / "clip").rglob("*.png")):
        ours = tmp_path / "labels" / "mask_gt" / "clip_000" / mask.parent.name / mask.name
        assert np.array_equal(cv2.imread(str(ours), -1), cv2.imread(str(mask), -1))
