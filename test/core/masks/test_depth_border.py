# SPDX-License-Identifier: Apache-2.0
"""Depth moves a doubtful border to where the depth steps, and leaves alone what it knows nothing of."""

import numpy as np
import pytest

from robotseg_core.masks.depth_border import sharpen
from robotseg_core.stream.postprocess import split_parts

H, W, GRID = 240, 320, 96


def blurred(middle):
    """Logits [3, g, g] of a robot that covers what is left of ``middle`` (a share), with a doubtful border."""
    across = (np.arange(GRID) + 0.5) / GRID
    row = np.clip((middle - across) * 60, -8, 8).astype(np.float32)
    robot = np.broadcast_to(row, (GRID, GRID))
    arm = robot.copy()
    arm[: GRID // 2] -= 3
    gripper = robot.copy()
    gripper[GRID // 2 :] -= 3
    return np.stack([arm, gripper, robot])


def step_at(share, near=1.0, far=2.0):
    depth = np.full((H, W), far, np.float32)
    depth[:, : round(share * W)] = near
    return depth


def border(logits):
    """Where the robot ends in the middle row, a share of the width."""
    return split_parts(logits, H, W)[2][H // 2].sum() / W


@pytest.mark.parametrize("true", [0.475, 0.525])
@pytest.mark.parametrize("near, far", [(1.0, 2.0), (2.0, 1.0)])
def test_border_goes_to_the_step_of_depth(true, near, far):
    """8 pixels off, in either direction, and also where the robot is behind what is beside it."""
    logits = blurred(0.5)
    assert border(logits) == pytest.approx(0.5, abs=0.005)
    assert border(sharpen(logits, step_at(true, near, far))) == pytest.approx(true, abs=0.006)


def test_millimetres_and_metres_are_the_same():
    metres = step_at(0.45)
    np.testing.assert_array_equal(
        sharpen(blurred(0.5), metres), sharpen(blurred(0.5), (metres * 1000).astype(np.uint16))
    )


@pytest.mark.parametrize(
    "depth",
    [
        np.zeros((H, W), np.uint16),
        np.full((H, W), np.nan, np.float32),
        np.full((H, W), 1.5, np.float32),
        step_at(0.5, 1.0, 1.02),
    ],
    ids=["nothing measured", "not a number", "all alike", "less than the camera can tell"],
)
def test_depth_that_says_nothing_changes_nothing(depth):
    logits = blurred(0.5)
    np.testing.assert_array_equal(split_parts(sharpen(logits, depth), H, W)[2], split_parts(logits, H, W)[2])


def test_where_the_model_is_sure_depth_is_not_asked():
    """A step far from the border: a table's edge, another thing."""
    assert border(sharpen(blurred(0.5), step_at(0.2))) == pytest.approx(0.5, abs=0.02)
    empty = np.full((3, GRID, GRID), -1024, np.float32)
    assert not split_parts(sharpen(empty, step_at(0.5)), H, W).any()


def test_arm_and_gripper_stay_what_they_are():
    logits = blurred(0.5)
    arm, gripper, robot = split_parts(sharpen(logits, step_at(0.55)), H, W)
    assert not (arm & gripper).any() and ((arm | gripper) == robot).all()
    assert not arm[: H // 2 - 4].any() and not gripper[H // 2 + 4 :].any()
    assert arm[-1].any() and gripper[0].any()


def test_input_is_left_alone():
    logits, depth = blurred(0.5), step_at(0.45)
    before = logits.copy(), depth.copy()
    sharpen(logits, depth)
    np.testing.assert_array_equal(logits, before[0])
    np.testing.assert_array_equal(depth, before[1])
