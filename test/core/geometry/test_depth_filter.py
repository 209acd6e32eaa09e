# SPDX-License-Identifier: Apache-2.0
"""Depth without the robot, points of it, and the calibration behind them."""

import cv2
import numpy as np
import pytest

from robotseg_core.geometry.camera import Camera, CameraError
from robotseg_core.geometry.depth_filter import cut_out, to_points

CAMERA = Camera(40, 30, 50.0, 60.0, 19.5, 14.5)


def robot(height=30, width=40):
    mask = np.zeros((height, width), np.uint8)
    mask[height // 3 : height // 2, width // 4 : width // 2] = 255
    return mask


def test_millimetres_become_zero_where_the_robot_is_and_stay_elsewhere():
    depth = np.arange(1200, dtype=np.uint16).reshape(30, 40) + 500
    depth[0, :5] = 0
    given = depth.copy()
    result = cut_out(depth, robot())
    inside = robot() > 0
    assert result.depth.dtype == np.uint16 and not result.depth[inside].any()
    assert np.array_equal(result.depth[~inside], depth[~inside])
    assert np.array_equal(result.unknown == 255, inside | (depth == 0))
    assert np.array_equal(depth, given)


def test_metres_become_nan_and_unmeasured_pixels_are_unknown_but_unchanged():
    depth = np.full((30, 40), 1.5, np.float32)
    depth[0, :4] = (np.nan, np.inf, 0, -1)
    result = cut_out(depth, robot())
    inside = robot() > 0
    assert result.depth.dtype == np.float32 and np.isnan(result.depth[inside]).all()
    assert np.array_equal(result.depth[~inside], depth[~inside], equal_nan=True)
    assert (result.unknown[0, :4] == 255).all() and result.unknown[0, 4] == 0
    assert set(np.unique(result.unknown)) == {0, 255}


@pytest.mark.parametrize("kind", [np.uint16, np.float32])
def test_without_a_mask_nothing_is_known(kind):
    result = cut_out(np.full((4, 6), 3, kind), None)
    assert (result.unknown == 255).all()
    assert not np.nan_to_num(result.depth).any()


def test_empty_mask_takes_nothing_away():
    depth = np.full((30, 40), 800, np.uint16)
    result = cut_out(depth, np.zeros((30, 40), np.uint8), margin=5)
    assert np.array_equal(result.depth, depth) and not result.unknown.any()


def test_margin_grows_the_cut_by_so_many_pixels_in_every_direction():
    mask = np.zeros((41, 41), np.uint8)
    mask[20, 20] = 255
    unknown = cut_out(np.ones((41, 41), np.uint16), mask, margin=6).unknown > 0
    rows, columns = np.nonzero(unknown)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (14, 26, 14, 26)
    # A disc, not a square.
    assert not unknown[14, 14]


def test_mask_of_another_size_is_scaled_and_of_another_view_refused():
    depth = np.full((60, 80), 800, np.uint16)
    expected = np.kron(robot(), np.ones((2, 2), np.uint8)) > 0
    assert np.array_equal(cut_out(depth, robot()).depth == 0, expected)
    half = cut_out(np.full((15, 20), 800, np.uint16), robot()).depth == 0
    assert half.sum() == pytest.approx(expected.sum() / 16, rel=0.35)
    with pytest.raises(ValueError, match="mask is 40 x 30, depth is 64 x 36"):
        cut_out(np.full((36, 64), 800, np.uint16), robot())


def test_points_are_where_the_camera_sees_them():
    depth = np.full((30, 40), 2000, np.uint16)
    depth[3, 5] = 0
    points = to_points(depth, CAMERA)
    assert points.shape == (30, 40, 3) and points.dtype == np.float32
    assert np.isnan(points[3, 5]).all() and np.isfinite(points).all(axis=-1).sum() == 1199
    x, y, z = points[20, 30].astype(float)
    assert (x, y, z) == pytest.approx(((30 - 19.5) / 50 * 2, (20 - 14.5) / 60 * 2, 2.0), rel=1e-5)
    # Metres say the same.
    assert np.allclose(to_points(np.full((30, 40), 2.0, np.float32), CAMERA)[20, 30], points[20, 30])


def test_distorted_rays_go_back_to_their_pixels():
    distortion = (-0.3, 0.1, 0.001, -0.002, 0.01)
    camera = Camera(40, 30, 50.0, 60.0, 19.5, 14.5, distortion)
    rays = camera.rays.reshape(-1, 2).astype(float)
    matrix = np.array([[50.0, 0, 19.5], [0, 60.0, 14.5], [0, 0, 1]])
    points = np.column_stack([rays, np.ones(len(rays))])
    back, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), matrix, np.array(distortion))
    columns, rows = np.meshgrid(np.arange(40), np.arange(30))
    assert np.abs(back[:, 0] - np.column_stack([columns.ravel(), rows.ravel()])).max() < 0.05


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((40, 30, [0.0] * 9, "plumb_bob", []), "uncalibrated"),
        ((0, 30, [50, 0, 1, 0, 50, 1, 0, 0, 1], "", []), "0 x 30"),
        ((40, 30, [50, 0, 1, 0, 50, 1, 0, 0, 1], "equidistant", [0.1] * 4), "'equidistant' is not one of plumb_bob"),
        ((40, 30, [50, 0, 1, 0, 50, 1, 0, 0, 1], "plumb_bob", [0.1] * 3), "3 coefficients"),
        ((40, 30, [50, 0, 1, 0, 50, 1, 0, 0, 1], "plumb_bob", [0.0] * 14 + [0.1]), "15 coefficients"),
        ((40, 30, [50, 0, 1, 0, 50, 1, 0, 0, 1], "plumb_bob", [0.1, float("nan"), 0, 0, 0]), "finite"),
        ((40, 30, [50, 0, 1], "", []), "3 numbers"),
        ((40, 30, [50, 0, float("nan"), 0, 50, 1, 0, 0, 1], "", []), "finite"),
    ],
)
def test_unusable_calibration_is_refused_with_its_value(arguments, words):
    with pytest.raises(CameraError, match=words):
        Camera.from_matrix(*arguments)


