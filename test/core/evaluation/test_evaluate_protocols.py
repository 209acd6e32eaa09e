# SPDX-License-Identifier: Apache-2.0
"""Simulated prompts and the order in which a session gets them, with a session that answers as told."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from small_models import moving_frames, small_robotseg
from tiny_base import TINY

from robotseg_core.backends.torch_encoder import TorchEncoder
from robotseg_core.evaluation import protocols
from robotseg_core.evaluation.metrics import iou
from robotseg_core.evaluation.prompts import Click, ExactUser, ShakyUser
from robotseg_core.evaluation.protocols import SessionTracker, encode, mask_of, open_session
from robotseg_core.evaluation.refine import guided_filter, refine
from robotseg_core.model.robotseg_model import RobotSegModel
from robotseg_core.stream.robotseg import RobotSeg
from robotseg_core.stream.session_memory import Output

SHAPE = (64, 64)
ROBOTSEG = small_robotseg()
SIZE = ROBOTSEG.model.config.image_size


def box(left, top, right, bottom, shape=SHAPE):
    mask = np.zeros(shape, bool)
    mask[top:bottom, left:right] = True
    return mask


# ---------------------------------------------------------------------------------------- user
def test_the_first_click_is_the_mask_pixel_nearest_to_the_centroid():
    user = ExactUser()
    assert user.first_click(box(10, 20, 15, 31)) == Click(12, 25, 1)
    # The centroid of a ring is not on it; of the four nearest pixels the first in row-major order.
    ring = box(10, 10, 21, 21) & ~box(11, 11, 20, 20)
    assert user.first_click(ring) == Click(15, 10, 1)


def test_corrections_go_to_the_middle_of_the_widest_error():
    user = ExactUser()
    truth = box(10, 10, 40, 40)
    missing = truth & ~box(10, 10, 19, 19)
    assert user.correction(missing, truth) == Click(14, 14, 1)
    excess = truth | box(50, 50, 55, 55)
    assert user.correction(excess, truth) == Click(52, 52, 0)
    # Equally wide: negative, as positive needs to be strictly wider.
    assert user.correction(excess & ~box(10, 10, 15, 15), truth) == Click(52, 52, 0)
    assert user.correction(truth, truth) is None


def test_the_border_of_the_image_ends_an_error():
    # A strip of 3 at the border: its middle is the second column from the border, not the border.
    click = ExactUser().correction(np.zeros(SHAPE, bool), box(0, 0, 3, 64))
    assert click is not None and click.x == 1


def test_the_box_is_tight_with_its_far_side_beyond_the_mask():
    assert ExactUser().box(box(10, 20, 15, 31)) == (10, 20, 15, 31)


def test_a_shaky_user_misses_by_at_most_what_is_said_and_stays_in_the_image():
    truth = box(40, 0, 64, 40)
    one, same = ShakyUser(0.25, 7), ShakyUser(0.25, 7)
    exact = ExactUser().box(truth)
    boxes = []
    for _ in range(50):
        got = one.box(truth)
        assert got == same.box(truth)
        boxes.append(got)
        assert all(abs(a - b) <= 0.25 * 40 for a, b in zip(got, exact, strict=True))
        assert 0 <= got[0] < got[2] <= 64 and 0 <= got[1] < got[3] <= 64
    assert len(set(boxes)) == 50


# ---------------------------------------------------------------------------------------- sessions
class ToldSession:
    """Answers prompts from one list and tracked frames from another; keeps what it was asked."""

    def __init__(self, prompted, tracked=()):
        self.prompted, self.tracked = list(prompted), list(tracked)
        self.asked = []
        self.last = None

    def _answer(self, mask):
        self.last = torch.from_numpy(np.where(mask, 5.0, -5.0).astype(np.float32))[None]
        return Output(self.last, torch.zeros(1, 8), torch.ones(1), torch.ones(1))

    def prompt_points(self, index, frame, coords, labels):
        self.asked.append((index, [(*c, n) for c, n in zip(coords.tolist(), labels.tolist(), strict=True)]))
        return self._answer(self.prompted.pop(0))

    def prompt_auto(self, index, frame):
        self.asked.append((index, "auto"))
        return self._answer(self.prompted.pop(0))

    def prompt_mask(self, index, frame, mask):
        self.asked.append((index, int(mask.sum())))
        return self._answer(mask.numpy())

    def track(self, index, frame):
        if self.tracked:
            return self._answer(self.tracked.pop(0))
        return Output(self.last, torch.zeros(1, 8), torch.ones(1), torch.ones(1))

    def preflight(self):
        self.asked.append("preflight")

    def discard(self, index):
        self.asked.append("discard")


FRAME = encode(ROBOTSEG, np.zeros((*SHAPE, 3), np.uint8))


def tracker(monkeypatch, protocol, session):
    monkeypatch.setattr(protocols, "open_session", lambda *_: session)
    return SessionTracker(ROBOTSEG, "arm", protocol, frames=9)


def step(tracker, index, truth):
    return tracker.step(index, np.zeros((*SHAPE, 3), np.uint8), FRAME, {"arm": truth}).get("arm")


TRUTH = box(10, 10, 41, 41)
GOOD, BETTER, WORSE = TRUTH & ~box(10, 10, 15, 15), TRUTH & ~box(10, 10, 12, 12), TRUTH | box(45, 45, 64, 64)


def test_a_part_is_started_on_the_first_frame_that_shows_it(monkeypatch):
    session = ToldSession([GOOD])
    follower = tracker(monkeypatch, "auto", session)
    assert step(follower, 0, np.zeros(SHAPE, bool)) is None
    assert step(follower, 1, None) is None
    np.testing.assert_array_equal(step(follower, 2, TRUTH), GOOD)
    assert session.asked == [(2, "auto")]


@pytest.mark.parametrize(
    "protocol, asked",
    [("1c", (0, [(25, 25, 1)])), ("bb", (0, [(10, 10, 2), (41, 41, 3)])), ("mask", (0, 31 * 31))],
)
def test_one_prompt(monkeypatch, protocol, asked):
    session = ToldSession([GOOD])
    step(tracker(monkeypatch, protocol, session), 0, TRUTH)
    assert session.asked == [asked]


def test_coordinates_are_in_pixels_of_the_models_image(monkeypatch):
    session = ToldSession([np.ones((30, 128), bool)])
    follower = tracker(monkeypatch, "bb", session)
    truth = box(32, 6, 64, 12, shape=(30, 128))
    follower.step(0, np.zeros((30, 128, 3), np.uint8), FRAME, {"arm": truth})
    (_, asked), *_ = session.asked
    assert asked == [(0.25 * SIZE, pytest.approx(0.2 * SIZE), 2), (0.5 * SIZE, pytest.approx(0.4 * SIZE), 3)]


def test_three_clicks_are_sent_together_and_the_best_prefix_once_more(monkeypatch):
    # After one click a corner is missing, after two less of it, after three there is too much elsewhere.
    session = ToldSession([GOOD, BETTER, WORSE, BETTER])
    np.testing.assert_array_equal(step(tracker(monkeypatch, "3c", session), 0, TRUTH), BETTER)
    first, second, third = (25, 25, 1), (12, 12, 1), (10, 10, 1)
    assert [clicks for _, clicks in session.asked] == [
        [first],
        [first, second],
        [first, second, third],
        [first, second],
    ]


def test_of_equally_good_prefixes_the_shortest_is_taken(monkeypatch):
    session = ToldSession([GOOD, GOOD, GOOD, GOOD])
    step(tracker(monkeypatch, "3c", session), 0, TRUTH)
    assert [len(clicks) for _, clicks in session.asked] == [1, 2, 3, 1]


def test_nothing_is_clicked_where_nothing_is_wrong(monkeypatch):
    session = ToldSession([TRUTH, TRUTH])
    step(tracker(monkeypatch, "3c", session), 0, TRUTH)
    assert [len(clicks) for _, clicks in session.asked] == [1, 1]


def test_oi_corrects_frames_below_the_threshold_until_the_budget_is_used(monkeypatch):
    poor = TRUTH & ~box(10, 10, 30, 30)
    assert iou(poor, TRUTH) < 0.9 < iou(GOOD, TRUTH)
    start = [TRUTH, TRUTH]
    session = ToldSession(start + [TRUTH, TRUTH] * 9, [TRUTH, GOOD, poor, poor, poor, poor])
    follower = tracker(monkeypatch, "oi", session)
    step(follower, 0, TRUTH)
    session.asked.clear()
    # Above the threshold: left as it is.
    np.testing.assert_array_equal(step(follower, 1, TRUTH), GOOD)
    assert session.asked == []
    for index in (2, 3, 4):
        np.testing.assert_array_equal(step(follower, index, TRUTH), TRUTH)
    assert session.asked.count("preflight") == 3
    # The first click is already the error's; one is enough, and is sent once more.
    assert session.asked[:3] == [(2, [(19, 19, 1)]), (2, [(19, 19, 1)]), "preflight"]
    np.testing.assert_array_equal(step(follower, 5, TRUTH), poor)
    assert session.asked.count("preflight") == 3


def test_oi_keeps_the_original_where_the_correction_is_worse_and_the_budget_with_it(monkeypatch):
    poor = TRUTH & ~box(10, 10, 30, 30)
    worst = box(0, 0, 5, 5)
    session = ToldSession([TRUTH, TRUTH] + [worst] * 4 * 4, [TRUTH] + [poor] * 4)
    follower = tracker(monkeypatch, "oi", session)
    step(follower, 0, TRUTH)
    for index in range(1, 5):
        np.testing.assert_array_equal(step(follower, index, TRUTH), poor)
    assert session.asked.count("discard") == 4 and "preflight" not in session.asked


def test_oi_does_not_correct_frames_without_the_part_or_without_truth(monkeypatch):
    session = ToldSession([TRUTH, TRUTH], [TRUTH, GOOD, GOOD])
    follower = tracker(monkeypatch, "oi", session)
    step(follower, 0, TRUTH)
    session.asked.clear()
    step(follower, 1, np.zeros(SHAPE, bool))
    step(follower, 2, None)
    assert session.asked == []


@torch.inference_mode()
@pytest.mark.parametrize("protocol", ["auto", "1c"])
def test_a_tracker_answers_what_its_session_does(protocol):
    frames = moving_frames(4, 60, 80)
    truth = box(20, 20, 50, 40, shape=(60, 80))
    follower = SessionTracker(ROBOTSEG, "gripper", protocol, frames=4)
    session = open_session(ROBOTSEG, "gripper", 4)
    for index, rgb in enumerate(frames):
        frame = encode(ROBOTSEG, rgb)
        if index == 0 and protocol == "auto":
            session.prompt_auto(0, frame)
        elif index == 0:
            # The middle of columns 20..49 is between 34 and 35: the first one.
            coords = torch.tensor([[34 * SIZE / 80, 29 * SIZE / 60]])
            session.prompt_points(0, frame, coords, torch.tensor([1]))
        want = mask_of(session.track(index, frame), rgb.shape[:2])
        got = follower.step(index, rgb, frame, {"gripper": truth})
        np.testing.assert_array_equal(got["gripper"], want)


@torch.inference_mode()
def test_the_base_preset_is_run_as_published():
    torch.manual_seed(0)
    model = RobotSegModel(dataclasses.replace(TINY, name="base")).eval().requires_grad_(False)
    device = torch.device("cpu")
    base = RobotSeg(model, TorchEncoder(model, device), device, "random")
    session = open_session(base, "arm", 3)
    assert (session.memory_dtype, session.fill_area, session.compat) == (torch.bfloat16, 8, "reference")
    # Fewer frames than pointers: as many pointers as frames.
    assert session.memory.pointers == 3 < model.config.max_pointers
    follower = SessionTracker(base, "arm", "oi", frames=3)
    for index, rgb in enumerate(moving_frames(3, 60, 80)):
        answer = follower.step(index, rgb, encode(base, rgb), {"arm": box(20, 20, 50, 40, shape=(60, 80))})
        assert answer["arm"].shape == (60, 80)
    assert session.part == 0


# ---------------------------------------------------------------------------------------- refinement
def test_refinement_moves_a_boundary_to_the_edge_of_the_image_and_nothing_else():
    rng = np.random.default_rng(0)
    truth = box(30, 30, 120, 120, shape=(150, 150))
    image = np.where(truth, 200, 40)[..., None] + rng.integers(-3, 4, (150, 150, 3))
    coarse = box(30, 30, 121, 120, shape=(150, 150))
    refined = refine(coarse, image.astype(np.uint8))
    assert iou(refined, truth) > iou(coarse, truth)
    inner = box(40, 40, 110, 110, shape=(150, 150))
    assert refined[inner].all() and not refined[:20].any()


def test_refinement_keeps_empty_masks_and_refuses_large_changes():
    image = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    empty = np.zeros((60, 60), bool)
    assert refine(empty, image) is empty
    # A line of one pixel would vanish.
    line = box(10, 30, 50, 31, shape=(60, 60))
    assert refine(line, np.zeros((60, 60, 3), np.uint8)) is line


def test_the_guided_filter_with_a_flat_guide_is_a_box_filter_applied_twice():
    image = np.zeros((21, 21), np.float32)
    image[10, 10] = 1
    out = guided_filter(np.full((21, 21), 0.5, np.float32), image, 1)
    triangle = np.array([1, 2, 3, 2, 1]) / 9
    np.testing.assert_allclose(out[8:13, 8:13], np.outer(triangle, triangle), atol=1e-6)
