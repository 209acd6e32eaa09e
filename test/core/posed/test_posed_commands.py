# SPDX-License-Identifier: Apache-2.0
"""``robotseg check-extrinsics`` and ``robotseg twin`` from files to files."""

import json

import cv2
import numpy as np
import pytest

pytest.importorskip("robotseg_core.synth")
mujoco = pytest.importorskip("mujoco", reason="the renderer needs mujoco: install the 'synth' extra")

from posed_scenes import CAMERA, JOINTS, POSE, write_camera  # noqa: E402

from robotseg_core.cli import main  # noqa: E402
from robotseg_core.posed.check_command import STATUS  # noqa: E402
from robotseg_core.posed.fit import difference, moved  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_camera(tmp_path_factory.mktemp("front"))


def said(capsys):
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("robotseg ")]
    assert len(lines) == 1
    return lines[0]


def test_check_of_a_wrong_pose(folder, tmp_path, capsys, monkeypatch):
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps(moved(POSE, np.array([0.03, 0, 0, 0, 0, 0])).tolist()))
    out = tmp_path / "check"
    options = ["--mjcf", str(folder / "arm.xml"), "--masks", "masks", "--out", str(out), "--pose", str(wrong)]
    assert main(["check-extrinsics", str(folder), *options]) == 3
    text = capsys.readouterr().out
    assert f"{folder.name}: off: the pose given is off by about 3.0 cm" in text
    report = json.loads((out / "extrinsics.json").read_text())[folder.name]
    assert report["verdict"] == "off" and abs(report["off_cm"] - 3) < 0.5
    assert np.all(np.array(difference(np.array(report["refined"]), POSE)) < (0.005, 0.4))
    assert [f["name"] for f in report["frames"]] == [f"{i:05d}" for i in range(len(JOINTS))]
    picture = cv2.imread(str(out / folder.name / "00000.png"))
    assert picture.shape[:2] == (CAMERA.height, CAMERA.width)
    assert (out / f"{folder.name}_contact_sheet.png").is_file()
    # What is there is not replaced unasked.
    before = (out / "extrinsics.json").read_bytes()
    assert main(["check-extrinsics", str(folder), *options]) == 2
    assert "exists" in said(capsys)
    assert (out / "extrinsics.json").read_bytes() == before
    # Asked to, it replaces all of it, and leaves no picture of the other one; what does not fit is left out, and said.
    (out / folder.name / "mine.png").write_bytes(b"mine")
    few = 2 * 8 * CAMERA.width * CAMERA.height
    monkeypatch.setattr("robotseg_core.posed.recording.MOST_BYTES", few)
    assert main(["check-extrinsics", str(folder), *options, "--overwrite"]) in STATUS.values()
    assert f"2 frames are looked at, {len(JOINTS) - 2} left out: memory" in capsys.readouterr().err
    report = json.loads((out / "extrinsics.json").read_text())[folder.name]
    shown = {f"{frame['name']}.png" for frame in report["frames"]}
    assert len(shown) == 2 and {file.name for file in (out / folder.name).iterdir()} == {*shown, "mine.png"}


def test_pictures_do_not_go_among_the_files_of_the_camera(folder, tmp_path, capsys):
    options = ["--mjcf", str(folder / "arm.xml"), "--masks", "masks", "--out", str(folder.parent)]
    before = sorted(folder.rglob("*"))
    assert main(["check-extrinsics", str(folder), *options]) == 2
    assert "would put pictures among the files of" in said(capsys)
    assert sorted(folder.rglob("*")) == before


def test_disturbed_on_purpose(folder, tmp_path):
    options = ["--mjcf", str(folder / "arm.xml"), "--masks", "masks", "--out", str(tmp_path)]
    assert main(["check-extrinsics", str(folder), *options, "--disturb", "0", "0", "0", "0", "3", "0"]) == 3
    report = json.loads((tmp_path / "extrinsics.json").read_text())[folder.name]
    assert abs(report["off_degrees"] - 3) < 0.3