FIVE = (-0.03, 0.035, -0.0001, -0.0001, -0.012)


@pytest.mark.parametrize(
    ("model", "distortion", "means"),
    [
        # As Orbbec's driver sends it.
        ("plumb_bob", (*FIVE, 0.0, 0.0, 0.0), FIVE),
        ("plumb_bob", FIVE[:4], FIVE[:4]),
        ("plumb_bob", (*FIVE, 0.0), FIVE),
        ("plumb_bob", (*FIVE, 0.2, 0.1, 0.01), (*FIVE, 0.2, 0.1, 0.01)),
        ("rational_polynomial", FIVE, FIVE),
        ("rational_polynomial", (*FIVE, 0.2), (*FIVE, 0.2, 0.0, 0.0)),
        ("rational_polynomial", (*FIVE, 0.2, 0.1, 0.01, *[0.0] * 6), (*FIVE, 0.2, 0.1, 0.01)),
        ("rational_polynomial", (*FIVE, *[0.0] * 9), FIVE),
        ("rational_polynomial", (*FIVE, 0.2, 0.1, 0.01, 1e-3, 0, 0, 0, 0.01, 0), None),
        ("rational_polynomial", (*FIVE, *[0.0] * 15), FIVE),
    ],
)
def test_every_length_that_says_something_gives_the_rays_of_its_coefficients(model, distortion, means):
    pixels = np.array([[0.0, 0.0], [10.0, 10.0], [639.0, 479.0]])
    matrix = np.array([[600.0, 0, 320], [0, 600.0, 240], [0, 0, 1]])
    want = cv2.undistortPoints(pixels.reshape(-1, 1, 2), matrix, np.array(means or distortion)).reshape(-1, 2)
    camera = Camera.from_matrix(640, 480, matrix.reshape(-1), model, distortion)
    assert np.abs(camera.normalise(pixels) - want).max() < 1e-12


def test_undistorted_image_of_any_model_is_taken():
    # What drivers send with rectified images.
    camera = Camera.from_matrix(40, 30, [50, 0, 1, 0, 50, 1, 0, 0, 1], "equidistant", [0.0] * 4)
    assert camera.distortion == ()


def test_points_need_the_calibration_of_that_size():
    with pytest.raises(CameraError, match="40 x 30 images, depth is 20 x 10"):
        to_points(np.ones((10, 20), np.uint16), CAMERA)
