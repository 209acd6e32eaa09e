# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from small_packs import SIDE, robot, small_pictures
from train_videos import make_videos

from robotseg_core.train.hinted.packs.catalogue import Catalogue
from robotseg_core.train.hinted.packs.command import groups_of
from robotseg_core.train.hinted.packs.command import main as pack
from robotseg_core.train.hinted.packs.files import PackWriter, measure, read_index, read_packs
from robotseg_core.train.hinted.packs.regions import find_regions


def test_what_is_packed_is_read(tmp_path: Path) -> None:
    pictures = small_pictures(tmp_path)
    bgr, part, ids = robot(0.35, (0, 0, 220), np.random.default_rng(0))
    assert [v.source for v in pictures.videos] == ["rendered", "rendered", "real", "real", "photo", "bare", "photo"]
    assert np.array_equal(pictures.part[0], part) and np.array_equal(pictures.ids[0], ids)
    assert np.abs(pictures.bgr[0].astype(int) - bgr).mean() < 12
    video = pictures.videos[3]
    assert video.labelled == (True, False, False, True, False)
    assert not pictures.part[video.first + 1].any(), "a frame without labels has none"


def test_frames_of_several_packs_follow_each_other(tmp_path: Path) -> None:
    one = small_pictures(tmp_path)
    both = read_packs([tmp_path / "small.zip"] * 2, SIDE, workers=1)
    count = len(one.bgr)
    assert both.videos[len(one.videos)].first == count
    assert np.array_equal(both.bgr[count:], both.bgr[:count])


def test_measure_tells_area_and_box() -> None:
    values = np.zeros((112, 112), np.uint8)
    values[28:56, 56:112] = 7
    area, *box = measure(values)[7]
    assert area == pytest.approx(1 / 8)
    assert box == pytest.approx([0.0, -0.5, 1.0, 0.0])


def test_a_pack_of_another_schema_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "new.zip", "w") as file:
        file.writestr("index.json", json.dumps({"schema": 9, "videos": []}))
    with pytest.raises(ValueError, match="schema 9, must be 1"):
        read_index(tmp_path / "new.zip")


def video(first: int = 0, frames: int = 1, **more: object) -> dict[str, object]:
    nothing: list[dict[str, object]] = [{}] * frames
    made = {"name": "v", "source": "photo", "first": first, "labelled": [True] * frames, "groups": []}
    return {**made, "parts": nothing, "things": nothing, **more}


@pytest.mark.parametrize(
    ("videos", "words"),
    [
        ([video(first=10**12)], "begins with frame 1000000000000, must with 0"),
        ([video(), video(first=0)], "begins with frame 0, must with 1"),
        ([video(frames=3)], "frame 1 is missing"),
        ([video(source="film")], "must be one of"),
        ([{"name": "v"}], "KeyError 'source'"),
        ([video(parts=[[1]])], "AttributeError"),
        ("none", "TypeError"),
    ],
)
def test_an_index_that_cannot_be_is_refused_before_memory_is_taken(tmp_path, videos, words) -> None:
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as file:
        file.writestr("index.json", json.dumps({"schema": 1, "videos": videos}))
        file.writestr("000000.webp", b"")
    with pytest.raises(ValueError, match=rf"p\.zip is no pack: .*{words}"):
        read_packs([tmp_path / "p.zip"], 1 << 14, workers=1)


