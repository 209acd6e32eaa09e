# SPDX-License-Identifier: Apache-2.0
"""Generated robots and the things beside them: whole, labelled, repeatable.  Needs mujoco; some tests need models."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("robotseg_core.synth")
mujoco = pytest.importorskip("mujoco", reason="the renderer needs mujoco: install the 'synth' extra")

from robotseg_core.synth import command as main  # noqa: E402
from robotseg_core.synth import cutouts  # noqa: E402
from robotseg_core.synth.rendering.render import Picture, Renderer  # noqa: E402
from robotseg_core.synth.rendering.sensor import RollingShutter, VideoCodec  # noqa: E402
from robotseg_core.synth.rendering.track import CameraTrack, pan  # noqa: E402
from robotseg_core.synth.robots.catalog import PROCEDURAL, TEST_ARMS, RobotChoice, embodiment, list_choices, sample_made  # noqa: E402
from robotseg_core.synth.robots.livery import sample_livery  # noqa: E402
from robotseg_core.synth.robots.procedural_arm import FAMILIES, build_arm  # noqa: E402
from robotseg_core.synth.robots.procedural_gripper import KINDS, build_gripper  # noqa: E402
from robotseg_core.synth.robots.robot import ARM, BACKGROUND, GRIPPER  # noqa: E402
from robotseg_core.synth.robots.shapes import lathe, solid  # noqa: E402
from robotseg_core.synth.scenes.look import exposure, paint_robot  # noqa: E402
from robotseg_core.synth.scenes.machines import dressed_builder  # noqa: E402
from robotseg_core.synth.scenes.people import add_hand, add_person, people_builder  # noqa: E402
from robotseg_core.synth.scenes.placing import choose_robots, made_share  # noqa: E402
from robotseg_core.synth.scenes.scene import build_scene, update  # noqa: E402
from robotseg_core.synth.scenes.stock import MACHINES  # noqa: E402
from robotseg_core.synth.scenes.surroundings import (  # noqa: E402
    NOTHING,
    Contents,
    hold_things,
    place_beside,
    room_around,
    things_beside,
)
from robotseg_core.synth.scenes.views import CameraPose, look_at, measure, pose_robot  # noqa: E402

REPO = Path(__file__).resolve().parents[3]
ROBOTS = Path(os.environ.get("ROBOTSEG_ROBOTS", REPO.parent / "shared" / "robots"))
needs_robots = pytest.mark.skipif(
    not (ROBOTS / "arms").is_dir(), reason=f"no robot models in {ROBOTS}: set ROBOTSEG_ROBOTS to the robots folder"
)
NOWHERE = Path("no_such_folder")
MADE = RobotChoice(PROCEDURAL, PROCEDURAL, 3)


def signed_volume(mesh):
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    return np.einsum("ni,ni->", a, np.cross(b, c)) / 6


def test_solids_are_closed_and_face_outwards():
    box = solid((0, 0, 0), (0, 0, 0.5), (0.1, 0.2), (0.1, 0.2), (1, 0, 0), power=40, count=400)
    assert signed_volume(box) == pytest.approx(0.1 * 0.2 * 0.5 * 4, rel=0.05)
    tube = lathe((0, 0, 0), (0, 1, 0), [(0, 0.1), (0.3, 0.1)], count=100)
    assert signed_volume(tube) == pytest.approx(np.pi * 0.01 * 0.3, rel=0.01)
    assert tube.vertices[:, 1].min() == pytest.approx(0) and tube.vertices[:, 1].max() == pytest.approx(0.3)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_of_arms_compiles_and_stands_on_the_ground(family):
    arm = build_arm(np.random.default_rng(1), family)
    assert len(arm.home) == len(arm.spread) == len(list(arm.spec.joints)) >= 3
    model = arm.spec.compile()
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    assert data.geom_xpos[:, 2].min() > -0.01
    tip = data.body(arm.flange).xpos
    assert 0.1 < np.linalg.norm(tip) < 3


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_gripper_compiles_and_its_joints_exist(kind):
    gripper = build_gripper(np.random.default_rng(2), 0.04, kind)
    model = gripper.spec.compile()
    assert {name for name, _, _ in gripper.grip} == {model.joint(j).name for j in range(model.njnt)}
    assert model.ngeom >= 2 and model.body(1).name == "hand"


def test_parallel_fingers_are_alike_and_open():
    gripper = build_gripper(np.random.default_rng(5), 0.04, "parallel")
    model = gripper.spec.compile()
    data = mujoco.MjData(model)
    gap = []
    for state in (1, 2):
        for name, *value in gripper.grip:
            data.joint(name).qpos[0] = value[state - 1]
        mujoco.mj_kinematics(model, data)
        gap.append(data.body("left").xpos[0] - data.body("right").xpos[0])
    assert gap[0] > 2 * gap[1]
    tips = [model.body(f"{side}_tip") for side in ("left", "right")]
    assert tips[0].geomnum == tips[1].geomnum


def test_made_robot_has_arm_and_gripper_and_a_seed():
    scenes = [
        build_scene(NOWHERE, [c], np.random.default_rng(0))
        for c in (MADE, MADE, RobotChoice("procedural", "procedural", 4))
    ]
    robot = scenes[0].robots[0]
    assert set(np.unique(robot.labels)) == {ARM, GRIPPER}
    for geom, label in zip(robot.geoms, robot.labels, strict=True):
        name = scenes[0].model.body(scenes[0].model.geom_bodyid[geom]).name
        assert label == (GRIPPER if "hand/" in name else ARM), name
    assert np.array_equal(scenes[0].model.mesh_vert, scenes[1].model.mesh_vert)
    assert scenes[0].model.nmeshvert != scenes[2].model.nmeshvert


def test_made_robot_is_drawn_where_it_is_labelled():
    try:
        renderer = Renderer(96, 96)
    except RuntimeError as e:
        pytest.skip(str(e))
    scene = build_scene(NOWHERE, [MADE], np.random.default_rng(0), cables=1.0)
    assert scene.followers and (scene.part[scene.followers[0].geoms] == ARM).all()
    extent = pose_robot(scene, scene.robots[0], np.random.default_rng(0))
    paint_robot(scene, scene.robots[0], np.random.default_rng(0))
    scene.model.vis.headlight.ambient[:] = 0.6
    look_at(extent.centre - [0, 3 * extent.radius, 0], extent.centre, np.array([0.0, 0, 1]), 0.0, 45.0).apply(scene)
    renderer.set_model(scene.model)
    picture = renderer.picture(scene.data, scene.camera, scene.part, cutout=True)
    renderer.close()
    assert {ARM, GRIPPER} <= set(np.unique(picture.label))
    assert ((picture.rgb.max(axis=2) > 0) >= (picture.label != BACKGROUND)).mean() > 0.99


def test_cable_joins_two_links_in_every_pose():
    scene = build_scene(NOWHERE, [MADE], np.random.default_rng(0), cables=1.0)
    cable, rng = scene.followers[0], np.random.default_rng(7)
    for _ in range(3):
        scene.robots[0].sample_qpos(rng, scene.data.qpos)
        update(scene)
        mat = scene.data.xmat[list(cable.bodies)].reshape(2, 3, 3)
        ends = scene.data.xpos[list(cable.bodies)] + np.einsum("nij,nj->ni", mat, cable.points)
        middle, half = scene.data.geom_xpos[cable.geoms], scene.model.geom_size[cable.geoms, 1]
        axis = scene.data.geom_xmat[cable.geoms].reshape(-1, 3, 3)[:, :, 2]
        low, high = middle - half[:, None] * axis, middle + half[:, None] * axis
        assert np.allclose(low[0], ends[0], atol=1e-6) and np.allclose(high[-1], ends[1], atol=1e-6)
        assert np.allclose(high[:-1], low[1:], atol=1e-6)


def test_held_thing_moves_with_the_gripper_and_is_no_robot():
    rooms = []
    scene = None
    for seed in range(20):  # not every cut-out has a held thing
        rooms.clear()
        scene = build_scene(
            NOWHERE, [MADE], np.random.default_rng(0), things_beside(np.random.default_rng(seed), False, rooms)
        )
        if rooms[0].held[0] is not None:
            break
    assert rooms[0].held[0] is not None
    scene = hold_things(scene, rooms[0].held, np.random.default_rng(0))
    held, robot = scene.followers[-1], scene.robots[0]
    assert not scene.part[held.geoms].any()
    far = []
    for value in (-0.4, 0.5):
        scene.data.qpos[robot.qadr] = robot.home + value
        update(scene)
        root, tip, _ = measure(scene, robot).grips[0]
        far.append(scene.data.geom_xpos[held.geoms[0]] - scene.data.xpos[held.body])
        assert np.linalg.norm(far[-1]) < 3 * np.linalg.norm(tip - root) + 0.3
    assert np.linalg.norm(far[0]) == pytest.approx(np.linalg.norm(far[1])) and not np.allclose(far[0], far[1])


def test_things_and_people_compile_above_the_ground():
    spec = mujoco.MjSpec()
    rng = np.random.default_rng(0)
    for i, make in enumerate(MACHINES.values()):
        body = spec.worldbody.add_body(name=f"thing_{i}")
        radius, height = make(dressed_builder(spec, rng, f"thing_{i}/"), body)
        assert 0 < radius < 1.5 and 0 < height < 3
    person = spec.worldbody.add_body(name="person")
    assert add_person(people_builder(spec, rng, "person/"), person)[1] > 1.4
    hand = spec.worldbody.add_body(name="hand", pos=[0, 0, 1])
    assert 0.3 < add_hand(people_builder(spec, rng, "hand/"), hand, right=True) < 0.7
    model = spec.compile()
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    assert data.geom_xpos[:, 2].min() > -0.05


def test_scene_without_robot_holds_only_things():
    rooms = []
    scene = build_scene(NOWHERE, [], np.random.default_rng(0), things_beside(np.random.default_rng(1), True, rooms))
    place_beside(scene, rooms[0].things, NOTHING, np.random.default_rng(2))
    assert rooms[0].things and not scene.part.any() and scene.model.ngeom > 0
    assert all(scene.data.body(t.body).xpos[2] > -5 for t in rooms[0].things)


def test_share_of_made_robots_by_default():
    folder = Path("robots")
    assert made_share(None, folder, own=False) == 0.5 and made_share(None, None, own=False) == 1.0
    assert made_share(None, None, own=True) == made_share(None, folder, own=False, test_arms=True) == 0.0
    assert made_share(0.2, folder, own=False) == 0.2
    for asked, robots, own, test in ((1.5, folder, False, False), (0.5, None, False, False), (0.5, None, True, False)):
        with pytest.raises(ValueError, match="--procedural"):
            made_share(asked, robots, own, test)
    with pytest.raises(ValueError, match="--test-arms needs --robots"):
        made_share(None, None, own=False, test_arms=True)


def test_videos_need_no_robots_folder(tmp_path):
    try:
        Renderer(64, 64).close()
    except RuntimeError as e:
        pytest.skip(str(e))
    args = ["--out", str(tmp_path), "--count", "1", "--frames", "2", "--size", "64", "64", "--empty", "0"]
    assert main.main(args) == 0
    meta = json.loads(next((tmp_path / "mask_gt").glob("*/meta.json")).read_text())
    assert meta["arm"] == PROCEDURAL and len(list((tmp_path / "mask_gt").glob("*/002/*.png"))) == 2


def test_livery_is_within_range():
    for seed in range(30):
        livery = sample_livery(np.random.default_rng(seed), gripper=bool(seed % 2))
        assert livery.colours.shape == (7, 3) and 0 < livery.colours.min() and livery.colours.max() <= 1


def test_exposure_lifts_the_dark_and_leaves_the_bright():
    dark, bright = np.full((5, 3), 10, np.uint8), np.full((5, 3), 200, np.uint8)
    assert exposure(dark, 60.0)[10] > 30
    assert np.array_equal(exposure(bright, 60.0), np.arange(256))


def test_codec_is_lossy_by_its_step_and_repeats():
    rng = np.random.default_rng(0)
    frames = [np.clip(rng.normal(120, 40, (50, 37, 3)), 0, 255).astype(np.uint8) for _ in range(3)]
    loss = []
    for step in (2.0, 30.0):
        codec, again = VideoCodec(step), VideoCodec(step)
        coded = [codec.apply(f) for f in frames]
        assert all(np.array_equal(a, again.apply(f)) for a, f in zip(coded, frames, strict=True))
        loss.append(np.mean([np.abs(a.astype(float) - f)[..., 1].mean() for a, f in zip(coded, frames, strict=True)]))
    assert loss[0] < loss[1]
    flat = np.full((16, 16, 3), 90, np.uint8)
    assert np.abs(VideoCodec(4.0).apply(flat).astype(int) - 90).max() <= 4


def test_rolling_shutter_moves_labels_with_the_picture():
    label = np.zeros((40, 40), np.uint8)
    label[:, 18:22] = GRIPPER
    picture = Picture(np.where(label[..., None] > 0, np.uint8(250), np.uint8(0)).repeat(3, 2), label, label * 100)
    out = RollingShutter(np.array([12.0]), 0.0, 1.0).apply(picture, 0)
    assert ((out.rgb[..., 0] > 125) == (out.label == GRIPPER)).mean() > 0.98
    assert out.label[2].argmax() != out.label[38].argmax()


def test_pan_turns_away_from_the_robot():
    track = CameraTrack(
        CameraPose(np.zeros(3), np.array([1.0, 0, 0, 0]), 50.0), None, np.zeros((9, 3)), np.zeros((9, 3))
    )
    for seed in range(6):
        turned, part = pan(track, np.random.default_rng(seed))
        assert np.abs(part).max() <= 1 and np.ptp(np.abs(part)) > 0.3
        angle = np.abs(turned.turn[:, 1])
        assert angle.max() > np.deg2rad(0.7 * 50) * 0.5 and np.argmax(angle) == np.argmax(np.abs(part))


@needs_robots
def test_made_robots_never_use_a_test_arm():
    choices, rng = list_choices(ROBOTS), np.random.default_rng(0)
    made = [sample_made(choices, ROBOTS, rng) for _ in range(200)]
    assert not {c.arm for c in made} & set(TEST_ARMS)
    asked = list_choices(ROBOTS, ["lite6"])
    assert {sample_made(asked, ROBOTS, rng).arm for _ in range(20)} == {PROCEDURAL}
    assert {c.arm for c in made} > {PROCEDURAL, "ur5e"} and all(c.variant is not None for c in made)


@needs_robots
def test_embodiments_share_evenly():
    rng, count, choices = np.random.default_rng(0), {}, list_choices(ROBOTS)
    kinds = {embodiment(ROBOTS, c) for c in choices}
    for _ in range(100 * len(kinds)):
        arm = choose_robots(ROBOTS, choices, rng, two=0.0)[0].arm
        count[arm] = count.get(arm, 0) + 1
    assert count["franka_fr3"] + count["franka_panda"] == pytest.approx(100, abs=40)
    assert count["ur5e"] == pytest.approx(100, abs=40)


@needs_robots
@pytest.mark.parametrize("arm", ["franka_fr3", "ur5e", "xarm7", "wx250s"])
def test_changed_arm_keeps_its_parts(arm):
    gripper = None if arm == "wx250s" else PROCEDURAL
    pos = []
    for variant in range(3):
        scene = build_scene(ROBOTS, [RobotChoice(arm, gripper, variant)], np.random.default_rng(0))
        assert set(np.unique(scene.robots[0].labels)) == {ARM, GRIPPER}
        pos.append(scene.model.body_pos[scene.model.jnt_bodyid[scene.model.njnt // 3]])
    assert not np.allclose(pos[0], pos[1]) and not np.allclose(pos[1], pos[2])


@needs_robots
def test_room_compiles_with_and_without_photograph():
    for photo in (True, False):
        rooms = []
        build = room_around(ROBOTS, [MADE], photo, Contents(occluded=1.0), np.random.default_rng(3), rooms)
        scene = build_scene(ROBOTS, [MADE], np.random.default_rng(0), build)
        assert rooms[0].occluder is not None and scene.part.any()


@needs_robots
def test_test_arms_are_shown_as_they_are(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main.main(["--robots", str(ROBOTS), "--out", str(tmp_path), "--test-arms", "--procedural", "0.5"])
    assert "--procedural must be 0" in capsys.readouterr().err


@needs_robots
@pytest.mark.parametrize("share", [0, 1])
def test_share_of_made_robots_among_cutouts(tmp_path, share):
    try:
        Renderer(64, 64).close()
    except RuntimeError as e:
        pytest.skip(str(e))
    args = ["--robots", str(ROBOTS), "--out", str(tmp_path), "--count", "4", "--size", "64", "--per-scene", "1"]
    assert cutouts.main([*args, "--shard", "2", "--procedural", str(share)]) == 0
    lines = [json.loads(x) for f in sorted(tmp_path.glob("meta_*.jsonl")) for x in f.read_text().splitlines()]
    robots = [name for line in lines for name in line["robots"]]
    assert len(lines) == 4 and robots and all(("#" in name) == bool(share) for name in robots)
    assert (tmp_path / "sheet.png").is_file()
