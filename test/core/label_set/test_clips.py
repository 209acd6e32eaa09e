# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import pytest
from label_sets import make_tree
from small_models import moving_frames

from robotseg_core.label_set.clips import find_clips, frames_of


def write_video(path, frames):
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (80, 60))
    for frame in frames:
        writer.write(frame)
    writer.release()


def test_a_vrs_tree_is_a_clip_a_folder_in_natural_order(tmp_path):
    root = make_tree(tmp_path / "set", clips=2, frames=3)
    shutil.copytree(root / "image" / "v0", root / "image" / "v10")
    layout, clips = find_clips(root)
    assert layout == "vrs" and [clip.key for clip in clips] == ["v0", "v1", "v10"]
    rate_hz, frames = frames_of(clips[1])
    found = list(frames)
    assert rate_hz == 10 and [name for name, _ in found] == ["00000", "00001", "00002"]
    # RGB, where OpenCV has written BGR.
    assert np.array_equal(found[0][1], moving_frames(2)[1][..., ::-1])


def test_a_frame_that_cannot_be_read_is_none_and_the_others_come(tmp_path):
    root = make_tree(tmp_path / "set", clips=1, frames=3)
    (root / "image" / "v0" / "00001.png").write_bytes(b"no picture")
    found = list(frames_of(find_clips(root)[1][0])[1])
    assert [(name, rgb is None) for name, rgb in found] == [("00000", False), ("00001", True), ("00002", False)]


def test_videos_are_found_at_any_depth_and_named_by_their_place(tmp_path):
    write_video(tmp_path / "set" / "a" / "one.avi", moving_frames(3))
    write_video(tmp_path / "set" / "two.avi", moving_frames(2))
    write_video(tmp_path / "set" / ".hidden" / "three.avi", moving_frames(2))
    layout, clips = find_clips(tmp_path / "set")
    assert layout == "videos" and [clip.key for clip in clips] == ["a/one", "two"]
    rate_hz, frames = frames_of(clips[0])
    assert rate_hz == 10 and [name for name, _ in frames] == ["00000", "00001", "00002"]


def test_folders_of_images_are_clips_where_there_is_nothing_else(tmp_path):
    root = make_tree(tmp_path / "set", clips=2, frames=3) / "image"
    (root / "notes").mkdir()
    layout, clips = find_clips(root)
    assert layout == "folders" and [clip.key for clip in clips] == ["v0", "v1"]
    assert [name for name, _ in frames_of(clips[1])[1]] == ["00000", "00001", "00002"]
    write_video(root / "two.avi", moving_frames(2))
    assert find_clips(root)[0] == "videos"


@pytest.mark.parametrize("kind", ["video", "image"])
@pytest.mark.parametrize("version", [2, 3])
def test_episodes_of_a_lerobot_set_are_clips_of_each_camera_with_their_own_frames(tmp_path, version, kind):
    pytest.importorskip("av")
    pytest.importorskip("pyarrow")
    from lerobot_sets import make_v2, make_v3, picture

    root = (make_v2 if version == 2 else make_v3)(tmp_path / "set", cameras=("top", "wrist"))
    if kind == "image":
        as_images(root)
    layout, clips = find_clips(root)
    lengths = (5, 4) if version == 2 else (5, 4, 3)
    episodes = range(len(lengths))
    keys = [f"observation.images.{c}/episode_{e:06d}" for c in ("top", "wrist") for e in episodes]
    assert layout == "lerobot" and [clip.key for clip in clips] == keys
    for clip, episode in zip(clips, [*episodes, *episodes], strict=True):
        rate_hz, frames = frames_of(clip)
        found = list(frames)
        assert rate_hz == 10 and [name for name, _ in found] == [f"{i:06d}" for i in range(lengths[episode])]
        for i, (_, rgb) in enumerate(found):
            # Of this episode and this frame, whatever the video has lost of it.
            assert np.abs(rgb.astype(float) - picture(episode, i)).mean() < 8
    assert [clip.key for clip in find_clips(root, ["wrist"])[1]] == keys[len(lengths) :]


def as_images(root):
    """Put the pictures of a data set into its tables, as LeRobot does without videos."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from lerobot_sets import picture

    info = json.loads((root / "meta" / "info.json").read_text())
    for key, feature in info["features"].items():
        if feature["dtype"] == "video":
            feature["dtype"] = "image"
            for file in sorted((root / "data").rglob("*.parquet")):
                table = pq.read_table(file)
                rows = zip(table["episode_index"].to_pylist(), table["frame_index"].to_pylist(), strict=True)
                coded = [cv2.imencode(".png", picture(e, i)[..., ::-1])[1].tobytes() for e, i in rows]
                cells = pa.array([{"bytes": c, "path": None} for c in coded])
                pq.write_table(table.append_column(key, cells), file)
    (root / "meta" / "info.json").write_text(json.dumps(info))
    shutil.rmtree(root / "videos")


def test_what_is_no_data_set_is_told_in_one_line(tmp_path):
    with pytest.raises(ValueError, match="is no folder"):
        find_clips(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"no data set: it has no image/ .*meta/info\.json.*\.mp4"):
        find_clips(tmp_path)
    (tmp_path / "image").mkdir()
    with pytest.raises(ValueError, match="has no folders of frames"):
        find_clips(tmp_path)
    with pytest.raises(ValueError, match="--camera is for LeRobot"):
        find_clips(tmp_path, ["top"])


def test_videos_whose_masks_would_be_mixed_are_refused(tmp_path):
    for name in ("one.avi", "one.mp4"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(ValueError, match="several videos named one"):
        find_clips(tmp_path)
    (tmp_path / "one.mp4").unlink()
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "000.avi").write_bytes(b"")
    with pytest.raises(ValueError, match="a video and a folder named one"):
        find_clips(tmp_path)
