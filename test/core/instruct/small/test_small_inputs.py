# SPDX-License-Identifier: Apache-2.0
"""What the small policy looks at: pieces of the automatic masks have their numbers from both sides."""

import numpy as np
import pytest
import torch

from robotseg_core.instruct.small.inputs import CELL_EXTRA, FrameInputs, piece_numbers

SIDE = 96


def masks(*columns):
    """Arms of ten columns each, which begin at ``columns``; no gripper, a robot everywhere."""
    found = np.zeros((3, SIDE, SIDE), np.uint8)
    for column in columns:
        found[0, 20:60, column : column + 10] = 255
    found[2] = 255
    return found


def test_pieces_are_counted_from_the_left_and_from_the_right():
    arm_left, arm_right, gripper_left, gripper_right, robot_left, robot_right = piece_numbers(masks(10, 40, 70))
    assert [arm_left[20, x] for x in (6, 22, 36)] == [0.25, 0.5, 0.75]
    assert [arm_right[20, x] for x in (6, 22, 36)] == [0.75, 0.5, 0.25]
    assert arm_left[20, 15] == 0 and arm_left[5, 6] == 0
    assert not gripper_left.any() and not gripper_right.any()
    assert (robot_left == 0.25).all() and (robot_right == 0.25).all()


def test_numbers_end_at_four():
    left, right = piece_numbers(masks(2, 20, 38, 56, 74))[:2]
    assert [left[20, x] for x in (2, 11, 20, 29, 38)] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert [right[20, x] for x in (2, 11, 20, 29, 38)] == [1.0, 1.0, 0.75, 0.5, 0.25]


@pytest.mark.parametrize("channels", [8, 64])
def test_a_cell_has_all_that_is_known_of_it(channels):
    shapes = ((2, channels, 24, 24), (2, 3, 96, 96), (2, 3, 48, 48), (2, 6, 48, 48))
    inputs = FrameInputs(*(torch.rand(shape) for shape in shapes))
    cells = inputs.cells()
    assert cells.shape == (2, 24 * 24, channels + CELL_EXTRA)
    # The second row's third cell.
    cell = cells[1, 24 + 2]
    torch.testing.assert_close(cell[:channels], inputs.f16[1, :, 1, 2])
    torch.testing.assert_close(cell[-24:].sum(), inputs.numbers[1, :, 2:4, 4:6].sum())
