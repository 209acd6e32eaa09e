# SPDX-License-Identifier: Apache-2.0
"""What the player can open."""

import cv2
import numpy as np
import pytest

from robotseg_core.files.frames import InputError, open_frames


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
