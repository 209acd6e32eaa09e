# SPDX-License-Identifier: Apache-2.0
"""The visual servoing example: its scene, the law on the simulator's masks, and the loop over ROS."""

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("robotseg_core.synth")  # chooses the OpenGL driver before mujoco is imported
pytest.importorskip("mujoco", reason="the example needs mujoco: install the 'synth' extra")

from robotseg_core.geometry.gripper_pose import Uncertainty, locate, measure  # noqa: E402
from robotseg_core.geometry.servoing import Goal, Law, Velocity, camera_velocity  # noqa: E402
from robotseg_ros.tools import servo_example  # noqa: E402
from robotseg_ros.tools.servo_plot import Record, Step, write_pictures, write_plot  # noqa: E402
from robotseg_ros.tools.servo_scene import ServoScene, Target  # noqa: E402

ROBOTS = Path(__file__).resolve().parents[4] / "shared" / "robots"


@pytest.fixture
def scene():
    try:
        made = ServoScene(160, 120)
    except RuntimeError as error:
        pytest.skip(str(error))
    yield made
    made.close()


def test_scene_shows_the_gripper_in_the_middle_of_the_goal_view(scene):
    scene.place_eye(*scene.goal_pose(0.45))
    shot = scene.look()
    assert shot.rgb.shape == (120, 160, 3) and shot.rgb.std() > 20
    assert not ((shot.arm > 0) & (shot.gripper > 0)).any() and (shot.arm > 0).mean() > 0.03
    pose = measure(shot.gripper)
    assert math.dist(pose.centroid, (79.5, 59.5)) < 12 and 0.03 < pose.area / (160 * 120) < 0.3
    # Depth and calibration say where the scene's own geometry is.
    place = locate(shot.gripper, shot.depth, scene.camera, Uncertainty())
    position, rotation = scene.eye_pose()
    assert np.linalg.norm(position + rotation @ place.xyz - scene.gripper_centre) < 0.05


def test_camera_moves_as_it_is_told_in_its_own_frame(scene):
    scene.place_eye(*scene.goal_pose(0.5))
    before, rotation = scene.eye_pose()
    scene.move(Velocity(x=0.1, y=-0.05, z=0.2, turn=0.3), 0.1)
    after, turned = scene.eye_pose()
    assert rotation.T @ (after - before) == pytest.approx((0.01, -0.005, 0.02), abs=1e-3)
    assert math.acos((np.trace(turned @ rotation.T) - 1) / 2) == pytest.approx(0.03, abs=1e-3)
    with pytest.raises(ValueError, match="cannot bring its camera"):
        scene.place_eye(np.array([5.0, 0.0, 0.0]), rotation)


def test_true_masks_bring_the_camera_back(scene):
    position, rotation = scene.goal_pose(0.45)
    scene.place_eye(position, rotation)
    goal = Goal(measure(scene.look().gripper), 0.45)
    scene.place_eye(position + (-0.1, 0.05, 0.04), rotation)
    for _ in range(40):
        scene.move(camera_velocity(measure(scene.look().gripper), goal, scene.camera, Law(gain=1.5)), 0.1)
    assert np.linalg.norm(scene.eye_pose()[0] - position) < 0.01


@pytest.mark.skipif(not (ROBOTS / "arms" / "lite6").is_dir(), reason="../shared/robots is not beside this checkout")
def test_robot_of_a_folder_takes_the_place_of_the_built_in_one():
    try:
        scene = ServoScene(160, 120, Target(ROBOTS, "lite6", None))
    except RuntimeError as error:
        pytest.skip(str(error))
    try:
        scene.place_eye(*scene.goal_pose(0.45))
        shot = scene.look()
        assert (shot.gripper > 0).any() and (shot.arm > 0).mean() > 0.03
    finally:
        scene.close()


def test_figures_plot_and_pictures_of_a_run(scene, tmp_path):
    scene.place_eye(*scene.goal_pose(0.45))
    shot = scene.look()
    goal = Goal(measure(shot.gripper), 0.45)
    steps = [Step(i / 10, 50 - i, 0.1, 0.0, 0.2 / (1 + i), 0.01, 0.9) for i in range(50)]
    record = Record(goal, scene.camera, steps, [("goal", shot, shot.gripper)])
    figures = record.summary()
    assert figures.converged and figures.arrived_s == pytest.approx(1.0) and figures.start_mm == 200
    lost = [*steps[:-1], Step(4.9, math.nan, math.nan, math.nan, 0.5, 0.01, 0.0)]
    figures = Record(goal, scene.camera, lost, []).summary()
    assert not figures.converged and figures.arrived_s is None and figures.unseen == pytest.approx(1 / 50)
    assert "not" in figures.table()
    write_plot(record, tmp_path / "plot.png", "test")
    write_pictures(record, tmp_path / "views.png")
    assert cv2.imread(str(tmp_path / "plot.png")).std() > 5 and cv2.imread(str(tmp_path / "views.png")) is not None


def test_loop_is_closed_over_ros(tmp_path, domain_id, monkeypatch):
    """The servo node as a process; the simulator's masks in the segmenter's stead, and few frames."""
    monkeypatch.setattr(servo_example, "TEACH_FRAMES", 2)
    monkeypatch.setattr(servo_example, "TRAVEL_FRAMES", 3)
    try:
        ServoScene(160, 120).close()
    except RuntimeError as error:
        pytest.skip(str(error))
    assert servo_example.main(["--masks", "truth", "--frames", "10", "--out", str(tmp_path)]) == 0
    figures = json.loads((tmp_path / "summary.json").read_text())
    assert figures["end_mm"] < 0.85 * figures["start_mm"] and figures["mean_iou"] == 1.0
    assert (tmp_path / "convergence.png").is_file() and (tmp_path / "views.png").is_file()


def test_a_number_of_frames_out_of_range_is_named(capsys):
    with pytest.raises(SystemExit) as ended:
        servo_example.main(["--frames", "1000000"])
    assert ended.value.code == 2 and "--frames is 1000000, must be 1 to 100000" in capsys.readouterr().err
