# SPDX-License-Identifier: Apache-2.0
"""A user's own robot from URDF or MJCF: rendered with the right parts, refused with a clear message."""

import os
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("robotseg_core.synth")
mujoco = pytest.importorskip("mujoco", reason="the renderer needs mujoco: install the 'synth' extra")

from robotseg_core.synth import command as main  # noqa: E402
from robotseg_core.synth import cutouts  # noqa: E402
from robotseg_core.synth.rendering.render import Renderer  # noqa: E402
from robotseg_core.synth.robots.catalog import OwnRobot, RobotChoice  # noqa: E402
from robotseg_core.synth.robots.own_robot import read_joints  # noqa: E402
from robotseg_core.synth.robots.robot import ARM, BACKGROUND, GRIPPER  # noqa: E402
from robotseg_core.synth.scenes.scene import build_scene, update  # noqa: E402

REPO = Path(__file__).resolve().parents[3]
ROBOTS = Path(os.environ.get("ROBOTSEG_ROBOTS", REPO.parent / "shared" / "robots"))
NOWHERE = Path("no_such_folder")

URDF = """<robot name="two_links">
  <material name="blue"><color rgba="0.1 0.2 0.8 1"/></material>
  <link name="base"><visual><origin xyz="0 0 0.1"/><geometry><box size="0.2 0.2 0.2"/></geometry></visual></link>
  <link name="upper"><visual><origin xyz="0 0 0.2"/><geometry><cylinder radius="0.05" length="0.4"/></geometry>
    <material name="blue"/></visual></link>
  <link name="mount"/>
  <link name="hand"><visual><geometry>SHAPE</geometry></visual></link>
  <link name="left"><visual><origin xyz="0 0 0.05"/><geometry><box size="0.02 0.02 0.1"/></geometry></visual></link>
  <link name="right"><visual><origin xyz="0 0 0.05"/><geometry><box size="0.02 0.02 0.1"/></geometry></visual></link>
  <joint name="swing" type="revolute"><parent link="base"/><child link="upper"/><origin xyz="0 0 0.2"/>
    <axis xyz="0 1 0"/><limit lower="-0.5" upper="1.5" effort="1" velocity="1"/></joint>
  <joint name="fixed" type="fixed"><parent link="upper"/><child link="mount"/><origin xyz="0 0 0.4"/></joint>
  <joint name="turn" type="continuous"><parent link="mount"/><child link="hand"/><axis xyz="0 0 1"/></joint>
  <joint name="grip" type="prismatic"><parent link="hand"/><child link="left"/><origin xyz="0 0 0.05"/>
    <axis xyz="1 0 0"/><limit lower="0" upper="0.04" effort="1" velocity="1"/></joint>
  <joint name="grip2" type="prismatic"><parent link="hand"/><child link="right"/><origin xyz="0 0 0.05"/>
    <axis xyz="1 0 0"/><limit lower="-0.04" upper="0" effort="1" velocity="1"/>
    <mimic joint="grip" multiplier="-1"/></joint>
</robot>"""
TETRAHEDRON = "v 0 0 0\nv 0.1 0 0\nv 0 0.1 0\nv 0 0 0.1\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n"


def write_urdf(folder, shape='<box size="0.1 0.1 0.1"/>'):
    path = folder / "two_links.urdf"
    path.write_text(URDF.replace("SHAPE", shape))
    return path


def own(path, *links, search=()):
    return RobotChoice(path.stem, None, own=OwnRobot(path, path.suffix == ".urdf", links, search))


def parts(scene):
    out = {}
    for geom, label in zip(scene.robots[0].geoms, scene.robots[0].labels, strict=True):
        out.setdefault(scene.model.body(scene.model.geom_bodyid[geom]).name.split("/")[-1], set()).add(int(label))
    return out


def test_urdf_links_get_their_parts(tmp_path):
    scene = build_scene(NOWHERE, [own(write_urdf(tmp_path), "left", "hand", "right")], np.random.default_rng(0))
    assert parts(scene) == {"base": {ARM}, "upper": {ARM}, "hand": {GRIPPER}, "left": {GRIPPER}, "right": {GRIPPER}}
    robot = scene.robots[0]
    assert len(robot.qadr) == 1 and len(robot.grip_qadr) == 3 and len(robot.gripper_roots) == 1
    scene.data.qpos[:] = 0
    scene.data.joint("r0/swing").qpos[0] = np.pi / 2
    update(scene)
    assert np.allclose(scene.data.body("r0/mount").xpos, [0.4, 0, 0.2], atol=1e-6)


