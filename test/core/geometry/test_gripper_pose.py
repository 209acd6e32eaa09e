# SPDX-License-Identifier: Apache-2.0
"""A mask in numbers and a place in space, against shapes and distributions that are known."""

import math

import cv2
import numpy as np
import pytest

from robotseg_core.geometry.camera import Camera, CameraError
from robotseg_core.geometry.gripper_pose import Uncertainty, locate, measure

CAMERA = Camera(160, 120, 150.0, 140.0, 80.0, 60.0)
EXACT = Uncertainty(depth_constant=0.0, depth_quadratic=0.0, edge=0.0, least_measured=0.0)


def bar(angle, centre=(80, 60), length=60, width=20):
    """A turned rectangle; the angle goes from x towards y."""
    mask = np.zeros((120, 160), np.uint8)
    corners = cv2.boxPoints((centre, (length, width), math.degrees(angle)))
    cv2.fillPoly(mask, [np.rint(corners).astype(np.int32)], 255)
    return mask


@pytest.mark.parametrize("angle", [-1.4, -0.7, -0.1, 0.0, 0.3, 1.0, 1.5])
def test_axis_of_a_bar_and_its_elongation(angle):
    pose = measure(bar(angle))
    assert pose.axis_angle == pytest.approx(angle, abs=0.03)
    assert pose.elongation == pytest.approx(60 / 20, rel=0.1)
    assert pose.centroid == pytest.approx((80, 60), abs=0.6)


def test_axis_angle_has_one_value_for_both_directions():
    for angle in np.linspace(-3, 3, 25):
        found = measure(bar(angle)).axis_angle
        assert -math.pi / 2 < found <= math.pi / 2
        assert math.sin(found - angle) == pytest.approx(0, abs=0.04)


def test_disc_says_that_its_axis_means_nothing():
    mask = np.zeros((120, 160), np.uint8)
    cv2.circle(mask, (50, 50), 20, 255, -1)
    assert measure(mask).elongation == pytest.approx(1.0, abs=0.02)


def test_box_area_and_contour_of_the_largest_piece():
    mask = np.zeros((120, 160), np.uint8)
    mask[10:30, 20:60] = 255
    mask[100:103, 150:153] = 255
    pose = measure(mask)
    assert pose.area == 20 * 40 + 9 and pose.roi == (20, 10, 133, 93)
    assert {tuple(p) for p in pose.contour.tolist()} == {(20, 10), (59, 10), (59, 29), (20, 29)}


def test_empty_mask_is_nowhere_and_one_pixel_is_somewhere():
    mask = np.zeros((120, 160), np.uint8)
    nowhere = measure(mask)
    assert not nowhere.present and math.isnan(nowhere.axis_angle) and len(nowhere.contour) == 0
    assert nowhere.roi == (0, 0, 0, 0) and all(map(math.isnan, nowhere.centroid))
    mask[7, 9] = 255
    pose = measure(mask)
    assert (pose.area, pose.centroid, pose.roi, pose.elongation) == (1, (9, 7), (9, 7, 1, 1), 1.0)


@pytest.mark.parametrize("kind", [np.uint16, np.float32])
def test_place_of_a_flat_part_seen_head_on(kind):
    mask = bar(0.3, centre=(100, 40))
    depth = np.full((120, 160), 2.5, np.float32)
    depth[mask > 0] = 0.8
    depth = (depth * 1000).astype(np.uint16) if kind == np.uint16 else depth
    place = locate(mask, depth, CAMERA, Uncertainty())
    rows, columns = np.nonzero(mask)
    expected = (0.8 * (columns.mean() - 80) / 150, 0.8 * (rows.mean() - 60) / 140, 0.8)
    assert place.xyz == pytest.approx(expected, abs=1e-3)
    assert (
        np.allclose(place.covariance, place.covariance.T, rtol=1e-12, atol=0)
        and np.linalg.eigvalsh(place.covariance).min() > 0
    )


def test_covariance_is_that_of_points_with_those_errors():
    """Against the spread of points computed from drawn centroids and depths."""
    errors = Uncertainty(depth_constant=0.002, depth_quadratic=0.004, edge=1.5)
    mask = bar(0.0, centre=(130, 30))
    depth = np.full((120, 160), 1.2, np.float32)
    place = locate(mask, depth, CAMERA, errors)
    rng = np.random.default_rng(0)
    rows, columns = np.nonzero(mask)
    u, v = columns.mean() + rng.normal(0, 1.5, 200_000), rows.mean() + rng.normal(0, 1.5, 200_000)
    z = 1.2 + rng.normal(0, 0.002 + 0.004 * 1.2**2, 200_000)
    drawn = np.cov(np.stack([(u - 80) / 150 * z, (v - 60) / 140 * z, z]))
    assert np.abs(place.covariance - drawn).max() < 0.02 * drawn.max()


def test_thick_part_is_less_certain_in_depth_and_an_outlier_changes_nothing():
    mask = bar(0.0)
    flat = np.full((120, 160), 1.0, np.float32)
    thick = flat + np.linspace(-0.05, 0.05, 160, dtype=np.float32)
    thick_z = locate(mask, thick, CAMERA, EXACT).covariance[2, 2]
    # Uniform over the bar's inside: its median absolute deviation is a quarter of its width.
    assert math.sqrt(thick_z) == pytest.approx(1.4826 * 0.1 * 60 / 160 / 4, rel=0.1)
    assert locate(mask, flat, CAMERA, EXACT).covariance[2, 2] == 0
    flat[mask > 0] = np.where(np.arange(np.count_nonzero(mask)) % 5 == 0, 7.0, 1.0)
    assert locate(mask, flat, CAMERA, EXACT).xyz[2] == 1.0


def test_background_at_the_edge_does_not_count():
    mask = bar(0.0, length=60, width=5)
    depth = np.full((120, 160), 3.0, np.float32)
    depth[cv2.erode(mask, np.ones((3, 3), np.uint8)) > 0] = 1.0
    assert locate(mask, depth, CAMERA, Uncertainty(edge=1.0)).xyz[2] == 1.0


def test_mask_of_half_the_size_gives_the_same_place():
    mask = bar(0.4)
    half = cv2.resize(mask, (80, 60), interpolation=cv2.INTER_NEAREST)
    depth = np.full((120, 160), 1.0, np.float32)
    whole = locate(mask, depth, CAMERA, EXACT).xyz
    assert locate(half, depth, CAMERA, EXACT).xyz == pytest.approx(whole, abs=0.01)


def test_what_has_no_place_says_why():
    depth = np.full((120, 160), np.nan, np.float32)
    with pytest.raises(ValueError, match="empty"):
        locate(np.zeros((120, 160), np.uint8), depth, CAMERA, Uncertainty())
    with pytest.raises(ValueError, match="0 pixels inside the mask have a depth"):
        locate(bar(0.0), depth, CAMERA, Uncertainty())
    with pytest.raises(CameraError, match="160 x 120 images, depth is 80 x 60"):
        locate(bar(0.0), depth[::2, ::2], CAMERA, Uncertainty())
