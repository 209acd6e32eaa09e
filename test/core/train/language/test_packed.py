# SPDX-License-Identifier: Apache-2.0
"""Frames of packs: who is where is read off the groups of a video, and what packs do not keep is not asked for."""

import numpy as np
import pytest
from small_models import SMALL, small_robotseg

from robotseg_core.train.hinted.packs.files import Group, PackWriter
from robotseg_core.train.language.frames import cache_set, packed_source
from robotseg_core.train.language.packed import SIDE, packed_asked, packed_scene, packs_of, rendered_in

# A robot of one arm (1) and a gripper (2), right of one of two limbs (3 and 4) with a gripper each (5, 6).
GROUPS = (
    Group("link", (1,)), Group("robot", (1, 2)), Group("arm", (1,)), Group("robot", (3, 4, 5, 6)), Group("arm", (3, 4)),
    Group("gripper", (2,)), Group("gripper", (5,)), Group("gripper", (6,)), Group("arm", (1,)), Group("arm", (3,)),
    Group("arm", (4,)),
)  # fmt: skip


def picture():
    ids = np.zeros((96, 96), np.uint8)
    for leaf, column in ((3, 4), (4, 30), (1, 70)):
        ids[10:60, column : column + 10] = leaf
    for leaf, column in ((5, 4), (6, 30), (2, 70)):
        ids[60:75, column : column + 10] = leaf
    return ids


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    path = tmp_path_factory.mktemp("packs") / "p.zip"
    writer = PackWriter(path, 95)
    ids = picture()
    bgr = np.zeros((96, 96, 3), np.uint8)
    # Blue in the file's order; red at the left.
    bgr[..., 0], bgr[:, :48, 2] = 40, 200
    writer.begin("video", "rendered", GROUPS)
    for _ in range(3):
        writer.add(bgr, (ids > 0).astype(np.uint8), ids)
    writer.begin("photo", "photo", [Group("region", (1,))])
    writer.add(bgr, np.zeros((96, 96), np.uint8), ids)
    writer.close()
    return path


def test_a_robot_of_two_limbs_has_two_arms():
    scene = packed_scene(GROUPS, picture().astype(np.uint16))
    assert [e.ids for e in scene.arms] == [(3,), (4,), (1,)]
    assert [e.ids for e in scene.robots] == [(3, 4, 5, 6), (1, 2)]
    assert [(e.ids, e.robot) for e in scene.grippers] == [((5,), 1), ((6,), 1), ((2,), 0)]
    assert scene.robots[0].centre[0] == pytest.approx((9 + 35 - 1) / 2 / 96, abs=0.01)


def test_what_packs_do_not_keep_is_not_asked_for():
    ids = picture().astype(np.uint16)
    asked = packed_asked(packed_scene(GROUPS, ids), ids)
    assert {"side", "order", "composition", "absence"} <= {one.family for one in asked}
    assert not {"attribute", "relation", "state"} & {one.family for one in asked}
    assert not any("colour" in one.slots for one in asked)
    assert any(one.phrasing == "side" and one.slots == {"side": "left"} and one.target == (3,) for one in asked)


def test_who_is_hardly_seen_is_not_asked_about():
    ids = picture().astype(np.uint16)
    ids[ids == 2] = 0
    ids[60:62, 70:73] = 2
    scene = packed_scene(GROUPS, ids)
    assert len(scene.grippers) == 2 and "gripper" in scene.hidden
    assert not any(one.kind == "gripper" for one in packed_asked(scene, ids) if one.phrasing == "side")


def test_a_frame_is_read_and_mirrored(pack):
    (video,) = rendered_in(pack)
    plain, mirrored = packed_source(pack, video, 1), packed_source(pack, video, 1, mirrored=True)
    assert plain.rgb.shape == (SIDE, SIDE, 3) and plain.ids.shape == (SIDE, SIDE)
    assert plain.rgb[0, 5, 0] > 150 > plain.rgb[0, 5, 2]
    assert np.array_equal(mirrored.rgb, plain.rgb[:, ::-1]) and np.array_equal(mirrored.ids, plain.ids[:, ::-1])
    left = {one.target for one in plain.asked if one.slots == {"side": "left"} and one.kind == "arm"}
    right = {one.target for one in mirrored.asked if one.slots == {"side": "right"} and one.kind == "arm"}
    assert left == right == {(3,)}


def test_a_pack_goes_into_the_cache_once(pack, tmp_path):
    robotseg = small_robotseg(config=SMALL)
    folder = cache_set(robotseg, tmp_path, "p", pack, frames=2, mirrored=True, kind="packed")
    written = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.safetensors")}
    names = [f"p-video-{i:05d}{way}.safetensors" for i in (0, 2) for way in ("", "-m")]
    assert sorted(written) == sorted(names)
    cache_set(robotseg, tmp_path, "p", pack.parent, frames=2, mirrored=True, kind="packed")
    assert {path.name: path.stat().st_mtime_ns for path in folder.glob("*.safetensors")} == written


def test_a_folder_without_packs_is_named(tmp_path):
    with pytest.raises(ValueError, match="holds no packs"):
        packs_of(tmp_path)
