# SPDX-License-Identifier: Apache-2.0
"""The control law in closed loop on a flat target that a simulated camera sees perfectly."""

import math

import cv2
import numpy as np
import pytest

from robotseg_core.geometry.camera import Camera
from robotseg_core.geometry.gripper_pose import NOWHERE, measure
from robotseg_core.geometry.servoing import STANDSTILL, Goal, Law, camera_velocity, feature_error, half_turn

CAMERA = Camera(320, 240, 300.0, 300.0, 159.5, 119.5)
# A bent bar in the plane z = 0 of the world, metres: no symmetry helps.
TARGET = np.array([[-0.1, -0.03], [0.1, -0.03], [0.1, 0.06], [0.07, 0.06], [0.07, 0.03], [-0.1, 0.03]])
GOAL_POSE = np.array([0.01, -0.02, -0.6, 0.2])
DT = 0.1


def view(pose):
    """The mask from a camera at x, y, z, turned by an angle about its optical axis, which is the world's z."""
    x, y, z, turn = pose
    points = (TARGET - (x, y)) @ np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    pixels = points / -z * 300.0 + (159.5, 119.5)
    mask = np.zeros((240, 320), np.uint8)
    cv2.fillPoly(mask, [np.rint(pixels * 256).astype(np.int32)], 255, shift=8)
    return mask


def run(start, law, frames=120, distance=0.6, see=view):
    pose = GOAL_POSE + start
    goal = Goal(measure(view(GOAL_POSE)), distance)
    poses = [pose.copy()]
    for _ in range(frames):
        v = camera_velocity(measure(see(pose)), goal, CAMERA, law)
        c, s = math.cos(pose[3]), math.sin(pose[3])
        pose = pose + DT * np.array([c * v.x - s * v.y, s * v.x + c * v.y, v.z, v.turn])
        poses.append(pose.copy())
    return np.array(poses) - GOAL_POSE


@pytest.mark.parametrize(
    "start", [(0.08, 0, 0, 0), (0, -0.05, 0, 0), (0, 0, -0.3, 0), (0, 0, 0, 0.8), (0.06, -0.05, -0.25, -0.7)]
)
def test_camera_comes_to_the_goal_view(start):
    error = np.abs(run(np.array(start), Law()))
    # Pixels are 2 mm wide at the target: its area tells the distance to 1 percent.  It stays where it has come to.
    assert error[-20:, :2].max() < 0.003 and error[-20:, 2].max() < 0.01 and error[-20:, 3].max() < 0.02


def test_error_shrinks_at_the_rate_of_the_gain():
    law = Law(gain=0.5, max_speed=10.0, max_turn=10.0)
    error = run(np.array([0.04, -0.03, -0.2, 0.3]), law, frames=40)
    left = np.abs(error[40] / error[0])
    assert left == pytest.approx(np.full(4, math.exp(-0.5 * 4)), abs=0.08)


def test_wrong_distance_changes_the_speed_not_the_goal():
    for distance in (0.3, 1.2):
        error = run(np.array([0.05, -0.03, -0.2, 0.3]), Law(gain=0.4), frames=250, distance=distance)
        assert np.abs(error[-1]).max() < 0.01


def test_ragged_mask_leaves_the_camera_near_the_goal():
    rng = np.random.default_rng(0)

    def ragged(pose):
        mask = view(pose)
        noise = cv2.GaussianBlur(rng.normal(0, 1, mask.shape), (0, 0), 4) * 8
        soft = cv2.GaussianBlur(mask.astype(np.float64), (0, 0), 3) / 255
        return np.where(soft + 0.3 * noise > 0.5, np.uint8(255), np.uint8(0))

    error = run(np.array([0.06, -0.05, -0.2, -0.5]), Law(), see=ragged)
    assert np.abs(error[-20:, :2]).max() < 0.03 and np.abs(error[-20:, 2]).max() < 0.15


def test_speeds_are_limited_and_keep_their_direction():
    goal = Goal(measure(view(GOAL_POSE)), 0.6)
    seen = measure(view(GOAL_POSE + (0.1, 0.05, -0.5, 0.0)))
    slow = camera_velocity(seen, goal, CAMERA, Law(gain=5.0, max_speed=0.1))
    fast = camera_velocity(seen, goal, CAMERA, Law(gain=5.0, max_speed=100.0))
    assert math.hypot(slow.x, slow.y, slow.z) == pytest.approx(0.1)
    assert slow.x / slow.z == pytest.approx(fast.x / fast.z, rel=0.05)
    turned = measure(view(GOAL_POSE + (0, 0, 0, 1.2)))
    assert abs(camera_velocity(turned, goal, CAMERA, Law(gain=5.0, max_turn=0.2)).turn) == pytest.approx(0.2)


def test_nothing_seen_means_standstill():
    assert camera_velocity(NOWHERE, Goal(measure(view(GOAL_POSE)), 0.6), CAMERA, Law()) == STANDSTILL


def test_round_part_is_not_turned():
    mask = np.zeros((240, 320), np.uint8)
    cv2.circle(mask, (100, 100), 30, 255, -1)
    goal = Goal(measure(view(GOAL_POSE)), 0.6)
    assert feature_error(measure(mask), goal, CAMERA, Law()).angle == 0
    assert camera_velocity(measure(mask), goal, CAMERA, Law()).turn == 0


def test_goal_must_show_the_part():
    with pytest.raises(ValueError, match="shows nothing"):
        Goal(NOWHERE, 0.5)
    with pytest.raises(ValueError, match=r"0\.0 m"):
        Goal(measure(view(GOAL_POSE)), 0.0)


def test_axis_angles_differ_by_half_a_turn_at_most():
    for angle in np.linspace(-7, 7, 101):
        assert -math.pi / 2 <= half_turn(angle) < math.pi / 2
        assert math.sin(half_turn(angle) - angle) == pytest.approx(0, abs=1e-9)
