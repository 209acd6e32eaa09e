# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import resource

import numpy as np
import pytest
import torch
from small_models import SMALL, moving_frames, small_robotseg

from robotseg_core.model.robotseg_model import Memory
from robotseg_core.model.structure import edges, real_edges
from robotseg_core.stream.loops import torch_loop
from robotseg_core.stream.pending_prompts import PartPrompt, gather
from robotseg_core.stream.policy import StreamPolicy
from robotseg_core.stream.postprocess import part_masks
from robotseg_core.stream.preprocess import MAX_SIDE, cell_edges, frame_tensor, normalise
from robotseg_core.stream.stream import Stream
from robotseg_core.types import PARTS, Prompt, PromptKind, State

ANY = StreamPolicy(max_coverage=1.0, min_coverage=0.0, max_border=1.0)
"""Any mask is taken as a first memory."""


def naive_masks(robotseg, frames):
    """The stream as the specification tells it, frame by frame, everything kept and gathered anew."""
    model, config = robotseg.model, robotseg.model.config
    rows = torch.arange(3)
    kept = []  # (features, tokens, pointer) of every frame
    answers = []
    for t, frame in enumerate(frames):
        image = frame_tensor(frame, config.image_size, exact=False)
        features = model.encode(image)
        if t == 0:
            conditioned = model.initial(features, 3)
        else:
            latest = [t - age for age in range(1, config.memory_frames) if t - age >= 1]
            pointers = [t - age for age in range(1, config.max_pointers) if t - age >= 1]
            limit = config.max_pointers - 1
            memory = Memory(
                features=torch.stack([kept[i][0] for i in [0, *latest]], 1),
                time_index=torch.tensor([config.memory_frames - 1, *(t - i - 1 for i in latest)]),
                pointers=torch.stack([kept[i][2] for i in [0, *pointers]], 1),
                offsets=torch.tensor([[min(t, limit), *(t - i for i in pointers)]]) / limit,
                object_tokens=torch.stack([kept[i][1] for i in [0, *latest]], 1),
            )
            conditioned = model.condition(features, edges(image, config), memory)
        candidates = model.decode(features, conditioned, rows)
        choice = model.choose(candidates)
        memory_features = model.remember(features, choice.logits, candidates.object_logit, torch.tensor([t == 0] * 3))
        tokens = model.object_tokens(memory_features, choice.logits)
        pooled = model.pool_memory(memory_features)
        kept.append((pooled, tokens, model.pointer(choice, candidates.object_logit)))
        scores = (choice.iou * candidates.object_logit.sigmoid()).numpy()
        answers.append((choice.logits.numpy(), part_masks(choice.logits.numpy(), scores, *frame.shape[:2])))
    return answers


def test_stream_equals_a_plain_implementation_of_the_specification():
    robotseg = small_robotseg()
    frames = moving_frames(9)
    stream = robotseg.stream(ANY)
    different = 0
    with torch.inference_mode():
        expected = naive_masks(robotseg, frames)
    for frame, (_, masks) in zip(frames, expected, strict=True):
        result = stream.step(frame)
        for part, mask in zip(result.parts, masks, strict=True):
            different += int((part.mask != mask.mask).sum())
            assert part.score == pytest.approx(mask.score, abs=1e-4)
    # Summation order differs (folded norms, order of memory slots): a pixel on the border may flip.
    assert different <= 9 * 3 * 5
    assert any(0 < part.area < part.mask.size for _, masks in expected for part in masks)


def test_masks_have_the_frames_size_are_binary_disjoint_and_union():
    stream = small_robotseg().stream()
    for frame in moving_frames(4, 48, 100):
        result = stream.step(frame, stamp=7)
        arm, gripper, robot = (part.mask for part in result.parts)
        assert result.stamp == 7
        assert [part.name for part in result.parts] == list(PARTS)
        for part in result.parts:
            assert part.mask.shape == frame.shape[:2] and part.mask.dtype == np.uint8
            assert set(np.unique(part.mask)) <= {0, 255}
            assert part.area == int((part.mask > 0).sum())
        assert not (arm & gripper).any()
        assert np.array_equal(arm | gripper, robot)


def test_same_frames_give_same_masks_and_reset_forgets():
    robotseg = small_robotseg()
    frames = moving_frames(6)
    stream, other = robotseg.stream(), robotseg.stream()
    first = [stream.step(f)["robot"].mask for f in frames]
    second = [other.step(f)["robot"].mask for f in frames]
    stream.reset()
    third = [stream.step(f)["robot"].mask for f in frames]
    for a, b, c in zip(first, second, third, strict=True):
        assert np.array_equal(a, b) and np.array_equal(a, c)


def test_memory_is_used():
    robotseg = small_robotseg()
    frames = moving_frames(5)
    stream, forgetful = robotseg.stream(), robotseg.stream()
    different = 0
    for frame in frames:
        forgetful.reset()
        different += int((stream.step(frame)["arm"].mask != forgetful.step(frame)["arm"].mask).sum())
    assert different > 0


