# SPDX-License-Identifier: Apache-2.0
"""Which robot is meant, on masks and depth made by hand."""

import numpy as np
import pytest

from robotseg_core.masks.nearest import Nearest, check_depth, fill_region, not_meant, on_grid, parse_region

SIDE = 96
LEFT = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))


def mask(*boxes):
    out = np.zeros((SIDE, SIDE), bool)
    for x, y, w, h in boxes:
        out[y : y + h, x : x + w] = True
    return out


def test_a_robot_outside_the_region_is_not_meant():
    near, far = mask((10, 10, 20, 50)), mask((70, 40, 10, 20))
    assert np.array_equal(not_meant(near | far, Nearest(LEFT)), far)


def test_a_robot_that_reaches_out_of_the_region_is_meant_whole():
    arm = mask((10, 10, 60, 20))
    assert not not_meant(arm, Nearest(LEFT)).any()
    away = mask((40, 10, 50, 20))
    assert np.array_equal(not_meant(away, Nearest(LEFT)), away)


def test_a_far_robot_is_not_meant_also_where_it_touches_the_near_one():
    near, far = mask((10, 10, 20, 50)), mask((30, 20, 20, 30))
    metres = np.where(near, 1.0, np.where(far, 1.8, 3.0)).astype(np.float32)
    assert np.array_equal(not_meant(near | far, Nearest(max_depth=1.4), metres), far)


def test_an_arm_that_reaches_beyond_max_depth_is_meant_whole():
    arm = mask((10, 10, 60, 10))
    metres = np.tile(np.linspace(0.8, 2.0, SIDE, dtype=np.float32), (SIDE, 1))
    assert not not_meant(arm, Nearest(max_depth=1.4), metres).any()


def test_a_rim_of_background_depth_does_not_eat_the_mask():
    robot = mask((10, 10, 30, 60))
    metres = np.full((SIDE, SIDE), 3.0, np.float32)
    metres[12:68, 12:38] = 1.0
    assert not not_meant(robot, Nearest(max_depth=1.4), metres).any()


def test_what_has_no_depth_is_not_known_to_be_far():
    robot = mask((10, 10, 30, 60))
    assert not not_meant(robot, Nearest(max_depth=1.4), np.zeros((SIDE, SIDE), np.float32)).any()
    assert not not_meant(robot, Nearest(max_depth=1.4)).any()


def test_unmeasured_cells_go_with_the_piece_beside_them():
    near, far = mask((10, 10, 20, 50)), mask((34, 10, 20, 50))
    shadow = mask((30, 10, 4, 50))
    metres = np.where(near, 1.0, np.where(far, 1.8, 0.0)).astype(np.float32)
    gone = not_meant(near | far | shadow, Nearest(max_depth=1.4), metres)
    assert np.array_equal(gone & ~shadow, far)
    assert gone[:, 33][10:60].all() and not gone[:, 30].any()


def test_region_and_depth_are_both_asked_for():
    near, far = mask((10, 10, 20, 30)), mask((10, 60, 20, 30))
    other = mask((70, 10, 20, 30))
    metres = np.where(far, 2.0, 1.0).astype(np.float32)
    gone = not_meant(near | far | other, Nearest(LEFT, 1.4), metres)
    assert np.array_equal(gone, far | other)


def test_depth_comes_onto_the_grid_in_metres():
    depth = np.full((48, 64), 1500, np.uint16)
    depth[:, :32] = 0
    grid = on_grid(depth, (12, 16))
    assert grid.shape == (12, 16) and (grid[:, :8] == 0).all() and np.allclose(grid[:, 8:], 1.5)
    metres = np.array([[np.nan, np.inf], [2.0, -1.0]], np.float32)
    assert np.array_equal(on_grid(metres, (2, 2)), [[0, 0], [2, 0]])


def test_a_region_covers_the_cells_whose_centres_are_in_it():
    left = fill_region(LEFT, (10, 20))
    assert left[:, :10].all() and not left[:, 11:].any()
    assert fill_region(((0, 0), (1, 0), (1, 1), (0, 1)), (10, 20)).all()


def test_a_region_is_read_from_text():
    assert parse_region("") == ()
    assert parse_region("0,0, 1,0, 0.5,1") == ((0, 0), (1, 0), (0.5, 1))
    with pytest.raises(ValueError, match="must be numbers"):
        parse_region("0,0,one,0")
    with pytest.raises(ValueError, match="has 5 numbers"):
        parse_region("0,0,1,0,1")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"region": ((0, 0), (1, 1))}, "has 2 corners"),
        ({"region": ((0, 0), (640, 0), (0, 1))}, r"corner \(640, 0\), must be shares"),
        ({"max_depth": -1.0}, "max_depth is -1.0"),
        ({"max_depth": float("nan")}, "max_depth is nan"),
        ({"least": 0.0}, "least is 0.0"),
    ],
)
def test_what_cannot_be_meant_is_refused(given, words):
    with pytest.raises(ValueError, match=words):
        Nearest(**given)


def test_depth_of_another_view_is_refused():
    check_depth(np.zeros((240, 320), np.uint16), 480, 640)
    with pytest.raises(ValueError, match="depth is of 424 x 240 pixels, the image of 640 x 480"):
        check_depth(np.zeros((240, 424), np.uint16), 480, 640)
    with pytest.raises(ValueError, match="depth is uint8"):
        check_depth(np.zeros((480, 640), np.uint8), 480, 640)
