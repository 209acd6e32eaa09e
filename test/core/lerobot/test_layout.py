# SPDX-License-Identifier: Apache-2.0
"""LeRobot data sets: both layouts are read alike, videos frame by frame, and what is wrong is said."""

import json
import os

import numpy as np
import pytest

pytest.importorskip("pyarrow", reason="LeRobot data sets need the extra 'lerobot'")
pytest.importorskip("av", reason="LeRobot data sets need the extra 'lerobot'")

from lerobot_sets import make_v2, make_v3, picture

from robotseg_core.lerobot.layout import is_data_set, open_data_set
from robotseg_core.lerobot.tables import DataSetError, read_table
from robotseg_core.lerobot.video import ENCODERS, VideoFile, codec_of, read_frames

TOP = "observation.images.top"


@pytest.mark.parametrize("make", [make_v2, make_v3])
def test_every_episode_gives_its_own_frames(tmp_path, make):
    data = open_data_set(make(tmp_path / "set", lengths=(5, 4, 3), cameras=("top",)))
    assert is_data_set(data.root) and (data.version, data.rate_hz) == (2 if make is make_v2 else 3, 10.0)
    assert [(e.index, e.length) for e in data.episodes] == [(0, 5), (1, 4), (2, 3)]
    for episode in data.episodes:
        file, first = episode.videos[TOP]
        frames = list(read_frames(data.root / file, first, episode.length))
        assert len(frames) == episode.length
        for number, rgb in enumerate(frames):
            # The block that moves is where it was in this frame, and in no other one.
            errors = [np.abs(rgb.astype(int) - picture(episode.index, n)).mean() for n in range(5)]
            assert int(np.argmin(errors)) == number and min(errors) < 6


def test_cameras_are_chosen_by_name_or_its_end(tmp_path):
    data = open_data_set(make_v2(tmp_path / "set"))
    assert data.chosen(["wrist"]) == ("observation.images.wrist",) == data.chosen(["observation.images.wrist"])
    assert data.chosen(None) == (TOP, "observation.images.wrist")
    with pytest.raises(DataSetError, match=r"0 cameras called side; it has observation.images.top \(video\)"):
        data.chosen(["side"])
    with pytest.raises(DataSetError, match="no camera kept as image"):
        data.chosen(None, ("image",))


def test_what_a_data_set_says_is_checked(tmp_path):
    root = make_v2(tmp_path / "set")
    path = root / "meta" / "info.json"
    info = json.loads(path.read_text())
    for words, change in (
        ("version v1.6, must be v2 or v3", {"codebase_version": "v1.6"}),
        ("0.0 frames a second", {"fps": 0}),
        ("cannot be read", {"features": None}),
        ("outside the data set", {"video_path": "../{video_key}/{episode_chunk}{episode_index}.mp4"}),
        ("outside the data set", {"data_path": "/etc/{episode_chunk}{episode_index}"}),
        ("does not say which episodes", {"chunks_size": 0}),
        # A template of Python's own could read attributes, or be longer than memory.
        (r"known are episode_chunk, episode_index", {"data_path": "{episode_chunk.__class__}/{episode_index}"}),
        (r"known are video_key", {"video_path": "{video_key:>4000000000}/{episode_chunk}{episode_index}"}),
        (r"has \{password\}", {"data_path": "{password}"}),
        # Pictures in tables have no file whose place would be looked at.
        ("masks could not have that name", {"features": {**info["features"], "../../etc": {"dtype": "image"}}}),
        ("masks could not have that name", {"features": {**info["features"], "..": {"dtype": "image"}}}),
        ("masks could not have that name", {"features": {**info["features"], "a" * 300: {"dtype": "image"}}}),
    ):
        path.write_text(json.dumps({**info, **change}))
        with pytest.raises(DataSetError, match=words):
            open_data_set(root)
    path.write_text(json.dumps(info))
    episodes = root / "meta" / "episodes.jsonl"
    lines = [json.loads(line) for line in episodes.read_text().splitlines()]
    for words, change in (
        ("several episodes 0", [*lines, lines[0]]),
        ("has 0 frames", [{**lines[0], "length": 0}]),
        ("has 1000000000000 frames", [{**lines[0], "length": 10**12}]),
        ("has no", [{**lines[0], "episode_index": 10**12}]),
    ):
        episodes.write_text("".join(f"{json.dumps(line)}\n" for line in change))
        with pytest.raises(DataSetError, match=words):
            open_data_set(root)
    (root / "meta" / "episodes.jsonl").write_text("")
    with pytest.raises(DataSetError, match="has no episodes"):
        open_data_set(root)


def test_tables_and_frames_are_bounded(tmp_path, monkeypatch):
    root = make_v3(tmp_path / "set")
    data = open_data_set(root)
    file, first = data.episodes[0].videos[TOP]
    monkeypatch.setattr("robotseg_core.lerobot.video.MOST_PIXELS", 48 * 64 - 1)
    with pytest.raises(ValueError, match="its frames are 64 x 48, at most 3071 pixels"):
        list(read_frames(root / file, first, 1))
    assert read_table(root / data.episodes[0].data, ["action"]).column_names == ["action"]
    monkeypatch.setattr("robotseg_core.lerobot.tables.MOST_BYTES", 10)
    with pytest.raises(DataSetError, match="can unpack to 0 MiB, must be at most 0"):
        read_table(root / data.episodes[0].data)
    with pytest.raises(DataSetError, match="can unpack to"):
        open_data_set(root)


@pytest.mark.parametrize("codec", ENCODERS)
def test_every_codec_that_is_written_is_read_from_any_frame_on(tmp_path, codec):
    path = tmp_path / "v.mp4"
    with VideoFile(path, 10.0, codec) as video:
        for i in range(8):
            video.write(picture(0, i, 96, 128))
    assert codec_of(path) == codec
    whole = list(read_frames(path))
    for first in range(8):
        assert np.array_equal(next(read_frames(path, first, 1)), whole[first]), first


@pytest.mark.parametrize("codec", ENCODERS)
def test_an_encoder_makes_nobody_real_time(tmp_path, codec):
    def policies():
        return {os.sched_getscheduler(int(task)) for task in os.listdir("/proc/self/task")}

    before = policies()
    with VideoFile(tmp_path / "v.mp4", 10.0, codec) as video:
        for i in range(8):
            video.write(picture(0, i, 96, 128))
            assert policies() <= before
    assert policies() <= before


def test_videos_are_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "v.mp4"
    frames = [picture(0, i) for i in range(4)]
    with VideoFile(path, 10.0, "h264") as video:
        for rgb in frames:
            video.write(rgb)
    assert codec_of(path) == "h264"
    assert [np.abs(a.astype(int) - b).mean() < 8 for a, b in zip(read_frames(path), frames, strict=True)] == [True] * 4
    with pytest.raises(ValueError, match="has 4 frames, 6 are needed"):
        list(read_frames(path, 2, 4))
    with (
        pytest.raises(ValueError, match="63 x 48, both must be even"),
        VideoFile(tmp_path / "w.mp4", 10.0, "h264") as v,
    ):
        v.write(frames[0][:, :63])
    with pytest.raises(ValueError, match="videos in theora cannot be written"):
        VideoFile(tmp_path / "w.mp4", 10.0, "theora")
    (tmp_path / "no.mp4").write_bytes(b"no video")
    with pytest.raises(ValueError, match="cannot be read as a video"):
        list(read_frames(tmp_path / "no.mp4"))
    assert {file.name for file in tmp_path.iterdir()} == {"v.mp4", "no.mp4"}
