# SPDX-License-Identifier: Apache-2.0
"""A camera's pose that is off is found, by how much, and brought back; where nothing can be said, that is said."""

from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("robotseg_core.synth")
pytest.importorskip("mujoco", reason="the renderer needs mujoco: install the 'synth' extra")

from posed_scenes import CAMERA, JOINTS, POSE, drawn, look_at, write_arm  # noqa: E402

from robotseg_core.posed.check import PosedFrame, check_camera  # noqa: E402
from robotseg_core.posed.fit import difference, moved  # noqa: E402
from robotseg_core.posed.inputs import read_camera, read_joints, read_pose  # noqa: E402
from robotseg_core.posed.robot import PosedRobot  # noqa: E402
from robotseg_core.posed.silhouette import SilhouetteRenderer, scaled  # noqa: E402

XARM = Path(__file__).resolve().parents[4] / "shared" / "real" / "rgbd" / "xarm7"
XARM_MODEL = XARM.parents[2] / "robots" / "arms" / "xarm7" / "model.xml"


@pytest.fixture(scope="module")
def robot(tmp_path_factory):
    return PosedRobot.load(write_arm(tmp_path_factory.mktemp("arm")))


@pytest.fixture(scope="module")
def masks(robot):
    return drawn(robot)[0]


def frames(robot, masks):
    return [PosedFrame(str(i), robot.positions(q), m) for i, (q, m) in enumerate(zip(JOINTS, masks, strict=True))]


def step(axis, amount):
    out = np.zeros(6)
    out[axis] = amount if axis < 3 else np.deg2rad(amount)
    return out


def test_pixels_are_where_the_camera_says(robot):
    """The middle of a small thing falls where the pinhole formula puts it."""
    renderer = SilhouetteRenderer(robot, CAMERA, ~robot.below(["hand"]))
    for q in JOINTS[:2]:
        seen = renderer.silhouette(robot.positions(q), POSE)
        hand = seen.mask & ~seen.ignored
        body = robot.model.body("hand").id
        middle = robot.data.xpos[body] + robot.data.xmat[body].reshape(3, 3) @ [0.07, 0, 0]
        x, y, z = np.linalg.inv(robot.base_pose() @ POSE) @ [*middle, 1.0] @ np.eye(4)[:, :3]
        pixel = np.array([CAMERA.fx * x / z + CAMERA.cx, CAMERA.fy * y / z + CAMERA.cy])
        assert np.abs(np.argwhere(hand)[:, ::-1].mean(0) - pixel).max() < 2
        row, column = np.rint(pixel[::-1]).astype(int)
        assert abs(seen.distance[row, column] - z) < 0.09
    renderer.close()


def test_scaled_camera_sees_the_same():
    half = scaled(CAMERA, 160)
    assert (half.width, half.height, half.fx) == (160, 120, 150)
    # The corner of the picture is half a pixel left of its first pixel's centre, at every size.
    assert (half.cx + 0.5) / 160 == pytest.approx((CAMERA.cx + 0.5) / 320)


def test_good_pose_is_good(robot, masks):
    check = check_camera(robot, CAMERA, POSE, frames(robot, masks))
    assert check.verdict == "good"
    assert check.off_m < 0.002 and check.off_deg < 0.2
    assert min(a.iou for a in check.after) > 0.96
    assert check.fit.spread_m < 0.005


@pytest.mark.parametrize("axis", range(6))
def test_three_centimetres_or_degrees_are_found_and_brought_back(robot, masks, axis):
    given = moved(POSE, step(axis, (0.03 if axis < 3 else 3) * (-1) ** axis))
    check = check_camera(robot, CAMERA, given, frames(robot, masks))
    assert check.verdict == "off"
    metres, degrees = difference(given, POSE)
    assert abs(check.off_m - metres) < 0.005 and abs(check.off_deg - degrees) < 0.4
    assert np.all(np.array(difference(check.fit.pose, POSE)) < (0.005, 0.4))
    assert np.median([a.edge_px for a in check.before]) > np.median([a.edge_px for a in check.after]) + 0.3


def test_far_off_pose_is_found_from_other_starts(robot, masks):
    given = moved(POSE, np.array([0.12, 0.02, 0.1, 0.0, 0.14, 0.1]))
    check = check_camera(robot, CAMERA, given, frames(robot, masks))
    assert check.verdict == "off"
    assert np.all(np.array(difference(check.fit.pose, POSE)) < (0.01, 0.8))


def test_another_robot_in_the_masks_does_not_draw_the_pose(robot, masks):
    other = drawn(robot, look_at((1.5, -0.9, 0.5), (0.5, 0.45, 0.2)))[0]
    both = [a | b for a, b in zip(masks, other, strict=True)]
    assert min((a & ~b).sum() / b.sum() for a, b in zip(both, masks, strict=True)) > 0.3
    check = check_camera(robot, CAMERA, moved(POSE, step(0, 0.03)), frames(robot, both))
    assert np.all(np.array(difference(check.fit.pose, POSE)) < (0.01, 1))


