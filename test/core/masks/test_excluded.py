# SPDX-License-Identifier: Apache-2.0
"""What clicks have taken away stays away while it moves, and nothing else does."""

import numpy as np
import pytest

from robotseg_core.masks.excluded import FORGET_AFTER, Excluded

SIDE = 48


def boxes(*corners):
    mask = np.zeros((SIDE, SIDE), bool)
    for x0, y0, x1, y1 in corners:
        mask[y0:y1, x0:x1] = True
    return mask


ROBOT, LAMP = (4, 4, 20, 40), (30, 4, 40, 14)


def moved(box, x, y=0):
    return (box[0] + x, box[1] + y, box[2] + x, box[3] + y)


@pytest.fixture
def excluded():
    one = Excluded(2, SIDE)
    one.tell(1, boxes(LAMP), boxes(ROBOT))
    return one


def left(excluded, *corners):
    """What stays of part 1; part 0 has the same mask and nothing taken from it."""
    masks = np.stack([boxes(*corners)] * 2)
    gone = excluded.taken_from(masks)
    assert not gone[0].any() and not gone[1][~masks[1]].any()
    return masks[1] & ~gone[1]


def test_it_stays_away_while_it_and_the_robot_move(excluded):
    for step in range(12):
        robot, lamp = moved(ROBOT, 0, step // 4), moved(LAMP, step % 3, 2 * step)
        assert np.array_equal(left(excluded, robot, lamp), boxes(robot))


def test_where_both_hang_together_they_are_cut_between(excluded):
    stays = left(excluded, ROBOT, (20, 8, 30, 12), LAMP)
    assert stays[boxes(ROBOT)].all() and not stays[boxes(LAMP)].any()


def test_a_border_that_flickers_is_not_grown_into(excluded):
    touching = (20, 8, 40, 20)
    excluded.tell(1, boxes(touching), boxes(ROBOT))
    for step in range(20):
        seen = touching if step % 2 else (22, 8, 40, 20)
        assert np.array_equal(left(excluded, ROBOT, seen), boxes(ROBOT)), step


def test_a_robot_that_moves_over_it_is_not_eaten(excluded):
    excluded.taken_from(np.stack([boxes(ROBOT)] * 2))
    for step in range(1, 14):
        robot = moved(ROBOT, step)
        assert np.array_equal(left(excluded, robot), boxes(robot)), step


def test_what_comes_elsewhere_stays(excluded):
    other = (24, 30, 34, 44)
    assert np.array_equal(left(excluded, other, LAMP), boxes(other))


def test_a_large_piece_that_reaches_a_little_into_it_stays(excluded):
    large = (0, 12, 40, 48)
    assert np.array_equal(left(excluded, large), boxes(large))


def test_what_is_not_marked_any_more_is_forgotten(excluded):
    for _ in range(FORGET_AFTER - 1):
        left(excluded, ROBOT)
    assert excluded
    assert np.array_equal(left(excluded, ROBOT, LAMP), boxes(ROBOT))
    for _ in range(FORGET_AFTER):
        left(excluded, ROBOT)
    assert not excluded
    assert np.array_equal(left(excluded, ROBOT, LAMP), boxes(ROBOT, LAMP))


def test_a_robot_that_was_away_is_known_from_where_it_was(excluded):
    for _ in range(3):
        assert not left(excluded, LAMP).any()
    assert np.array_equal(left(excluded, ROBOT, LAMP), boxes(ROBOT))


def test_what_is_told_later_counts(excluded):
    second = (30, 30, 40, 40)
    excluded.tell(1, boxes(second), boxes(ROBOT))
    assert np.array_equal(left(excluded, ROBOT, LAMP, second), boxes(ROBOT))
    # Now it is the part after all.
    excluded.tell(1, boxes(), boxes(ROBOT, LAMP))
    assert np.array_equal(left(excluded, ROBOT, LAMP, second), boxes(ROBOT, LAMP))


def test_one_part_or_all_are_cleared(excluded):
    excluded.tell(0, boxes(LAMP), boxes(ROBOT))
    excluded.clear(1)
    masks = np.stack([boxes(ROBOT, LAMP)] * 2)
    gone = excluded.taken_from(masks)
    assert np.array_equal(gone[0], boxes(LAMP)) and not gone[1].any()
    excluded.clear()
    assert not excluded and not excluded.taken_from(masks).any()