def test_mimic_joint_follows_and_poses_keep_to_the_limits(tmp_path):
    joints = read_joints(own(write_urdf(tmp_path), "hand").own)
    grip = {name: (a, b) for name, a, b in joints.grip}
    assert grip["grip"] == (0.0, 0.04) and grip["grip2"] == (0.0, -0.04)
    scene = build_scene(NOWHERE, [own(write_urdf(tmp_path), "hand")], np.random.default_rng(0))
    rng = np.random.default_rng(1)
    for _ in range(20):
        scene.robots[0].sample_qpos(rng, scene.data.qpos, width=2.0)
        assert -0.5 <= scene.data.joint("r0/swing").qpos[0] <= 1.5
        assert scene.data.joint("r0/grip").qpos[0] == pytest.approx(-scene.data.joint("r0/grip2").qpos[0])


def test_package_meshes_are_found_in_the_search_path(tmp_path):
    shape = '<mesh filename="package://my_arm/meshes/hand.obj" scale="2 2 2"/>'
    (tmp_path / "urdf").mkdir()
    path = write_urdf(tmp_path / "urdf", shape)
    with pytest.raises(FileNotFoundError, match=r"package://my_arm/meshes/hand\.obj not found"):
        build_scene(NOWHERE, [own(path, "hand")], np.random.default_rng(0))
    meshes = tmp_path / "elsewhere" / "my_arm" / "meshes"
    meshes.mkdir(parents=True)
    (meshes / "hand.obj").write_text(TETRAHEDRON)
    for search in (tmp_path / "elsewhere", tmp_path / "elsewhere" / "my_arm"):
        scene = build_scene(NOWHERE, [own(path, "hand", search=(search,))], np.random.default_rng(0))
        assert np.ptp(scene.model.mesh_vert, axis=0).max() == pytest.approx(0.2 * np.sqrt(2), rel=0.5)


