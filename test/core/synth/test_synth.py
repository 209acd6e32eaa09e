# SPDX-License-Identifier: Apache-2.0
"""The renderer: masks fit together, seeds repeat, parts are told apart.  Needs mujoco, OpenGL and robot models."""

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("robotseg_core.synth")  # chooses the OpenGL driver before mujoco is imported
mujoco = pytest.importorskip("mujoco", reason="the renderer needs mujoco: install the 'synth' extra")

from robotseg_core.synth import command as main  # noqa: E402
from robotseg_core.synth import cutouts  # noqa: E402
from robotseg_core.synth.rendering.motion import spline  # noqa: E402
from robotseg_core.synth.rendering.render import find_specks, shrink_picture  # noqa: E402
from robotseg_core.synth.robots.catalog import TEST_ARMS, RobotChoice, list_choices  # noqa: E402
from robotseg_core.synth.robots.robot import ARM, BACKGROUND, GRIPPER  # noqa: E402
from robotseg_core.synth.scenes.scene import build_scene, update  # noqa: E402
from robotseg_core.synth.scenes.views import look_at, measure  # noqa: E402
from robotseg_core.synth.video import VideoOptions, render_video  # noqa: E402
from robotseg_core.synth.vrs import part_masks  # noqa: E402

REPO = Path(__file__).resolve().parents[3]
ROBOTS = Path(os.environ.get("ROBOTSEG_ROBOTS", REPO.parent / "shared" / "robots"))
SIZE = (128, 96)

needs_robots = pytest.mark.skipif(
    not (ROBOTS / "arms").is_dir(), reason=f"no robot models in {ROBOTS}: set ROBOTSEG_ROBOTS to the robots folder"
)


def test_specks_are_filled_and_holes_stay():
    label = np.zeros((40, 40), np.uint8)
    label[5:35, 5:35] = ARM
    label[10, 10:13] = BACKGROUND  # 3 pixels: a crack
    label[20:28, 20:28] = BACKGROUND  # 64 pixels: a hole
    assert find_specks(label, 12).sum() == 3
    picture = shrink_picture(np.full((40, 40, 3), 90, np.uint8), label, (40, 40), cutout=True)
    assert (picture.label[10, 10:13] == ARM).all()
    assert (picture.label[20:28, 20:28] == BACKGROUND).all()


def test_cutout_edge_holds_no_background():
    label = np.zeros((90, 90), np.uint8)
    cv2.circle(label, (45, 45), 30, GRIPPER, -1)
    rgb = np.where(label[..., None] > 0, np.uint8(200), np.uint8(0)).repeat(3, axis=2)
    picture = shrink_picture(rgb, label, (60, 60), cutout=True)
    assert (picture.rgb[picture.alpha > 0] >= 198).all()
    assert set(np.unique(picture.alpha)) - {0, 255}


def test_part_masks_are_disjoint_and_robot_is_their_union():
    label = np.random.default_rng(0).integers(0, 3, (20, 30)).astype(np.uint8)
    arm, gripper, robot = part_masks(label)
    assert not ((arm > 0) & (gripper > 0)).any()
    assert np.array_equal((arm > 0) | (gripper > 0), robot > 0)
    assert set(np.unique(robot)) == {0, 255}


def test_spline_passes_its_points():
    points = np.random.default_rng(1).normal(size=(4, 3))
    assert np.allclose(spline(points, np.arange(4.0)), points)


def test_missing_robots_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="robots folder"):
        list_choices(tmp_path)


@needs_robots
def test_training_choices_hold_no_test_arm():
    train, test = list_choices(ROBOTS), list_choices(ROBOTS, test=True)
    assert not {c.arm for c in train} & set(TEST_ARMS)
    assert {c.arm for c in test} == set(TEST_ARMS)
    with pytest.raises(ValueError, match="no_such_arm"):
        list_choices(ROBOTS, ["no_such_arm"])


@needs_robots
def test_gripper_bodies_of_a_known_arm():
    scene = build_scene(ROBOTS, [RobotChoice("ur5e", "robotiq_2f85")], np.random.default_rng(0))
    robot = scene.robots[0]
    for geom, label in zip(robot.geoms, robot.labels, strict=True):
        name = scene.model.body(scene.model.geom_bodyid[geom]).name
        assert label == (GRIPPER if "hand/" in name else ARM), name
    assert (robot.labels == GRIPPER).sum() >= 10
    assert len(robot.qadr) == 6


@needs_robots
@pytest.mark.parametrize("arm", ["aloha", "google_robot", "stretch2", "wx250s"])
def test_built_in_grippers_are_found(arm):
    scene = build_scene(ROBOTS, [RobotChoice(arm, None)], np.random.default_rng(0))
    robot = scene.robots[0]
    assert len(robot.gripper_roots) == (2 if arm == "aloha" else 1)
    assert set(np.unique(robot.labels)) == {ARM, GRIPPER}
    robot.sample_qpos(np.random.default_rng(1), scene.data.qpos)
    assert ((robot.low <= scene.data.qpos[robot.qadr]) & (scene.data.qpos[robot.qadr] <= robot.high)).all()


