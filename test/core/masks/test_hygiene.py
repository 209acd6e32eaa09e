# SPDX-License-Identifier: Apache-2.0
"""Specks and holes: what goes, and what must stay."""

import numpy as np
import pytest

from robotseg_core.masks.hygiene import Hygiene, tidy

SIDE = 96
RULES = Hygiene(speck=0.2, apart=0.05, hole=0.002)


def logits(*boxes, holes=()):
    """Three parts; the robot is marked in boxes (x, y, w, h), but not in holes."""
    out = np.full((3, SIDE, SIDE), -5, np.float32)
    for x, y, w, h in boxes:
        out[2, y : y + h, x : x + w] = 5
    for x, y, w, h in holes:
        out[2, y : y + h, x : x + w] = -5
    return out


def marked(given):
    return tidy(given, RULES).max(0) > 0


def test_a_speck_far_from_the_robot_goes_and_the_robot_stays_as_it_is():
    given = logits((10, 10, 30, 40), (80, 80, 4, 4))
    assert np.array_equal(marked(given), marked(logits((10, 10, 30, 40))))
    assert (given[2, 80:84, 80:84] == 5).all()


def test_a_speck_goes_whichever_part_marks_it():
    given = logits((10, 10, 30, 40))
    given[0, 80:84, 80:84] = 3
    assert not marked(given)[80:, 80:].any()


def test_two_separate_fingers_stay():
    # Two cells wide, a gap of two cells to the hand, which the held thing hides.
    fingers = [(20, 52, 2, 8), (30, 52, 2, 8)]
    given = logits((10, 10, 30, 40), *fingers)
    assert np.array_equal(marked(given), given[2] > 0)


def test_a_second_robot_stays_however_far_it_is():
    given = logits((2, 10, 30, 40), (80, 60, 12, 25))
    assert np.array_equal(marked(given), given[2] > 0)


def test_of_fingers_alone_none_goes():
    given = logits((10, 10, 3, 30), (80, 10, 3, 20))
    assert tidy(given, RULES) is given


def test_a_small_hole_is_filled_and_the_gap_between_fingers_is_not():
    hole, gap = (20, 20, 1, 2), (30, 40, 5, 10)
    given = logits((10, 10, 40, 40), holes=(hole, gap))
    answer = marked(given)
    assert answer[20:22, 20].all()
    assert not answer[40:50, 30:35].any()


def test_a_notch_at_the_images_edge_is_no_hole():
    given = logits((10, 0, 40, 40), holes=((20, 0, 1, 1),))
    assert not marked(given)[0, 20]


def test_an_empty_mask_stays_empty():
    given = logits()
    assert tidy(given, RULES) is given


@pytest.mark.parametrize("name", ["speck", "apart", "hole"])
def test_a_share_outside_0_to_1_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} is 1.5, must be 0 to 1"):
        Hygiene(**{name: 1.5})