def test_packs_that_are_packed_or_damaged_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "p.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("index.json", "[" * 100_000)
    with pytest.raises(ValueError, match=r"index\.json is compressed, must be stored"):
        read_index(tmp_path / "p.zip")
    for content in (b"", b"hello", (tmp_path / "p.zip").read_bytes()[:-30]):
        (tmp_path / "p.zip").write_bytes(content)
        with pytest.raises(ValueError, match=r"p\.zip is no pack"):
            read_index(tmp_path / "p.zip")


def test_packs_that_were_broken_off_are_none_and_are_made_anew(tmp_path: Path, monkeypatch) -> None:
    make_videos(tmp_path / "videos", frames=3)
    command = ["--out", str(tmp_path / "out"), "--name", "v", "--videos", str(tmp_path / "videos"), "--side", "64"]
    command += ["--limit", "0.5001"]
    begun: list[str] = []
    begin = PackWriter.begin

    def broken(self, name, source, groups=()):
        begun.append(name)
        if len(begun) == 2:
            raise KeyboardInterrupt
        begin(self, name, source, groups)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(PackWriter, "begin", broken)
        pack(command)
    assert not list((tmp_path / "out").iterdir())
    # The first one is the last to get its name: these are of a process that was killed.
    (tmp_path / "out" / "v_01.zip").write_bytes(b"old")
    assert pack(command) == 0
    made = sorted((tmp_path / "out").iterdir())
    assert len(made) > 1 and read_packs(made, 64, workers=1).part.any()


def test_rendered_videos_are_packed_with_their_masks(tmp_path: Path) -> None:
    make_videos(tmp_path / "videos", frames=3)
    assert pack(["--out", str(tmp_path), "--name", "v", "--videos", str(tmp_path / "videos"), "--side", "64"]) == 0
    pictures = read_packs([tmp_path / "v_00.zip"], 64, workers=1)
    assert all(video.source == "rendered" and len(video.labelled) == 3 for video in pictures.videos)
    assert set(np.unique(pictures.part)) == {0, 1, 2}


def test_groups_come_from_the_description_of_a_video(tmp_path: Path) -> None:
    content = {
        "instances": [{"id": 1, "kind": "link"}, {"id": 2, "kind": "thing"}, {"id": 300, "kind": "thing"}],
        "robots": [{"ids": [1], "arm_ids": [1]}],
        "grippers": [{"ids": []}],
        "limbs": [],
    }
    (tmp_path / "meta.json").write_text(json.dumps(content))
    found = [(g.role, g.ids) for g in groups_of(tmp_path / "meta.json")]
    assert found == [("link", (1,)), ("object", (2,)), ("robot", (1,)), ("arm", (1,))]


def test_regions_follow_colours() -> None:
    image = np.full((192, 192, 3), 40, np.uint8)
    cv2.rectangle(image, (20, 20), (70, 80), (0, 0, 220), -1)
    cv2.circle(image, (130, 120), 30, (0, 200, 0), -1)
    ids = find_regions(image)
    inside, disk = ids[50, 45], ids[120, 130]
    assert inside and disk and inside != disk
    truth = np.zeros((192, 192), bool)
    truth[20:81, 20:71] = True
    assert (truth & (ids == inside)).sum() / (truth | (ids == inside)).sum() > 0.85


def test_catalogue_knows_what_can_be_cut_out(tmp_path: Path) -> None:
    pictures = small_pictures(tmp_path)
    catalogue = Catalogue(pictures.videos)
    assert {kind: len(v) for kind, v in catalogue.bases.items()} == {
        "rendered": 2, "real": 2, "clip": 1, "photo": 2, "bare": 1
    }  # fmt: skip
    assert len(catalogue.cuts["robot"]) == 16 and len(catalogue.cuts["real"]) == 3
    assert all(cut.ids == (3,) for cut in catalogue.cuts["object"])
    assert {g.role for g in catalogue.groups_in(0, 0)} == {"object", "gripper", "robot", "link"}


def test_a_clip_of_a_sparsely_labelled_video_begins_with_a_labelled_frame(tmp_path: Path) -> None:
    catalogue = Catalogue(small_pictures(tmp_path).videos)
    video = catalogue.videos[3]
    for seed in range(30):
        frames = catalogue.frames(3, 4, np.random.default_rng(seed), still=False) - video.first
        assert video.labelled[frames[0]]
        assert frames.min() >= 0 and frames.max() < 5
        assert np.abs(np.diff(frames)).max() <= 4
