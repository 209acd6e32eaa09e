# SPDX-License-Identifier: Apache-2.0
"""Instance maps: they fit the masks, boxes and positions are right, robots and twins told apart, files read back."""

import json
import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("robotseg_core.synth")  # chooses the OpenGL driver before mujoco is imported
pytest.importorskip("mujoco", reason="the renderer needs mujoco: install the 'synth' extra")

from robotseg_core.synth import command  # noqa: E402
from robotseg_core.synth.instances.colours import COLOURS, colour_name, main_tone  # noqa: E402
from robotseg_core.synth.instances.files import read_ids, read_ids_meta, tint_ids, write_ids  # noqa: E402
from robotseg_core.synth.instances.frames import find_boxes  # noqa: E402
from robotseg_core.synth.instances.registry import find_instances  # noqa: E402
from robotseg_core.synth.rendering.render import shrink_ids  # noqa: E402
from robotseg_core.synth.robots.catalog import PROCEDURAL, RobotChoice  # noqa: E402
from robotseg_core.synth.robots.robot import ARM, BACKGROUND, GRIPPER  # noqa: E402
from robotseg_core.synth.scenes.scene import build_scene, update  # noqa: E402
from robotseg_core.synth.scenes.surroundings import Contents  # noqa: E402
from robotseg_core.synth.video import VideoOptions, render_video  # noqa: E402

REPO = Path(__file__).resolve().parents[4]
ROBOTS = Path(os.environ.get("ROBOTSEG_ROBOTS", REPO.parent / "shared" / "robots"))
NOWHERE = Path("no_such_folder")
SIZE = (96, 72)
PART = {"arm": ARM, "gripper": GRIPPER, None: BACKGROUND}
BUSY = VideoOptions(
    NOWHERE,
    (),
    frames=3,
    size=SIZE,
    empty=0.0,
    two=1.0,
    procedural=1.0,
    moving=1.0,
    rolling=0.0,
    leaves=0.0,
    contents=Contents(held=1.0, twins=1.0, robot_like=1.0, occluded=0.5),
)
needs_robots = pytest.mark.skipif(
    not (ROBOTS / "arms").is_dir(), reason=f"no robot models in {ROBOTS}: set ROBOTSEG_ROBOTS to the robots folder"
)


@pytest.fixture(scope="module")
def videos(renderer):
    """Four busy videos of generated robots."""
    return [list(render_video(BUSY, seed, renderer)) for seed in (1, 2, 3, 5)]


def test_every_pixel_of_a_part_is_an_instance_of_that_part(videos):
    for frames in videos:
        part = np.array([BACKGROUND, *(PART[i.part] for i in frames[0].scene.instances)])
        for frame in frames:
            assert frame.picture.ids.dtype == np.uint16 and frame.picture.ids.shape == (SIZE[1], SIZE[0])
            assert np.array_equal(part[frame.picture.ids], frame.picture.label)


def test_rolling_shutter_keeps_maps_and_masks_together(renderer):
    frames = list(render_video(replace(BUSY, rolling=1.0), 4, renderer))
    part = np.array([BACKGROUND, *(PART[i.part] for i in frames[0].scene.instances)])
    assert all(np.array_equal(part[f.picture.ids], f.picture.label) for f in frames)


def test_boxes_and_areas_are_those_of_the_pixels(videos):
    seen = 0
    for frame in (f for frames in videos for f in frames):
        for number, place in frame.seen.instances.items():
            inside = frame.picture.ids == number
            assert place.area == inside.sum()
            if not place.area:
                assert place.box is None
                continue
            y, x = np.nonzero(inside)
            assert place.box == (x.min(), y.min(), x.max() + 1, y.max() + 1)
            seen += 1
    assert seen > 50


def test_projected_boxes_hold_what_is_seen(videos):
    for frame in (f for frames in videos for f in frames):
        for place in frame.seen.instances.values():
            if place.box is None or place.full_box is None:
                continue
            slack = 2.5  # pixels: the large rendering is shrunk, and cracks are filled
            low, high = np.array(place.full_box[:2]), np.array(place.full_box[2:])
            assert (low <= np.array(place.box[:2]) + slack).all() and (high >= np.array(place.box[2:]) - slack).all()


def test_position_projects_into_its_box(videos):
    for frame in (f for frames in videos for f in frames):
        camera = frame.seen.camera
        fx, fy, cx, cy = camera.intrinsics
        for place in frame.seen.instances.values():
            back = np.array(camera.rotation) @ place.in_camera + np.array(camera.position)
            assert back == pytest.approx(np.array(place.position), abs=1e-3)
            if place.full_box is not None:
                x, y, z = place.in_camera
                assert place.full_box[0] - 1 <= fx * x / z + cx <= place.full_box[2] + 1
                assert place.full_box[1] - 1 <= fy * y / z + cy <= place.full_box[3] + 1


