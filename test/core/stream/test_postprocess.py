# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from robotseg_core.stream.postprocess import part_mask, part_masks, split_parts


def test_parts_are_disjoint_and_robot_is_their_union():
    logits = np.random.default_rng(0).normal(size=(3, 20, 20)).astype(np.float32)
    arm, gripper, robot = split_parts(logits, 48, 64)
    assert arm.shape == (48, 64)
    assert not (arm & gripper).any()
    assert np.array_equal(arm | gripper, robot)


def test_an_absent_part_takes_nothing_from_the_other():
    logits = np.full((3, 8, 8), -1024.0, np.float32)
    logits[1:, :4] = 5.0
    arm, gripper, robot = split_parts(logits, 8, 8)
    assert not arm.any()
    assert gripper[:4].all() and not gripper[4:].any()
    assert np.array_equal(gripper, robot)


def test_measures_of_a_mask():
    mask = np.zeros((10, 12), bool)
    mask[2:5, 3:9] = True
    part = part_mask("arm", mask, 0.7)
    assert (part.area, part.roi, part.present, part.score) == (18, (3, 2, 6, 3), True, 0.7)
    assert part.centroid == pytest.approx((5.5, 3.0))
    assert set(np.unique(part.mask)) == {0, 255}


def test_empty_masks_are_absent_whatever_their_score():
    logits = np.full((3, 4, 4), -5.0, np.float32)
    for part in part_masks(logits, np.ones(3, np.float32), 6, 6):
        assert not part.present and part.score == 0 and part.area == 0 and np.isnan(part.centroid[0])
