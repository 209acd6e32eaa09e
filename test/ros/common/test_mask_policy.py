# SPDX-License-Identifier: Apache-2.0
"""Masks grown and shrunk: by the stated margin, and always arm and gripper disjoint with robot their union."""

import numpy as np
import pytest
from fake_model import mask_of
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from robotseg_core.types import PARTS, PartMasks, StageTimes, State
from robotseg_ros.common.mask_policy import BALANCED, EXCLUSIVE, INCLUSIVE, POLICIES, apply_policy


def result_of(labels):
    """Labels [H, W] of 0, 1 arm, 2 gripper -> a result as the core gives it."""
    pixels = (labels == 1, labels == 2, labels > 0)
    parts = tuple(mask_of(name, mask) for name, mask in zip(PARTS, pixels, strict=True))
    return PartMasks(7, State.TRACKING, parts, StageTimes())


def masks_of(result):
    return tuple(result[name].mask > 0 for name in PARTS)


def distances(pixels):
    """Distance of each pixel of [H, W] to the nearest one of ``pixels``, by brute force."""
    rows, columns = np.indices(pixels.shape)
    there = np.argwhere(pixels)
    if not len(there):
        return np.full(pixels.shape, np.inf)
    return np.sqrt(np.min([(rows - r) ** 2 + (columns - c) ** 2 for r, c in there], axis=0))


LABELS = arrays.arrays(
    np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.sampled_from([0, 0, 0, 1, 2])
)


@given(LABELS, st.sampled_from(POLICIES), st.integers(0, 6))
def test_arm_and_gripper_are_disjoint_and_robot_is_their_union(labels, policy, margin):
    before = result_of(labels)
    after = apply_policy(before, policy, margin)
    arm, gripper, robot = masks_of(after)
    assert not (arm & gripper).any() and np.array_equal(arm | gripper, robot)
    assert [part.name for part in after.parts] == list(PARTS)
    assert (after.state, after.stamp) == (before.state, before.stamp)
    for part, same in zip(after.parts, before.parts, strict=True):
        expected = mask_of(part.name, part.mask > 0)
        assert part.mask.shape == labels.shape and set(np.unique(part.mask)) <= {0, 255}
        assert (part.area, part.roi) == (expected.area, expected.roi)
        assert part.centroid == pytest.approx(expected.centroid, nan_ok=True)
        # What the model says of the part does not depend on the margin.
        assert (part.score, part.present) == (same.score, same.present)


@given(LABELS, st.integers(0, 6))
def test_inclusive_adds_what_is_within_the_margin_to_the_nearer_part(labels, margin):
    arm, gripper, robot = masks_of(apply_policy(result_of(labels), INCLUSIVE, margin))
    to_arm, to_gripper = distances(labels == 1), distances(labels == 2)
    assert np.array_equal(robot, np.minimum(to_arm, to_gripper) <= margin)
    assert np.array_equal(gripper, robot & (to_gripper < to_arm))


@given(LABELS, st.integers(0, 6))
def test_exclusive_takes_away_what_is_within_the_margin_of_something_else(labels, margin):
    arm, gripper, robot = masks_of(apply_policy(result_of(labels), EXCLUSIVE, margin))
    kept = (labels > 0) & (distances(labels == 0) > margin)
    assert np.array_equal(robot, kept if margin else labels > 0)
    assert np.array_equal(arm, robot & (labels == 1)) and np.array_equal(gripper, robot & (labels == 2))


@given(LABELS, st.integers(0, 6))
def test_balanced_changes_nothing(labels, margin):
    before = result_of(labels)
    assert apply_policy(before, BALANCED, margin) is before


def test_masks_of_the_result_are_left_unchanged():
    before = result_of(np.pad(np.full((4, 4), 1, np.uint8), 3))
    copies = [part.mask.copy() for part in before.parts]
    apply_policy(before, INCLUSIVE, 2)
    assert all(np.array_equal(part.mask, copy) for part, copy in zip(before.parts, copies, strict=True))