@pytest.mark.parametrize(
    "options, words",
    [
        (["--masks", "nothing"], "is no folder"),
        (["--masks", "masks", "--pose", "none.json"], "does not exist"),
        (["--masks", "masks", "--joint-names", "a,b,c"], "no joint a, b, c"),
        (["--masks", "masks", "--camera-info", "none.yaml"], "none.yaml: No such file or directory"),
        (["--masks", "masks", "--ignore-links", "foot"], "no link foot"),
        (["--masks", "masks", "--tolerance", "0"], "must be above 0"),
    ],
)
def test_bad_input_is_one_line(folder, tmp_path, capsys, options, words):
    command = ["check-extrinsics", str(folder), "--mjcf", str(folder / "arm.xml"), "--out", str(tmp_path / "o")]
    assert main([*command, *options]) == 2
    assert words in said(capsys)


def test_a_folder_of_the_cameras_name_is_not_written_into(folder, tmp_path, capsys):
    (tmp_path / folder.name).mkdir()
    command = ["check-extrinsics", str(folder), "--mjcf", str(folder / "arm.xml"), "--masks", "masks", "--overwrite"]
    assert main([*command, "--out", str(tmp_path)]) == 2
    assert f"{tmp_path / folder.name} exists" in said(capsys)
    assert [path.name for path in tmp_path.rglob("*")] == [folder.name]


def test_frames_of_another_size_are_named(folder, tmp_path, capsys):
    info = json.loads((folder / "camera_info.yaml").read_text()) | {"width": 640, "height": 480}
    (tmp_path / "info.yaml").write_text(json.dumps(info))
    command = ["check-extrinsics", str(folder), "--mjcf", str(folder / "arm.xml"), "--out", str(tmp_path / "o")]
    assert main([*command, "--masks", "masks", "--camera-info", str(tmp_path / "info.yaml")]) == 2
    assert "frame 00000 is 320 x 240, camera_info is of 640 x 480" in said(capsys)


def open_twin(out):
    model = mujoco.MjModel.from_xml_path(str(out / "scene.xml"))
    return model, mujoco.MjData(model)


def assert_viewers_open_where_the_camera_is(model, data):
    """The free camera, with which every viewer begins: where the recording's is and to where it looks; roll aside."""
    mujoco.mj_forward(model, data)
    context = {"model": model, "data": data, "option": mujoco.MjvOption(), "perturb": None}
    seen = {}
    for name in ("free", "robotseg_camera"):
        camera, scene = mujoco.MjvCamera(), mujoco.MjvScene(model, 100)
        mujoco.mjv_defaultFreeCamera(model, camera)
        if name != "free":
            camera.type, camera.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, model.camera(name).id
        mujoco.mjv_updateScene(*context.values(), camera, mujoco.mjtCatBit.mjCAT_ALL, scene)
        seen[name] = scene.camera
    for mine, other in zip(seen["free"], seen["robotseg_camera"], strict=True):
        # The two eyes of a viewer are a few centimetres apart.
        np.testing.assert_allclose(mine.pos, other.pos, atol=0.04)
        np.testing.assert_allclose(mine.forward, other.forward, atol=1e-3)
        assert mine.up @ other.up > 0.99
        assert mine.frustum_top - mine.frustum_bottom == pytest.approx(
            other.frustum_top - other.frustum_bottom, rel=0.02
        )