@needs_robots
def test_label_lies_where_the_robot_is_drawn(renderer):
    scene = build_scene(ROBOTS, [RobotChoice("franka_panda", "panda_hand")], np.random.default_rng(0))
    scene.data.qpos[scene.robots[0].qadr] = scene.robots[0].home
    scene.model.vis.headlight.ambient[:] = 0.6
    update(scene)
    extent = measure(scene, scene.robots[0])
    away = extent.centre + np.array([0.0, -3 * extent.radius, 0.3])
    look_at(away, extent.centre, np.array([0.0, 0.0, 1.0]), 0.0, 50.0).apply(scene)
    renderer.set_model(scene.model)
    picture = renderer.picture(scene.data, scene.camera, scene.part, cutout=True)
    assert picture.label.shape == (SIZE[1], SIZE[0]) and picture.rgb.shape == (SIZE[1], SIZE[0], 3)
    inside = picture.label != BACKGROUND
    assert 0.02 < inside.mean() < 0.6 and (picture.label == GRIPPER).any()
    assert (picture.alpha[inside] >= 128).all() and (picture.alpha[~inside] < 128).all()
    assert not picture.rgb[picture.alpha == 0].any() and (picture.rgb[inside].max(axis=1) > 0).mean() > 0.95


@needs_robots
def test_same_seed_gives_the_same_video(renderer):
    options = VideoOptions(ROBOTS, tuple(list_choices(ROBOTS)), frames=3, size=SIZE, empty=0.0)
    first = [f.picture for f in render_video(options, 5, renderer)]
    second = [f.picture for f in render_video(options, 5, renderer)]
    other = [f.picture for f in render_video(options, 6, renderer)]
    assert len(first) == 3
    for a, b in zip(first, second, strict=True):
        assert np.array_equal(a.rgb, b.rgb) and np.array_equal(a.label, b.label)
        assert np.array_equal(a.ids, b.ids)
    assert not np.array_equal(first[0].rgb, other[0].rgb)


@needs_robots
def test_video_without_robot_has_empty_labels(renderer):
    options = VideoOptions(ROBOTS, tuple(list_choices(ROBOTS)), frames=2, size=SIZE, empty=1.0)
    frames = list(render_video(options, 3, renderer))
    assert len(frames) == 2 and not any(f.picture.label.any() for f in frames)
    assert frames[0].meta.arm is None and frames[0].picture.rgb.std() > 3


@needs_robots
def test_command_writes_vrs_layout_and_resumes(tmp_path, renderer):
    args = ["--robots", str(ROBOTS), "--out", str(tmp_path), "--count", "2", "--frames", "2", "--size", "128", "96"]
    assert main.main([*args, "--seed", "4", "--empty", "0"]) == 0
    names = sorted(p.name for p in (tmp_path / "image").iterdir())
    assert names == [main.video_name(4, 0), main.video_name(4, 1)] and (tmp_path / "sheet.png").is_file()
    for name in names:
        assert json.loads((tmp_path / "mask_gt" / name / "meta.json").read_text())["arm"]
        masks = [cv2.imread(str(tmp_path / "mask_gt" / name / p / "00001.png"), 0) for p in ("000", "001", "002")]
        image = cv2.imread(str(tmp_path / "image" / name / "00001.jpg"))
        assert all(m.shape == image.shape[:2] == (96, 128) for m in masks)
        assert np.array_equal(masks[0] | masks[1], masks[2]) and not (masks[0] & masks[1]).any()
    stamp = (tmp_path / "image" / names[0] / "00000.jpg").stat().st_mtime_ns
    assert main.main([*args, "--seed", "4", "--empty", "0"]) == 0
    assert (tmp_path / "image" / names[0] / "00000.jpg").stat().st_mtime_ns == stamp


@needs_robots
def test_cutout_shards(tmp_path, renderer):
    args = ["--robots", str(ROBOTS), "--out", str(tmp_path), "--count", "6", "--size", "96", "--shard", "4"]
    assert cutouts.main([*args, "--per-scene", "3"]) == 0
    rgb, label = np.load(tmp_path / "rgb_0000.npy", mmap_mode="r"), np.load(tmp_path / "label_0001.npy", mmap_mode="r")
    assert rgb.shape == (4, 96, 96, 3) and rgb.dtype == np.uint8
    assert label.shape == (2, 96, 96) and set(np.unique(label)) <= {BACKGROUND, ARM, GRIPPER}
    assert all(0.02 <= (one != BACKGROUND).mean() <= 0.6 for one in label)


def test_demo_clip_plays_and_has_masks():
    clip = REPO / "demo" / "clip.mp4"
    assert clip.stat().st_size < 3_000_000
    video = cv2.VideoCapture(str(clip))
    read, frame = video.read()
    assert read and frame.shape == (480, 640, 3) and video.get(cv2.CAP_PROP_FPS) == 30
    for index in range(0, 300, 30):
        masks = [cv2.imread(str(REPO / "demo/mask_gt/clip" / p / f"{index:05d}.png"), 0) for p in ("000", "001", "002")]
        assert np.array_equal(masks[0] | masks[1], masks[2]) and masks[1].any()