def test_links_that_do_not_count(tmp_path, robot, masks):
    """A hand that the real robot does not have: it draws the pose, unless it is left out."""
    bare = drawn(PosedRobot.load(write_arm(tmp_path, hand=False)))[0]
    given = moved(POSE, step(1, 0.03))
    check = check_camera(robot, CAMERA, given, frames(robot, bare), ignored=robot.below(["hand"]))
    assert np.all(np.array(difference(check.fit.pose, POSE)) < (0.005, 0.5))
    assert min(a.iou for a in check.after) > 0.93


def test_tool_that_the_model_does_not_have(tmp_path, masks):
    """Most edges are the arm's: they decide."""
    bare = PosedRobot.load(write_arm(tmp_path, hand=False))
    check = check_camera(bare, CAMERA, moved(POSE, step(2, 0.03)), frames(bare, masks))
    assert np.all(np.array(difference(check.fit.pose, POSE)) < (0.01, 1))


def test_masks_of_something_else_give_no_verdict(robot, masks):
    blobs = []
    for i in range(len(masks)):
        blob = np.zeros((CAMERA.height, CAMERA.width), np.uint8)
        cv2.circle(blob, (60 + 40 * i, 190), 30, 1, -1)
        blobs.append(blob > 0)
    check = check_camera(robot, CAMERA, POSE, frames(robot, blobs))
    assert check.verdict == "unknown" and "edges" in check.why


def test_robot_out_of_view_is_said(robot, masks):
    away = look_at((1.2, -0.7, 0.5), (3, 0, 0.25))
    with pytest.raises(ValueError, match="not in view in any frame"):
        check_camera(robot, CAMERA, away, frames(robot, masks))


def test_bad_input_is_named(robot, masks):
    with pytest.raises(ValueError, match="no frames"):
        check_camera(robot, CAMERA, POSE, [])
    wrong = [PosedFrame("7", robot.positions(JOINTS[0]), masks[0][:100])]
    with pytest.raises(ValueError, match="mask of 7 is 320 x 100, the camera is 320 x 240"):
        check_camera(robot, CAMERA, POSE, wrong)


def test_joints_by_name_and_by_order(robot):
    assert robot.joint_names == ("turn", "lift", "bend")
    assert robot.positions([0.1, 0.2, 0.3]).tolist() == [0.1, 0.2, 0.3]
    assert robot.positions([0.5], ["bend"]).tolist() == [0.0, 0.0, 0.5]
    with pytest.raises(ValueError, match="2 joint positions, .* has 3 joints"):
        robot.positions([0.1, 0.2])
    with pytest.raises(ValueError, match="no joint elbow"):
        robot.positions([0.1], ["elbow"])
    with pytest.raises(ValueError, match="finite"):
        robot.positions([0.1, np.nan, 0.3])


def test_mimic_joints_of_a_urdf_follow(tmp_path):
    link = '<link name="{}"><visual><geometry><box size="0.1 0.1 0.1"/></geometry></visual></link>'
    joint = (
        '<joint name="{}" type="revolute"><parent link="{}"/><child link="{}"/><limit lower="-2" upper="2"/>{}</joint>'
    )
    (tmp_path / "r.urdf").write_text(
        '<robot name="r">' + "".join(link.format(n) for n in "abc") + joint.format("j", "a", "b", "")
        + joint.format("k", "b", "c", '<mimic joint="j" multiplier="-2" offset="0.1"/>') + "</robot>"
    )  # fmt: skip
    robot = PosedRobot.load(tmp_path / "r.urdf", base="b")
    assert robot.positions([0.3], ["j"]).tolist() == pytest.approx([0.3, -0.5])
    with pytest.raises(ValueError, match="no link 'd'.* it has a, b, c"):
        PosedRobot.load(tmp_path / "r.urdf", base="d")


@pytest.mark.skipif(not (XARM.is_dir() and XARM_MODEL.is_file()), reason="../shared is not beside this checkout")
def test_real_xarm(tmp_path):
    """Real pictures, masks made by others, a pose estimated by others: an error put in is found and brought back."""
    robot = PosedRobot.load(XARM_MODEL)
    key = "joints.json:T_base_camera_or_inverse_estimated_by_roboreg"
    estimated = read_pose(key, XARM, frame="body")
    camera = read_camera(XARM / "camera_info.yaml")
    table = read_joints(XARM / "joints.json")
    seen = [
        PosedFrame(
            name, robot.positions(q), cv2.imread(str(XARM / "mask_robot" / f"{name}.png"), cv2.IMREAD_GRAYSCALE) > 0
        )
        for name, q in list(table.by_frame.items())[::2]
    ]
    check = check_camera(robot, camera, moved(estimated, step(0, 0.03)), seen)
    assert check.verdict == "off" and abs(check.off_m - 0.03) < 0.01
    assert np.all(np.array(difference(check.fit.pose, estimated)) < (0.01, 1))
    assert np.median([a.iou for a in check.after]) > 0.9