def test_mesh_of_a_wrong_type_is_named(tmp_path):
    (tmp_path / "hand.dae").write_text("")
    with pytest.raises(ValueError, match=r"hand\.dae is \.dae; MuJoCo reads \.stl, \.obj, \.msh"):
        build_scene(
            NOWHERE, [own(write_urdf(tmp_path, '<mesh filename="hand.dae"/>'), "hand")], np.random.default_rng(0)
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gripper-links", "palm,hand"], "no link palm; the robot has base, upper, mount, hand"),
        ([], "--gripper-links is needed"),
        (["--gripper-links", "hand", "--procedural", "0.5"], "--procedural must be 0"),
        (["--gripper-links", "hand", "--robots", "somewhere"], "only one of"),
    ],
)
def test_wrong_arguments_end_with_one_line(tmp_path, capsys, arguments, message):
    path = write_urdf(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main.main(["--urdf", str(path), "--out", str(tmp_path / "out"), *arguments])
    assert stop.value.code == 2 and message in capsys.readouterr().err


def test_robot_without_joints_and_broken_files_are_refused(tmp_path):
    stiff = tmp_path / "stiff.urdf"
    box = '<visual><geometry><box size="1 1 1"/></geometry></visual>'
    stiff.write_text(f'<robot name="a"><link name="base">{box}</link></robot>')
    with pytest.raises(ValueError, match="no movable joint"):
        read_joints(own(stiff, "base").own)
    stiff.write_text("<mujoco/>")
    with pytest.raises(ValueError, match="not a URDF"):
        read_joints(OwnRobot(stiff, True, ("a",)))
    stiff.write_text("<robot")
    with pytest.raises(ValueError, match="not XML"):
        read_joints(OwnRobot(stiff, True, ("b",)))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_joints(OwnRobot(tmp_path / "nowhere.urdf", True, ("c",)))
    model = tmp_path / "model.xml"
    model.write_text('<mujoco><asset><mesh file="gone.obj"/></asset><worldbody><body name="a"/></worldbody></mujoco>')
    with pytest.raises(FileNotFoundError, match=r"gone\.obj"):
        read_joints(own(model, "a").own)


def test_own_mjcf_loses_its_floor_lights_and_collision_shapes(tmp_path):
    path = tmp_path / "arm.xml"
    path.write_text(
        """<mujoco><worldbody><light/><geom type="plane" size="1 1 1"/>
        <body name="base"><freejoint/><geom size="0.1"/><geom size="0.3" group="3"/>
        <body name="link" pos="0 0 0.2"><joint name="a" axis="0 1 0" range="-90 90"/><geom size="0.1"/>
        <body name="tool" pos="0 0 0.2"><geom size="0.05"/></body></body></body></worldbody></mujoco>"""
    )
    scene = build_scene(NOWHERE, [own(path, "tool")], np.random.default_rng(0))
    assert parts(scene) == {"base": {ARM}, "link": {ARM}, "tool": {GRIPPER}}
    assert len(scene.robots[0].geoms) == 3 == scene.model.ngeom
    assert scene.robots[0].high[0] == pytest.approx(np.pi / 2)


def test_commands_render_an_own_robot(tmp_path):
    try:
        Renderer(64, 64).close()
    except RuntimeError as e:
        pytest.skip(str(e))
    given = ["--urdf", str(write_urdf(tmp_path)), "--gripper-links", "hand", "--out"]
    assert cutouts.main([*given, str(tmp_path / "cut"), "--count", "3", "--size", "64"]) == 0
    label = np.load(tmp_path / "cut" / "label_0000.npy")
    assert label.shape == (3, 64, 64) and set(np.unique(label)) == {BACKGROUND, ARM, GRIPPER}
    video = ["--count", "1", "--frames", "2", "--size", "64", "64", "--empty", "0", "--seed", "2"]
    assert main.main([*given, str(tmp_path / "video"), *video]) == 0
    assert len(list((tmp_path / "video" / "mask_gt").glob("*/002/*.png"))) == 2


@pytest.mark.skipif(not (ROBOTS / "arms").is_dir(), reason=f"no robot models in {ROBOTS}: set ROBOTSEG_ROBOTS")
def test_own_mjcf_with_meshes():
    path = ROBOTS / "grippers" / "robotiq_2f85" / "model.xml"
    names = [b.name for b in mujoco.MjSpec.from_file(str(path)).bodies[1:] if b.name]
    scene = build_scene(NOWHERE, [own(path, names[-1])], np.random.default_rng(0))
    assert set(np.unique(scene.robots[0].labels)) == {ARM, GRIPPER} and len(scene.robots[0].qadr) >= 5


@pytest.mark.parametrize(
    ("inside", "words"),
    [
        ('<size memory="1000G"/>', "1073741824000 bytes of memory, must be at most 1073741824"),
        ('<size nuserdata="2000000000"/>', "2000000000 numbers of user data"),
        ('<size nkey="2000000000"/>', "2000000000 key frames"),
        (
            '<asset><texture name="t" type="2d" builtin="flat" width="60000" height="60000"/></asset>',
            "a texture of 3600000000 pixels",
        ),
        (
            "<asset><hfield name='t' nrow='60000' ncol = ' 60000' size='1 1 1 1'/></asset>",
            "a height field of 3600000000 points",
        ),
        (
            '<worldbody><replicate offset="1 0 0" count="1000"><replicate count="1000"><geom size=".1"/></replicate>'
            "</replicate></worldbody>",
            "replicates parts 1000000 times, must be at most 100000",
        ),
    ],
)
def test_a_model_of_a_few_letters_takes_no_memory_without_limit(tmp_path, inside, words):
    body = '<worldbody><body name="a"><joint name="j"/><geom type="box" size=".1 .1 .1"/></body></worldbody>'
    good, bad = tmp_path / "good.xml", tmp_path / "bad.xml"
    good.write_text(f"<mujoco>{body}</mujoco>")
    assert read_joints(own(good, "a").own).grip[0][0] == "j"
    bad.write_text(f"<mujoco>{inside}{body}</mujoco>")
    with pytest.raises(ValueError, match=words):
        read_joints(own(bad, "a").own)
