# SPDX-License-Identifier: Apache-2.0
"""Joints, calibrations and poses are read as people have them; what cannot be read is named."""

import json

import numpy as np
import pytest

pytest.importorskip("robotseg_core.synth")
pytest.importorskip("mujoco", reason="the room needs mujoco: install the 'synth' extra")

from robotseg_core.geometry.camera import CameraError  # noqa: E402
from robotseg_core.posed.inputs import quaternion, read_camera, read_joints, read_pose  # noqa: E402

TURN = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])


def matrix(turn=TURN, at=(1.0, 2.0, 3.0)):
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = turn, at
    return out


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize("content", [{"b": [1, 2], "a": [3, 4]}, {"joints": {"b": [1, 2], "a": [3, 4]}, "note": "x"}])
def test_joints_by_frame(tmp_path, content):
    table = read_joints(write(tmp_path / "j.json", content))
    assert table.names is None
    assert table.of("a", 7) == (3.0, 4.0) and table.of("c", 0) is None


def test_joints_of_a_csv_and_of_an_array(tmp_path):
    table = read_joints(write(tmp_path / "j.csv", "frame,turn,lift\n00003,0.1,0.2\n00004,0.3,0.4\n"))
    assert table.names == ("turn", "lift") and table.of("00004", 0) == (0.3, 0.4)
    plain = read_joints(write(tmp_path / "p.csv", "turn,lift\n0.1,0.2\n0.3,0.4\n"))
    assert plain.of("anything", 1) == (0.3, 0.4) and plain.of("anything", 2) is None
    np.save(tmp_path / "j.npy", np.array([[1.0, 2.0], [3.0, 4.0]]))
    assert read_joints(tmp_path / "j.npy").of("x", 1) == (3.0, 4.0)


@pytest.mark.parametrize(
    "name, content, said",
    [
        ("j.json", "{", "is not JSON"),
        ("j.json", {"a": "text"}, "no lists of joint positions"),
        ("j.csv", "turn\n", "1 lines"),
        ("j.csv", "turn,lift\n0.1\n", "line 2 has 1 cells, the header has 2"),
        ("j.csv", "turn\nfast\n", "line 2: could not convert"),
        ("j.txt", "1 2", "read from .json, .csv or .npy"),
        # What is there twice would count once, in silence.
        ("j.csv", "frame,turn\n1,0.1\n1,0.2\n", "line 3: frame 1 is there already"),
        ("j.csv", "turn,turn\n0.1,0.2\n", "the column turn twice"),
        ("j.json", {"joint_names": ["turn", "turn"], "joints": [[1, 2]]}, "the joint turn twice"),
        ("j.csv", "turn\n" + "1" * 200000 + "\n", "is no CSV"),
        ("j.json", "[" * 5000, "is not JSON"),
        ("j.json", "[[1" + "0" * 400 + "]]", "no lists of joint positions"),
    ],
)
def test_joints_that_cannot_be_read(tmp_path, name, content, said):
    with pytest.raises(ValueError, match=said):
        read_joints(write(tmp_path / name, content))


def test_calibrations(tmp_path):
    k = [500.0, 0, 320, 0, 501, 240, 0, 0, 1]
    info = {"width": 640, "height": 480, "k": k, "d": [0, 0, 0, 0, 0], "distortion_model": "plumb_bob"}
    camera = read_camera(write(tmp_path / "info.yaml", info))
    assert (camera.width, camera.height, camera.fx, camera.fy, camera.cx, camera.cy) == (640, 480, 500, 501, 320, 240)
    ros = {
        "image_width": 640,
        "image_height": 480,
        "camera_matrix": {"rows": 3, "cols": 3, "data": k},
        "distortion_coefficients": {"rows": 1, "cols": 5, "data": [0.1, 0, 0, 0, 0]},
    }
    assert read_camera(write(tmp_path / "ros.yaml", ros)).distortion == (0.1, 0.0, 0.0, 0.0)
    with pytest.raises(CameraError, match="has no k"):
        read_camera(write(tmp_path / "none.yaml", {"width": 1, "height": 1}))
    with pytest.raises(CameraError, match="is not YAML"):
        read_camera(write(tmp_path / "bad.yaml", "a: [1"))