def test_two_robots_are_told_apart(videos):
    both = 0
    for frames in videos:
        scene = frames[0].scene
        assert len(scene.robots) >= 2 and "two_robots" in scene.events
        owners = [set(r.ids) for r in scene.robots]
        assert not owners[0] & owners[1] and all(owners)
        assert set().union(*owners) == {i.id for i in scene.instances if i.robot is not None}
        for robot in scene.robots:
            assert set(robot.ids) == set(robot.arm_ids) | set(robot.gripper_ids)
            assert not set(robot.arm_ids) & set(robot.gripper_ids)
            assert set(robot.gripper_ids) == {i for g in robot.grippers for i in scene.grippers[g].ids}
        both += all(np.isin(frames[1].picture.ids, r.ids).any() for r in scene.robots[:2])
    assert both


def test_held_thing_names_its_gripper_and_stays_with_it(videos):
    held = 0
    for frames in videos:
        scene = frames[0].scene
        for thing in (i for i in scene.instances if i.held_by is not None):
            gripper = scene.grippers[thing.held_by]
            assert thing.id in gripper.holds and thing.part is None and thing.robot is None
            far = [
                np.linalg.norm(
                    np.subtract(f.seen.instances[thing.id].position, f.seen.grippers[gripper.gripper].position)
                )
                for f in frames
            ]
            assert np.ptp(far) < 0.005 and max(far) < 0.5
            assert len({f.seen.grippers[gripper.gripper].opening for f in frames}) == 1
            held += 1
    assert held >= 3


def test_moving_things_move_and_others_do_not(videos):
    moved = 0
    for frames in videos:
        for thing in (i for i in frames[0].scene.instances if i.robot is None and i.held_by is None):
            place = np.array([f.seen.instances[thing.id].position for f in frames])
            assert (np.ptp(place, axis=0).max() > 1e-4) == thing.moves, thing
            moved += thing.moves
    assert moved


def test_twins_name_each_other_and_are_alike(videos):
    found = 0
    for frames in videos:
        by_id = {i.id: i for i in frames[0].scene.instances}
        for one in by_id.values():
            if one.twin_of is not None:
                other = by_id[one.twin_of]
                assert other.twin_of == one.id and (one.name, one.rgb) == (other.name, other.rgb)
                found += 1
    assert found


def test_same_seed_gives_the_same_records(renderer, videos):
    again = list(render_video(BUSY, 2, renderer))
    assert [f.scene for f in again] == [f.scene for f in videos[1]]
    assert [f.seen for f in again] == [f.seen for f in videos[1]]
    assert all(np.array_equal(a.picture.ids, b.picture.ids) for a, b in zip(again, videos[1], strict=True))


def test_shrinking_keeps_each_pixel_in_its_part():
    big = np.zeros((40, 40), np.uint16)
    big[:, :20], big[10:30, 20:40] = 1, 2  # an arm on the left, a gripper on the right
    label = cv2.resize(np.where(big == 1, ARM, np.where(big == 2, GRIPPER, 0)).astype(np.uint8), (20, 20))
    label = np.where(label > GRIPPER, GRIPPER, label).astype(np.uint8)
    label[0, 15] = GRIPPER  # a filled crack: no leaf there
    label[5, 2] = BACKGROUND
    part_of = np.array([BACKGROUND, ARM, GRIPPER], np.uint8)
    ids = shrink_ids(big, part_of, label)
    assert np.array_equal(part_of[ids], label) and ids[0, 15] == 2 and ids[5, 2] == 0
    assert not shrink_ids(big * 0, part_of, label).any()


def test_boxes_of_known_pixels():
    ids = np.zeros((10, 12), np.uint16)
    ids[2:5, 3:9] = 2
    boxes, areas = find_boxes(ids, 3)
    assert boxes.tolist() == [[0, 0, 0, 0], [3, 2, 9, 5], [0, 0, 0, 0]] and areas.tolist() == [0, 18, 0]


@pytest.mark.parametrize(
    ("rgb", "name"),
    [
        ((0.95, 0.95, 0.93), "white"),
        ((0.5, 0.5, 0.5), "grey"),
        ((0.05, 0.05, 0.06), "black"),
        ((0.8, 0.1, 0.1), "red"),
        ((0.95, 0.45, 0.05), "orange"),
        ((0.95, 0.85, 0.1), "yellow"),
        ((0.1, 0.6, 0.2), "green"),
        ((0.1, 0.25, 0.7), "blue"),
        ((0.4, 0.1, 0.6), "purple"),
        ((0.95, 0.5, 0.7), "pink"),
        ((0.4, 0.25, 0.12), "brown"),
    ],
)
def test_colours_have_the_names_that_people_give_them(rgb, name):
    assert colour_name(rgb) == name


def test_colour_of_something_is_that_of_its_largest_part():
    tone = main_tone(np.array([[0.8, 0.1, 0.1], [0.7, 0.1, 0.1], [0.1, 0.2, 0.8]]), np.array([1.0, 1.0, 1.5]))
    assert tone.name == "red" and tone.share == pytest.approx(2 / 3.5, abs=1e-3) and tone.rgb[0] > 150
    names = {colour_name(c) for c in np.random.default_rng(0).random((3000, 3))}
    assert names == set(COLOURS)