def test_twin_of_a_posed_robot(folder, tmp_path, capsys):
    out = tmp_path / "twin"
    options = ["--mjcf", str(folder / "arm.xml"), "--masks", "masks", "--joints", "joints.json", "--pose", "pose.json"]
    assert main(["twin", str(folder), *options, "--depth", "depth", "--out", str(out)]) == 0
    model, data = open_twin(out)
    assert model.nkey == len(JOINTS)
    for i, joints in enumerate(JOINTS):
        mujoco.mj_resetDataKeyframe(model, data, model.key(f"frame_{i:05d}").id)
        np.testing.assert_allclose(data.qpos, joints, atol=1e-5)
    report = json.loads((out / "twin.json").read_text())
    # The twin's robot is where the masks are, and its background where the wall is.
    assert report["median_iou"] > 0.95
    points = (out / "background.ply").read_bytes().split(b"end_header\n", 1)[1]
    xyz = np.frombuffer(points, [("xyz", "<f4", 3), ("rgb", "u1", 3)])["xyz"]
    in_camera = np.linalg.inv(np.array(report["camera_in_world"])) @ np.c_[xyz, np.ones(len(xyz))].T
    np.testing.assert_allclose(in_camera[2], 2.5, atol=1e-3)
    video = cv2.VideoCapture(str(out / "side_by_side.mp4"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == len(JOINTS)
    good, first = video.read()
    assert good
    # Left the camera, right the twin: the same wall at the same place.
    left, right = np.split(first.astype(int), 2, axis=1)
    free = cv2.imread(str(folder / "masks" / "00000.png"), cv2.IMREAD_GRAYSCALE) == 0
    assert np.median(np.abs(left - right)[free]) < 12
    assert_viewers_open_where_the_camera_is(model, data)
    # What is there is not replaced unasked, nor is a folder that is no twin even when asked.
    assert main(["twin", str(folder), *options, "--out", str(out)]) == 2
    assert "is not empty" in said(capsys)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    assert main(["twin", str(folder), *options, "--out", str(tmp_path / "mine"), "--overwrite"]) == 2
    assert "is not empty" in said(capsys)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "x"


def test_twin_without_joints_shows_one_surface_a_frame(folder, tmp_path):
    out = tmp_path / "twin"
    assert main(["twin", str(folder), "--masks", "masks", "--depth", "depth", "--out", str(out)]) == 0
    model, data = open_twin(out)
    assert model.nmocap == len(JOINTS)
    for i in range(len(JOINTS)):
        mujoco.mj_resetDataKeyframe(model, data, model.key(f"frame_{i:05d}").id)
        shown = np.flatnonzero(data.mocap_pos[:, 2] > -1)
        assert [model.body(int(np.flatnonzero(model.body_mocapid == m)[0])).name for m in shown] == [f"robot_{i:05d}"]
    assert json.loads((out / "twin.json").read_text())["median_iou"] is None
    # Here the camera looks straight up in the world, whose frame is its own.
    assert_viewers_open_where_the_camera_is(model, data)


def test_twin_takes_as_many_frames_as_fit_into_memory(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("robotseg_core.posed.recording.MOST_BYTES", 2 * 8 * CAMERA.width * CAMERA.height)
    command = ["twin", str(folder), "--masks", "masks", "--depth", "depth", "--out", str(tmp_path / "twin")]
    assert main(command) == 0
    assert f"{folder.name}: 2 frames are taken, no more of that size: memory" in capsys.readouterr().err
    assert len(json.loads((tmp_path / "twin" / "twin.json").read_text())["frames"]) == 2
    # Two are asked for: nothing is left out for want of memory.
    assert main([*command, "--overwrite", "--frames", "2"]) == 0
    assert "memory" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "options, words",
    [
        ([], "nothing says where the robot is in space"),
        (["--joints", "joints.json", "--pose", "pose.json"], "--joints needs the robot"),
        (["--joints", "joints.json", "--mjcf", "arm.xml"], "--joints needs --pose"),
        (["--depth", "nothing"], "nothing is no folder"),
        (["--depth", "."], "no depth image named like a frame"),
    ],
)
def test_twin_says_what_it_needs(folder, tmp_path, capsys, options, words):
    assert main(["twin", str(folder), "--masks", "masks", "--out", str(tmp_path / "t"), *options]) == 2
    assert words in said(capsys)
    assert not (tmp_path / "t").exists()
