# SPDX-License-Identifier: Apache-2.0
"""Clicks mean the pieces that they lie in; what is clicked off goes as a whole, of the main piece only a lobe."""

import numpy as np
import pytest

from robotseg_core.masks.clicked import Clicks, apart, clicked_off, not_clicked


def clicks(*points):
    x, y, on = zip(*points, strict=True)
    return Clicks(np.array(x), np.array(y), np.array(on, bool))


def boxes(*corners, side=48):
    mask = np.zeros((side, side), bool)
    for x0, y0, x1, y1 in corners:
        mask[y0:y1, x0:x1] = True
    return mask


LEFT, RIGHT, SMALL = (4, 4, 20, 40), (28, 4, 44, 40), (30, 42, 36, 46)
TWO = boxes(LEFT, RIGHT)


def test_the_pieces_that_are_not_clicked_on_are_not_meant():
    assert np.array_equal(not_clicked(TWO, clicks((10, 10, 1))), boxes(RIGHT))
    assert not not_clicked(TWO, clicks((10, 10, 1), (30, 10, 1))).any()


@pytest.mark.parametrize("points", [[(24, 10, 1)], [(10, 10, 0)], [(24, 2, 1), (10, 10, 0)]])
def test_without_a_click_on_the_mask_no_piece_is_meant_more_than_another(points):
    assert not not_clicked(TWO, clicks(*points)).any()


def test_pieces_that_touch_at_a_corner_are_one():
    mask = boxes((4, 4, 10, 10), (10, 10, 16, 16), (30, 30, 36, 36))
    assert np.array_equal(not_clicked(mask, clicks((5, 5, 1))), boxes((30, 30, 36, 36)))


def test_a_smaller_piece_that_is_clicked_off_goes_whole():
    mask = boxes(LEFT, RIGHT, SMALL)
    assert np.array_equal(clicked_off(mask, clicks((32, 43, 0))), boxes(SMALL))
    assert np.array_equal(clicked_off(mask, clicks((32, 43, 0), (10, 10, 0))), boxes(SMALL, LEFT))
    assert not clicked_off(mask, clicks((2, 2, 0), (10, 10, 1))).any()


def test_of_the_main_piece_the_lobe_goes_up_to_its_neck():
    # A large body and a smaller one, joined by a thin neck.
    body, neck, lobe = (2, 2, 26, 46), (26, 22, 36, 25), (36, 16, 46, 32)
    mask = boxes(body, neck, lobe)
    gone = clicked_off(mask, clicks((41, 24, 0)))
    assert gone[boxes(lobe)].mean() > 0.9 and gone[boxes(body)].mean() < 0.02
    assert not gone[~mask].any()
    # The same where the body is clicked on.
    both = clicked_off(mask, clicks((41, 24, 0), (10, 24, 1)))
    assert both[boxes(lobe)].mean() > 0.9 and not both[24, 10]


def test_what_has_no_neck_loses_what_is_around_the_click():
    gone = clicked_off(boxes((4, 4, 44, 44)), clicks((8, 24, 0)))
    assert gone[24, 8] and gone[20:29, 5:12].all() and not gone[:, 24:].any()


def test_a_piece_that_is_all_there_is_goes_where_one_clicks_alone():
    """Of one that is small, three times the way to its border is all of it."""
    mask = boxes((20, 20, 25, 25))
    assert np.array_equal(clicked_off(mask, clicks((22, 22, 0))), mask)


def test_said_of_one_thing_both_count_for_nothing():
    mask = boxes((20, 20, 26, 26))
    assert not clicked_off(mask, clicks((22, 22, 0), (23, 22, 1))).any()


def test_a_mask_at_the_images_edge_and_an_empty_one():
    mask = boxes((0, 0, 48, 20), (0, 30, 10, 48))
    assert np.array_equal(clicked_off(mask, clicks((0, 47, 0))), boxes((0, 30, 10, 48)))
    assert not clicked_off(np.zeros_like(mask), clicks((0, 47, 0))).any()
    assert not not_clicked(np.zeros_like(mask), clicks((0, 47, 1))).any()


def test_pieces_apart_from_another_mask():
    assert np.array_equal(apart(TWO, boxes((18, 38, 24, 44))), boxes(RIGHT))
    assert np.array_equal(apart(TWO, np.zeros_like(TWO)), TWO)