def test_poses(tmp_path):
    write(tmp_path / "pose.json", matrix().tolist())
    np.testing.assert_allclose(read_pose("pose.json", tmp_path), matrix())
    write(tmp_path / "many.json", {"cam": matrix().tolist(), "other": 3})
    np.testing.assert_allclose(read_pose("many.json:cam", tmp_path), matrix())
    np.testing.assert_allclose(read_pose("pose.json", tmp_path, inverse=True), np.linalg.inv(matrix()))
    np.save(tmp_path / "pose.npy", matrix())
    np.testing.assert_allclose(read_pose("pose.npy", tmp_path), matrix())
    half = np.sqrt(0.5)
    np.testing.assert_allclose(read_pose(f"1 2 3 0 0 {half} {half}"), matrix(), atol=1e-12)
    np.testing.assert_allclose(quaternion(TURN), (0, 0, half, half), atol=1e-12)


def test_body_frame_looks_along_x(tmp_path):
    """The body frame's x is the optical frame's z, its y the other's -x, its z the other's -y."""
    write(tmp_path / "pose.json", matrix(np.eye(3)).tolist())
    optical = read_pose("pose.json", tmp_path, frame="body")
    np.testing.assert_allclose(optical[:3, :3] @ [0, 0, 1], [1, 0, 0])
    np.testing.assert_allclose(optical[:3, :3] @ [1, 0, 0], [0, -1, 0])
    np.testing.assert_allclose(optical[:3, :3] @ [0, 1, 0], [0, 0, -1])
    np.testing.assert_allclose(optical[:3, 3], [1, 2, 3])


@pytest.mark.parametrize(
    "content, said",
    [
        ([[1, 2], [3, 4]], "must be a 4 x 4 matrix"),
        (matrix(2 * TURN).tolist(), "no rotation"),
        (matrix(-TURN).tolist(), "no rotation"),
        ({"a": 1}, "holds no matrix"),
        (matrix(at=(1e5, 0, 0)).tolist(), "100000 m away, must be at most 10000: in metres"),
        (matrix(at=(np.nan, 0, 0)).tolist(), "must be a 4 x 4 matrix"),
    ],
)
def test_poses_that_are_none(tmp_path, content, said):
    write(tmp_path / "pose.json", content)
    with pytest.raises(ValueError, match=said):
        read_pose("pose.json", tmp_path)


def test_pose_files_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.json does not exist; give FILE, FILE:KEY or seven"):
        read_pose("none.json", tmp_path)
    write(tmp_path / "many.json", {"cam": 1})
    with pytest.raises(ValueError, match="has no 'tool'; it has cam"):
        read_pose("many.json:tool", tmp_path)


@pytest.mark.parametrize("numbers", ["1 2 3 0 0 0 0", "1 2 3 0 0 0 2", "1 2 3 0 0 nan 1", "1 2 3 0.4 0.4 0.4 0.4"])
def test_a_quaternion_that_is_none_is_no_identity(numbers):
    with pytest.raises(ValueError, match=r"of length .*, must be 1|must be a 4 x 4 matrix"):
        read_pose(numbers)


def test_arrays_are_looked_at_before_they_are_read(tmp_path):
    for name, array in (("c.npy", np.eye(4, dtype=complex)), ("t.npy", np.array([["a"]]))):
        np.save(tmp_path / name, array)
        with pytest.raises(ValueError, match="must be real numbers"):
            read_pose(name, tmp_path)
        with pytest.raises(ValueError, match="must be real numbers"):
            read_joints(tmp_path / name)
    with (tmp_path / "z.npy").open("wb") as file:
        np.savez(file, a=np.eye(4))
    with pytest.raises(ValueError, match="an archive of arrays"):
        read_joints(tmp_path / "z.npy")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("width: .inf", "cannot convert float infinity"),
        ("width: 1000000", "the camera is 1000000 x 480 pixels, each side must be 1 to 16384"),
        ("k: [.nan, 0, 320, 0, 501, 240, 0, 0, 1]", "all numbers must be finite"),
        ("k: &a [500, 0, 320, 0, 501, 240, 0, 0, 1]\nother: *a", "has an alias"),
    ],
)
def test_calibrations_that_cannot_be(tmp_path, change, said):
    lines = {
        "width": "width: 640",
        "height": "height: 480",
        "k": "k: [500, 0, 320, 0, 501, 240, 0, 0, 1]",
        "d": "d: []",
    }
    lines[change.partition(":")[0]] = change
    with pytest.raises(CameraError, match=said):
        read_camera(write(tmp_path / "info.yaml", "\n".join(lines.values())))
