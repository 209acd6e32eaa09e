# SPDX-License-Identifier: Apache-2.0
"""What the player can open."""

import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from patience import PATIENCE_S
from PIL import Image
from png_bombs import png_that_says

from robotseg_core.files.frames import FrameError, InputError, open_frames
from robotseg_core.files.natural import natural


def test_nothing_decodes_a_picture_that_is_too_large_whoever_asks(tmp_path):
    """OpenCV itself refuses it, also where its size could not be read before."""
    Image.new("1", (9500, 9500)).save(tmp_path / "large.png")
    code = "import robotseg_core, cv2, sys; print(cv2.imread(sys.argv[1]))"
    command = [sys.executable, "-c", code, str(tmp_path / "large.png")]
    environment = {name: value for name, value in os.environ.items() if name != "OPENCV_IO_MAX_IMAGE_PIXELS"}
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=PATIENCE_S)
    assert "None" in ended.stdout or "CV_IO_MAX_IMAGE_PIXELS" in ended.stderr


def test_folder_is_played_in_the_order_of_its_names(tmp_path):
    for value, name in ((30, "b.png"), (10, "a.png"), (20, "a1.PNG")):
        cv2.imwrite(str(tmp_path / name), np.full((8, 8, 3), value, np.uint8))
    (tmp_path / "notes.txt").write_text("not a frame")
    source = open_frames(str(tmp_path))
    assert (source.count, source.rate_hz, source.live) == (3, 10.0, False)
    assert [(name, int(frame[0, 0, 0])) for name, frame in source.frames] == [("a", 10), ("a1", 20), ("b", 30)]


def test_video_has_its_own_rate_and_all_its_frames(tmp_path):
    path = str(tmp_path / "clip.mp4")
    writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"mp4v"), 12.0, (64, 48))
    for value in (0, 120, 240):
        writer.write(np.full((48, 64, 3), value, np.uint8))
    writer.release()
    source = open_frames(path)
    assert (source.count, source.rate_hz) == (3, 12.0)
    assert [round(float(frame.mean()), -1) for _, frame in source.frames] == pytest.approx([0, 120, 240], abs=10)