def test_no_robot_gives_empty_masks_and_state_searching():
    stream = small_robotseg(object_bias=-30.0).stream()
    for frame in moving_frames(3):
        result = stream.step(frame)
        assert result.state is State.SEARCHING
        for part in result.parts:
            assert not part.mask.any() and not part.present and part.score == 0 and part.roi == (0, 0, 0, 0)
            assert np.isnan(part.centroid).all()
    assert not stream.bank.started.any()


def test_no_part_is_in_view_while_the_robots_score_is_too_low():
    robotseg = small_robotseg()
    frame = moving_frames(1)[0]
    scores = [part.score for part in robotseg.stream(StreamPolicy()).step(frame).parts]
    assert min(scores) > 0
    stream = robotseg.stream(StreamPolicy(min_presence=1.0))
    result = stream.step(frame)
    assert not any(part.present for part in result.parts) and not stream.bank.started.any()


@pytest.fixture
def scripted(monkeypatch):
    """Decides for each step what the decoder sees: "none", "robot", "all" of the image, "around" the robot, "speck"."""
    plan: list[str] = []
    size = SMALL.image_size // 4
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    disc = (x - size / 2) ** 2 + (y - size / 2) ** 2 < (size / 3) ** 2
    shapes = {
        "none": torch.zeros_like(disc),
        "robot": disc,
        "all": torch.ones_like(disc),
        "around": ~disc,
        "speck": (x == 5) & (y == 5),
    }

    def decode(*arguments, **options):
        decoded = original(*arguments, **options)
        what = plan.pop(0)
        logits = torch.where(shapes[what], 5.0, -5.0).expand_as(decoded.logits).clone()
        seen = torch.full_like(decoded.object_logit, -5.0 if what == "none" else 5.0)
        return dataclasses.replace(decoded, logits=logits, object_logit=seen, iou=torch.ones_like(decoded.iou))

    original = torch_loop.decode
    monkeypatch.setattr(torch_loop, "decode", decode)
    return plan


def test_searches_until_the_robot_comes_and_again_when_it_is_lost(scripted):
    scripted += ["none", "none", "robot", "robot", "none", "none", "none", "robot", "robot"]
    stream = small_robotseg().stream(StreamPolicy(lost_after=2))
    states, memory = [], []
    for frame in moving_frames(9):
        states.append(stream.step(frame).state.name)
        memory.append(bool(stream.bank.started.any()))
    assert states == ["SEARCHING"] * 2 + ["TRACKING"] * 2 + ["LOST"] * 3 + ["TRACKING"] * 2
    # Not before the robot is seen; kept through a gap of one frame; searched afresh after two.
    assert memory == [False, False, True, True, True, False, False, True, True]


@pytest.mark.parametrize("what", ["all", "around", "speck"])
def test_what_cannot_be_a_robot_is_not_accepted_silently(scripted, what):
    policy = StreamPolicy(min_coverage=0.01)
    scripted += [what, what, "robot", what]
    stream = small_robotseg().stream(policy)
    frames = moving_frames(4)
    for frame in frames[:2]:
        result = stream.step(frame)
        assert result["robot"].present and result.state is State.DEGRADED
        assert not stream.bank.started.any()
    assert stream.step(frames[2]).state is State.TRACKING
    assert stream.bank.started.all()
    # Once there is a memory, such a mask is given, but not trusted.
    assert stream.step(frames[3]).state is State.DEGRADED


def test_reset_prompt_forgets_one_part_only():
    stream = small_robotseg().stream(ANY)
    frames = moving_frames(4)
    for frame in frames[:3]:
        stream.step(frame)
    stream.prompt(Prompt("gripper", PromptKind.RESET))
    assert stream.bank.started.tolist() == [True, False, True]
    result = stream.step(frames[3])
    assert np.isfinite([part.score for part in result.parts]).all()
    assert stream.bank.started.all()


def test_point_and_box_prompts_change_the_prompted_part_and_start_its_memory_anew():
    robotseg = small_robotseg()
    frame = moving_frames(1)[0]
    for prompt in (
        Prompt("arm", PromptKind.POINT, (20.0, 20.0), 1),
        Prompt("arm", PromptKind.BOX, (5.0, 5.0, 40.0, 40.0)),
    ):
        plain, prompted = robotseg.stream(), robotseg.stream()
        prompted.prompt(prompt)
        a, b = plain.step(frame), prompted.step(frame)
        assert a["arm"].score != b["arm"].score
        assert not prompted._prompts


def taken(stream: Stream) -> list[PartPrompt]:
    return gather(stream._prompts, stream.parts, 80, 60, 64, torch.device("cpu"))


