# SPDX-License-Identifier: Apache-2.0
"""J and F against cases made by hand, against plain loops and against a public implementation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from robotseg_core.evaluation.metrics import FrameScore, ObjectCounter, boundary, boundary_f, iou, tolerance
from robotseg_core.evaluation.scores import FalsePixels, ObjectScore, VideoScore, summarise, total_false_pixels


def half(shape, column):
    """Everything from ``column`` on: its boundary is the column before."""
    mask = np.zeros(shape, bool)
    mask[:, column:] = True
    return mask


def square(left, top, side=20, shape=(100, 100)):
    mask = np.zeros(shape, bool)
    mask[top : top + side, left : left + side] = True
    return mask


def blobs(rng, shape):
    """Random smooth shapes; sometimes nothing, sometimes everything."""
    kind = rng.integers(6)
    if kind < 2:
        return np.full(shape, bool(kind))
    coarse = rng.normal(size=(shape[0] // 8 + 1, shape[1] // 8 + 1))
    return np.kron(coarse, np.ones((8, 8)))[: shape[0], : shape[1]] > rng.uniform(-1, 2)


EMPTY, FULL = np.zeros((100, 100), bool), np.ones((100, 100), bool)


def test_boundary_is_where_right_lower_or_lower_right_neighbour_differs():
    mask = np.array([[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 1]], bool)
    # The last column looks down only, the last row to the right only, the last pixel nowhere.
    want = np.array([[1, 1, 1, 0], [1, 0, 1, 0], [1, 1, 1, 1], [0, 0, 1, 0]], bool)
    np.testing.assert_array_equal(boundary(mask), want)


@pytest.mark.parametrize(
    "shape, reach", [((10, 10), 1), ((100, 100), 2), ((60, 80), 1), ((480, 640), 7), ((720, 1280), 12)]
)
def test_boundaries_match_up_to_the_tolerance_and_not_a_pixel_further(shape, reach):
    assert tolerance(shape) == reach
    truth = half(shape, 4)
    assert boundary_f(half(shape, 4 + reach), truth) == 1
    assert boundary_f(half(shape, 5 + reach), truth) == 0


def test_the_tolerance_is_a_disk_not_a_square():
    # The boundary of one pixel is 2 x 2: displaced by (2, 2), a quarter of it lies within 2 pixels of the other's.
    spot, moved = square(50, 50, 1), square(52, 52, 1)
    assert boundary(spot).sum() == 4
    assert boundary_f(moved, spot) == pytest.approx(0.25)
    assert boundary_f(square(52, 50, 1), spot) == 1


def test_f_of_a_band_with_one_right_edge():
    band = half((100, 100), 30) & ~half((100, 100), 70)
    assert boundary_f(half((100, 100), 30) & ~half((100, 100), 80), band) == pytest.approx(0.5)
    # One edge, which is right, of two: precision 1, recall 1/2.
    assert boundary_f(half((100, 100), 30), band) == pytest.approx(2 / 3)


def test_iou_of_shifted_squares():
    assert iou(square(10, 10), square(10, 10)) == 1
    assert iou(square(10, 10), square(20, 10)) == pytest.approx(200 / 600)
    assert iou(square(10, 10), square(40, 10)) == 0


def test_empty_and_full_masks():
    assert (iou(EMPTY, EMPTY), boundary_f(EMPTY, EMPTY)) == (1, 1)
    assert (iou(EMPTY, square(10, 10)), boundary_f(EMPTY, square(10, 10))) == (0, 0)
    assert (iou(square(10, 10), EMPTY), boundary_f(square(10, 10), EMPTY)) == (0, 0)
    # Neither has a boundary.
    assert (iou(EMPTY, FULL), boundary_f(EMPTY, FULL)) == (0, 1)


def plain_f(answer, truth):
    reach = math.ceil(0.008 * math.sqrt(truth.shape[0] ** 2 + truth.shape[1] ** 2))

    def edges(mask):
        height, width = mask.shape
        found = []
        for y in range(height):
            for x in range(width):
                around = [(y, x + 1), (y + 1, x), (y + 1, x + 1)]
                if any(v < height and u < width and mask[v, u] != mask[y, x] for v, u in around):
                    found.append((y, x))
        return found

    a, b = edges(answer), edges(truth)
    if not a or not b:
        return float(bool(a) == bool(b))

    def matched(these, those):
        return sum(any((y - v) ** 2 + (x - u) ** 2 <= reach**2 for v, u in those) for y, x in these) / len(these)

    precision, recall = matched(a, b), matched(b, a)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@pytest.mark.parametrize("seed", range(4))
def test_f_equals_plain_loops(seed):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(12, 30, 2))
    answer, truth = blobs(rng, shape), blobs(rng, shape)
    assert boundary_f(answer, truth) == pytest.approx(plain_f(answer, truth))


def test_frames_count_from_the_first_on_which_the_object_occurs_in_truth_or_answer():
    counter = ObjectCounter()
    for index, (answer, truth) in enumerate(
        [(EMPTY, EMPTY), (square(10, 10), EMPTY), (EMPTY, EMPTY), (square(10, 10), square(10, 10))]
    ):
        counter.add(index, str(index), answer, truth)
    assert [(frame.index, frame.j) for frame in counter.frames] == [(1, 0), (2, 1), (3, 1)]
    assert counter.in_truth
    never = ObjectCounter()
    never.add(0, "0", square(10, 10), EMPTY)
    assert not never.in_truth


def test_every_object_weighs_the_same_and_single_frames_have_no_f():
    def score(values, f=0.5):
        return ObjectScore("auto", "arm", tuple(FrameScore(i, str(i), j, f) for i, j in enumerate(values)))

    both = summarise([score([1.0, 0.5]), score([0.0, 0.0, 0.0, 0.0], f=0.1)])
    assert (both.objects, both.j, both.f, both.jf) == (2, 37.5, pytest.approx(30), pytest.approx(33.75))
    single = summarise([score([0.6])])
    assert single.j == 60 and math.isnan(single.f) and math.isnan(single.jf)
    assert single.as_json() == {"objects": 1, "J&F": None, "J": 60.0, "F": None}


def test_false_pixels_of_all_videos_weigh_by_frames():
    def video(frames, share):
        return VideoScore("v", "e", frames, frames, (), (FalsePixels("stream", frames, share),), 0.0)

    total = total_false_pixels([video(1, 0.4), video(3, 0.0)], "stream")
    assert total == FalsePixels("stream", 4, pytest.approx(0.1))
    assert total_false_pixels([video(1, 0.4)], "auto") is None


@pytest.mark.parametrize("seed", range(4))
def test_scores_of_a_video_equal_the_public_benchmark(seed):
    """vos-benchmark, the origin of the official script; ``pip install vos-benchmark`` into another environment."""
    public = pytest.importorskip("vos_benchmark.evaluator", reason="vos-benchmark is not installed")
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(40, 400, 2))
    evaluator, counter = public.Evaluator(), ObjectCounter()
    for index in range(12):
        first = index < 2
        answer = np.zeros(shape, bool) if first else blobs(rng, shape)
        truth = np.zeros(shape, bool) if first else blobs(rng, shape)
        evaluator.feed_frame(answer.astype(np.uint8), truth.astype(np.uint8))
        counter.add(index, str(index), answer, truth)
    j, f = evaluator.conclude()
    mine = ObjectScore("auto", "robot", tuple(counter.frames))
    assert mine.j == pytest.approx(j[1], abs=1e-9)
    assert mine.f == pytest.approx(f[1], abs=1e-9)