def test_inputs_that_cannot_be_played_are_named(tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    bad_image = tmp_path / "images" / "a.jpg"
    bad_image.parent.mkdir()
    bad_image.write_bytes(b"no image")
    for source, words in (
        (tmp_path / "absent.mp4", "does not exist"),
        (broken, "cannot be read as a video"),
        ("/dev/video99", "cannot be read as a camera"),
    ):
        with pytest.raises(InputError, match=words):
            open_frames(str(source))
    with pytest.raises(InputError, match=r"a\.jpg cannot be read as an image"):
        list(open_frames(str(bad_image.parent)).frames)
    bad_image.unlink()
    with pytest.raises(InputError, match="has no images"):
        open_frames(str(bad_image.parent))


def names(folder):
    return [name for name, _ in open_frames(str(folder)).frames]


def grey(path, value=0, size=8):
    cv2.imwrite(str(path), np.full((size, size, 3), value, np.uint8))


@pytest.mark.parametrize(
    "stems",
    [
        [str(i) for i in range(1, 13)],
        [f"frame{i}" for i in (0, 2, 9, 10, 100)],
        ["a2b9", "a2b10", "a10b1"],
        ["cam_1.5", "cam_1.10", "cam_2.0"],
        [f"{i:03}" for i in range(8, 13)],
        ["0", "-", "a", "\u00e4"],
    ],
)
def test_frames_come_in_the_order_of_their_numbers(tmp_path, stems, caplog):
    for stem in reversed(stems):
        grey(tmp_path / f"{stem}.png")
    assert names(tmp_path) == stems
    assert "doubtful" not in caplog.text


@given(st.lists(st.text(st.characters(blacklist_characters="/\0"), max_size=6), max_size=8))
@settings(deadline=None)
def test_any_names_have_an_order_that_does_not_depend_on_how_they_are_listed(listed):
    assert sorted(listed, key=natural) == sorted(reversed(listed), key=natural)


@given(st.lists(st.integers(0, 10**6), unique=True, min_size=2), st.text("ab_-.", max_size=3), st.integers(0, 5))
@settings(deadline=None)
def test_numbers_with_or_without_zeros_before_them_are_in_their_order(numbers, prefix, digits):
    ordered = sorted((f"{prefix}{number:0{digits}}" for number in numbers), key=natural)
    assert [int(name[len(prefix) :]) for name in ordered] == sorted(numbers)


def test_doubtful_names_are_said(tmp_path, caplog):
    for stem in ("7", "007", "8"):
        grey(tmp_path / f"{stem}.png")
    assert names(tmp_path) == ["007", "7", "8"]
    assert "the order of 007.png and 7.png is doubtful" in caplog.text
    for stem in ("left_1", "left_2", "right_1", "right_2"):
        grey(tmp_path / f"{stem}.png")
    names(tmp_path)
    assert "several patterns" in caplog.text and "2 left_#" in caplog.text


def test_other_pictures_in_a_folder_are_said_and_hidden_files_are_none(tmp_path, caplog):
    grey(tmp_path / "1.png")
    # As macOS leaves them on foreign disks.
    (tmp_path / "._1.png").write_bytes(b"no picture")
    for name in ("2.HEIC", "3.heic", "4.gif", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    assert names(tmp_path) == ["1"]
    assert "left out: 1 .gif, 2 .heic" in caplog.text and "txt" not in caplog.text


@pytest.mark.parametrize("suffix", [".webp", ".png", ".tiff"])
def test_animations_are_taken_whole_or_said_to_be_cut(tmp_path, suffix, caplog):
    pages = [Image.new("RGB", (9, 7), (value, 0, 255 - value)) for value in (10, 120, 250)]
    options = {} if suffix == ".tiff" else {"duration": 50, "lossless": True}
    path = tmp_path / "frames" / f"moving{suffix}"
    path.parent.mkdir()
    pages[0].save(path, save_all=True, append_images=pages[1:], **options)
    source = open_frames(str(path))
    assert source.count == 3 and source.rate_hz == (10.0 if suffix == ".tiff" else 20.0)
    played = list(source.frames)
    assert [name for name, _ in played] == ["00000", "00001", "00002"]
    # BGR: red is the last.
    assert [tuple(int(v) for v in frame[3, 4]) for _, frame in played] == [(245, 0, 10), (135, 0, 120), (5, 0, 250)]
    grey(path.with_name("other.png"))
    assert sorted(names(path.parent)) == ["moving", "other"]
    assert f"moving{suffix} holds 3 pictures, of which the first is taken" in caplog.text


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("size", [(10_000, 10_000), (30_000, 30_000), (2**31 - 1, 2**31 - 1)])
def test_a_picture_that_says_it_is_huge_is_not_decoded(tmp_path, monkeypatch, size):
    (tmp_path / "a.png").write_bytes(png_that_says(*size))
    grey(tmp_path / "b.png", 7)
    read = cv2.imread
    monkeypatch.setattr(cv2, "imread", lambda path, flags: read(path, flags) if "b.png" in path else pytest.fail(path))
    frames = iter(open_frames(str(tmp_path)).frames)
    with pytest.raises(FrameError, match=r"a\.png"):
        next(frames)
    assert next(frames)[0] == "b"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.mp4", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
        ("a.jpg", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
        ("a.mp4", b"<!DOCTYPE html><title>Sign in</title>", "a web page"),
        ("a.png", b"", "it is empty"),
        ("a.avi", b"#ROSBAG V2.0\n", "ROS 1 bag"),
    ],
)
def test_what_is_something_else_is_called_by_its_name(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=words):
        list(open_frames(str(tmp_path / name)).frames)


def test_cameras_by_number_and_network_streams_are_opened_as_live_sources(tmp_path, monkeypatch):
    asked = []

    class Capture:
        def __init__(self, source):
            asked.append(source)

        def read(self):
            return True, np.zeros((8, 8, 3), np.uint8)

        def get(self, _):
            return 0.0

        def release(self):
            pass

    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    monkeypatch.chdir(tmp_path)
    for source in ("0", "/dev/video12", "rtsp://camera.local/stream"):
        assert open_frames(source).live
    assert asked == [0, 12, "rtsp://camera.local/stream"]
    # A file or folder of that name is what is meant.
    (tmp_path / "0").mkdir()
    with pytest.raises(InputError, match="has no images"):
        open_frames("0")