def test_maps_are_read_back_as_written(tmp_path):
    ids = np.arange(600, dtype=np.uint16).reshape(20, 30)
    write_ids(tmp_path, "v", 3, ids)
    assert np.array_equal(read_ids(tmp_path, "v", 3), ids)
    cv2.imwrite(str(tmp_path / "ids" / "v" / "00004.png"), ids.astype(np.uint8))
    with pytest.raises(ValueError, match="16 bit"):
        read_ids(tmp_path, "v", 4)
    with pytest.raises(ValueError, match="not a readable"):
        read_ids(tmp_path, "v", 5)
    assert tint_ids(np.zeros((20, 30, 3), np.uint8), ids).shape == (20, 30, 3)


def test_command_writes_maps_that_another_schema_makes_unreadable(tmp_path, renderer):
    args = ["--out", str(tmp_path), "--count", "1", "--frames", "2", "--size", "96", "72", "--empty", "0"]
    assert command.main(args) == 0
    name = command.video_name(1, 0)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ids", "image", "mask_gt", "sheet.png", "sheet_ids.png"]
    meta = read_ids_meta(tmp_path, name)
    assert meta.size == SIZE and len(meta.frames) == 2
    assert set(meta.frames[0]["instances"]) == {str(i) for i in meta.instances}
    robot = np.isin(read_ids(tmp_path, name, 0), meta.robots[0]["ids"])
    mask = cv2.imread(str(tmp_path / "mask_gt" / name / "002" / "00000.png"), 0) > 0
    assert np.array_equal(robot, mask) or len(meta.robots) > 1
    assert json.loads((tmp_path / "mask_gt" / name / "meta.json").read_text())["ids"] == 1
    file = tmp_path / "ids" / name / "meta.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "schema": 99}))
    with pytest.raises(ValueError, match="schema 99"):
        read_ids_meta(tmp_path, name)


@needs_robots
def test_two_arms_of_one_robot_are_two_limbs_with_sides():
    scene = build_scene(ROBOTS, [RobotChoice("trossen_ai", None)], np.random.default_rng(0))
    update(scene)
    record = find_instances(scene, []).record
    assert [g.side for g in record.grippers] == ["left", "right"] == [limb.side for limb in record.limbs]
    left, right = (set(limb.ids) for limb in record.limbs)
    assert left and right and not left & right and (left | right) <= set(record.robots[0].arm_ids)
    for limb in record.limbs:
        assert all(limb.side in record.instances[i - 1].name for i in limb.ids)


@needs_robots
@pytest.mark.parametrize(
    ("gripper", "kind"),
    [("robotiq_2f85", "jaws"), ("wsg50", "jaws"), ("onrobot_vg10", "suction"), ("barrett_hand", "hand")],
)
def test_kinds_of_grippers(gripper, kind):
    scene = build_scene(ROBOTS, [RobotChoice("kuka_kr5_arc", gripper)], np.random.default_rng(0))
    update(scene)
    assert find_instances(scene, []).record.grippers[0].kind == kind


@needs_robots
def test_humanoids_have_two_hands_that_open_by_themselves():
    scene = build_scene(ROBOTS, [RobotChoice("unitree_g1", None)], np.random.default_rng(0))
    robot = scene.robots[0]
    assert set(robot.grip_group.tolist()) == {0, 1}
    robot.sample_qpos(np.random.default_rng(1), scene.data.qpos)
    way = robot.grip_closed - robot.grip_open
    moving = np.abs(way) > 1e-4
    closed = ((scene.data.qpos[robot.grip_qadr] - robot.grip_open)[moving] / way[moving]).round(4)
    assert [len(set(closed[robot.grip_group[moving] == k])) for k in (0, 1)] == [1, 1] and len(set(closed)) == 2


def test_generated_robot_is_said_to_be_made():
    scene = build_scene(NOWHERE, [RobotChoice(PROCEDURAL, PROCEDURAL, 7)], np.random.default_rng(0))
    update(scene)
    record = find_instances(scene, []).record
    assert record.robots[0].made and len(record.grippers) == 1
    assert [i.id for i in record.instances] == list(range(1, len(record.instances) + 1))


def test_video_that_was_not_finished_is_not_there(tmp_path, renderer, monkeypatch):
    options = VideoOptions(NOWHERE, (), frames=3, size=SIZE, empty=0.0, procedural=1.0)
    write = command.write_ids

    def fail(root, video, index, ids):
        if index == 2:
            raise OSError("disk full")
        write(root, video, index, ids)

    monkeypatch.setattr(command, "write_ids", fail)
    with pytest.raises(OSError, match="disk full"):
        command.make_video((options, tmp_path, 1, 0))
    assert [p.name for p in tmp_path.iterdir()] == [command.PART_FOLDER]
    monkeypatch.setattr(command, "write_ids", write)
    name = command.make_video((options, tmp_path, 1, 0))
    assert len(list((tmp_path / "ids" / name).glob("*.png"))) == 3
    assert not (tmp_path / command.PART_FOLDER / name).exists()