def test_prompts_off_the_frame_are_left_out_and_boxes_are_put_in_order(caplog):
    stream = small_robotseg().stream()
    for xy in ((-50.0, -50.0), (1e9, 5.0), (3e38, 3e38)):
        stream.prompt(Prompt("arm", PromptKind.POINT, xy))
    stream.prompt(Prompt("gripper", PromptKind.BOX, (90.0, 5.0, 120.0, 20.0)))
    assert taken(stream) == []
    assert "80 x 60" in caplog.text
    stream._prompts.clear()
    stream.prompt(Prompt("arm", PromptKind.BOX, (40.0, 30.0, -5.0, 15.0)))
    [asked] = taken(stream)
    coords, labels = asked.points
    assert asked.row == 0 and labels.tolist() == [[2, 3]]
    expected = [[0.0, 15 * 64 / 60], [32.0, 32.0]]
    np.testing.assert_allclose(coords[0], expected, rtol=1e-5)


def test_reset_takes_back_what_was_asked_for_its_part():
    stream = small_robotseg().stream()
    stream.prompt(Prompt("arm", PromptKind.POINT, (5.0, 5.0)))
    stream.prompt(Prompt("robot", PromptKind.POINT, (6.0, 6.0)))
    stream.prompt(Prompt("arm", PromptKind.RESET))
    assert [asked.row for asked in taken(stream)] == [2]


def test_warm_up_runs_every_stage_and_leaves_no_memory_to_other_streams():
    robotseg = small_robotseg()
    robotseg.warm_up()
    assert not robotseg.stream().bank.started.any()


def test_bad_frames_are_refused_with_the_value_and_leave_the_stream_as_it_was():
    robotseg = small_robotseg()
    stream, untouched = robotseg.stream(), robotseg.stream()
    frames = moving_frames(3)
    for frame in frames[:2]:
        stream.step(frame)
        untouched.step(frame)
    for bad, word in (
        (np.zeros((4, 4), np.uint8), r"\(4, 4\)"),
        (np.zeros((4, 4, 3), np.float32), "float32"),
        (np.zeros((0, 4, 3), np.uint8), "4 x 0"),
        (np.zeros((1, MAX_SIDE + 1, 3), np.uint8), str(MAX_SIDE)),
    ):
        with pytest.raises(ValueError, match=word):
            stream.step(bad)
    assert np.array_equal(stream.step(frames[2])["arm"].mask, untouched.step(frames[2])["arm"].mask)


def test_frame_size_may_change():
    stream = small_robotseg().stream()
    assert stream.step(moving_frames(1, 40, 50)[0])["arm"].mask.shape == (40, 50)
    assert stream.step(moving_frames(1, 60, 80)[0])["arm"].mask.shape == (60, 80)


def _storage(stream: Stream) -> list[int]:
    bank = stream.bank
    return [x.data_ptr() for x in (bank.features, bank.object_tokens, bank.pointers)]


def test_two_thousand_steps_need_no_more_memory_than_two_hundred():
    stream = small_robotseg().stream(StreamPolicy(refresh_after=0))
    frames = moving_frames(20)
    for i in range(200):
        stream.step(frames[i % 20])
    before, peak = _storage(stream), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for i in range(1800):
        stream.step(frames[i % 20])
    assert _storage(stream) == before
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 20 * 1024  # KiB


def test_refresh_rebuilds_the_memory():
    stream = small_robotseg().stream(dataclasses.replace(ANY, refresh_after=4))
    for frame in moving_frames(5):
        stream.step(frame)
    view = stream.bank.view(stream._frame)
    assert view is not None and view.features.shape[1] == 1
    assert SMALL.memory_frames > 1


def test_a_part_that_is_followed_enters_the_memory_at_every_other_frame_where_the_policy_says_so():
    robotseg = small_robotseg()
    kept = []
    stream = robotseg.stream(dataclasses.replace(ANY, remember_every=2))
    stream.bank.store = lambda frame, entry, started, store=stream.bank.store: (
        kept.append(frame),
        store(frame, entry, started),
    )
    for frame in moving_frames(7):
        result = stream.step(frame)
        assert result.state is not State.SEARCHING
    # The first frame starts it.
    assert kept == [0, 2, 4, 6]
    stream.prompt(Prompt("arm", PromptKind.POINT, (20.0, 20.0)))
    stream.step(moving_frames(8)[-1])
    assert kept[-1] == 7
    with pytest.raises(ValueError, match="remember_every is 0"):
        StreamPolicy(remember_every=0)


@pytest.mark.parametrize("size", [64, 320])
def test_edges_by_opencv_are_those_of_the_model(size):
    frame = (
        moving_frames(1, 480, 640)[0] if size == 64 else np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8)
    )
    image = frame_tensor(frame, size, exact=False)
    expected = real_edges(image)
    assert 0.01 < expected.mean() < 0.99
    torch.testing.assert_close(cell_edges(image), expected, atol=1e-5, rtol=1e-5)


def test_a_frame_is_normalised_as_the_formula_says():
    frame = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    expected = normalise(torch.from_numpy(frame.transpose(2, 0, 1).copy()))[None]
    assert torch.equal(frame_tensor(frame, 64, exact=False), expected)
