# SPDX-License-Identifier: Apache-2.0
"""A stream that means one of several robots: its masks, its state, its soft masks; the answers are made by hand."""

import copy
import dataclasses

import numpy as np
import pytest
import torch

from robotseg_core.masks.hygiene import Hygiene
from robotseg_core.masks.nearest import Nearest
from robotseg_core.masks.soft import robot_probability
from robotseg_core.stream.policy import REFERENCE, StreamPolicy
from robotseg_core.stream.robotseg import RobotSeg
from robotseg_core.types import PARTS, MaskPrompt, PartMasks, Prompt, PromptKind, StageTimes, State

HEIGHT, WIDTH = 96, 128
FRAME = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
LEFT = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
SURE = StreamPolicy(min_coverage=0.0)


def depth(metres_left, metres_right):
    out = np.full((HEIGHT, WIDTH), round(metres_left * 1000), np.uint16)
    out[:, WIDTH // 2 :] = round(metres_right * 1000)
    return out


def sides(result):
    """Whether the left and the right robot are marked."""
    mask = result["robot"].mask > 0
    return bool(mask[:, : WIDTH // 2].any()), bool(mask[:, WIDTH // 2 :].any())


def test_without_a_limit_all_robots_are_meant(robotseg, seen):
    assert sides(robotseg.stream(SURE).step(FRAME)) == (True, True)


def test_a_region_takes_one_of_two(robotseg, seen):
    stream = robotseg.stream(SURE)
    stream.nearest = Nearest(LEFT)
    result = stream.step(FRAME)
    assert sides(result) == (True, False)
    assert result.state is State.TRACKING
    # In force at once, and gone at once.
    stream.nearest = None
    assert sides(stream.step(FRAME)) == (True, True)


def test_a_robot_outside_the_region_alone_is_not_the_robot_in_view(robotseg, seen):
    stream = robotseg.stream(SURE)
    stream.nearest = Nearest(LEFT)
    del seen[0]
    result = stream.step(FRAME)
    assert result.state is State.SEARCHING
    assert not any(part.present or part.area or part.score for part in result.parts)
    seen.append((0.1, 0.1, 0.4, 0.9))
    assert stream.step(FRAME).state is State.TRACKING
    seen.pop()
    assert stream.step(FRAME).state is State.LOST


def test_max_depth_takes_the_near_one(robotseg, seen):
    stream = robotseg.stream(SURE)
    stream.nearest = Nearest(max_depth=1.5)
    result = stream.step(FRAME, depth=depth(2.5, 0.9))
    assert sides(result) == (False, True) and result.state is State.TRACKING
    assert stream.step(FRAME, depth=depth(2.5, 1.9)).state is State.LOST


def test_depth_in_metres_and_of_half_the_size_is_taken_too(robotseg, seen):
    stream = robotseg.stream(SURE)
    stream.nearest = Nearest(max_depth=1.5)
    small = depth(0.9, 2.5)[::2, ::2].astype(np.float32) / 1000
    assert sides(stream.step(FRAME, depth=small)) == (True, False)


def test_depth_may_come_when_the_model_is_done(robotseg, seen):
    stream = robotseg.stream(SURE)
    stream.nearest = Nearest(max_depth=1.5)
    asked = []
    result = stream.step(FRAME, depth=lambda: asked.append(1) or depth(0.9, 2.5))
    assert asked == [1] and sides(result) == (True, False)
    stream.nearest = Nearest(LEFT)
    stream.step(FRAME, depth=lambda: asked.append(1))
    assert asked == [1], "nobody needs it"


@pytest.mark.parametrize("missing", [None, lambda: None], ids=["none", "not yet"])
def test_without_its_depth_it_is_not_known_which_robot_is_meant(robotseg, seen, missing):
    stream = robotseg.stream(SURE)
    stream.nearest = Nearest(max_depth=1.5)
    result = stream.step(FRAME, depth=missing)
    assert result.state is State.DEGRADED
    assert sides(result) == (True, True)
    seen.clear()
    assert stream.step(FRAME, depth=missing).state is State.SEARCHING


def test_depth_of_another_view_is_refused_and_the_stream_is_as_before(robotseg, seen):
    stream = robotseg.stream(SURE)
    stream.nearest = Nearest(max_depth=1.5)
    with pytest.raises(ValueError, match="depth is of 96 x 96 pixels, the image of 128 x 96"):
        stream.step(FRAME, depth=np.zeros((96, 96), np.uint16))
    assert stream._frame == 0 and not stream.bank.started.any()


def test_a_correction_means_the_same_robot_as_its_frame(robotseg, seen):
    stream = robotseg.stream(SURE)
    stream.nearest = Nearest(max_depth=1.5)
    stream.step(FRAME, depth=depth(0.9, 2.5))
    result = stream.correct(Prompt("gripper", PromptKind.POINT, (20.0, 40.0)))
    robot = result["robot"].mask > 0
    assert result.state is not State.SEARCHING
    assert not robot[40:70, 92:114].any()


def test_a_hint_for_the_robot_keeps_arm_and_gripper_to_it(robotseg, seen):
    stream = robotseg.stream(SURE)
    left = np.zeros((HEIGHT, WIDTH), bool)
    left[10:86, 13:51] = True
    stream.prompt(MaskPrompt("robot", left))
    result = stream.step(FRAME)
    assert sides(result) == (True, False)
    assert result["arm"].area + result["gripper"].area == result["robot"].area
    # A hint for another part says nothing of the robot; what is forgotten keeps nothing.
    stream.prompt(Prompt("robot", PromptKind.RESET))
    stream.prompt(MaskPrompt("gripper", left))
    assert sides(stream.step(FRAME)) == (True, True)
    stream.prompt(MaskPrompt("robot", left))
    stream.step(FRAME)
    stream.reset()
    assert sides(stream.step(FRAME)) == (True, True)


def test_a_hint_that_finds_nothing_is_of_its_frame_alone(robotseg, seen):
    stream = robotseg.stream(SURE)
    stream.prompt(MaskPrompt("robot", np.zeros((HEIGHT, WIDTH), bool)))
    assert sides(stream.step(FRAME)) == (False, False)
    assert sides(stream.step(FRAME)) == (True, True)


def test_a_correction_of_the_robot_that_is_taken_back_keeps_nothing_to_it(robotseg, seen):
    stream = robotseg.stream(SURE)
    stream.step(FRAME)
    left = np.zeros((HEIGHT, WIDTH), bool)
    left[10:86, 13:51] = True
    assert sides(stream.correct(MaskPrompt("robot", left))) == (True, False)
    stream.discard()
    assert sides(stream.step(FRAME)) == (True, True)


def test_hygiene_is_of_the_answer_not_of_the_memory(robotseg, seen):
    seen[1] = (0.9, 0.9, 0.95, 0.95)
    kept = {}
    for hygiene in (None, Hygiene()):
        stream = robotseg.stream(StreamPolicy(min_coverage=0.0, hygiene=hygiene))
        kept[hygiene] = sides(stream.step(FRAME)), stream.bank.features.clone()
    (rough, first), (tidied, second) = kept.values()
    assert rough == (True, True) and tidied == (True, False)
    assert torch.equal(first, second)


def test_who_wants_hygiene_has_it_and_the_reference_has_none(robotseg):
    def policy(preset, hygiene):
        model = copy.copy(robotseg.model)
        model.config = dataclasses.replace(model.config, name=preset)
        return RobotSeg.of(
            model, device=torch.device("cpu"), backend="torch", source="", loop="eager", hygiene=hygiene
        ).policy

    assert policy("nano", None).hygiene is not None and policy("base", None).hygiene is None
    assert policy("nano", False).hygiene is None and policy("base", True).hygiene is not None
    assert REFERENCE.hygiene is None
    assert robotseg.target_stream().policy.hygiene is None


def test_soft_masks_cut_at_one_half_are_the_masks(robotseg, seen):
    stream = robotseg.stream(SURE)
    stream.nearest = Nearest(LEFT)
    result = stream.step(FRAME)
    soft = robot_probability(result)
    assert soft.dtype == np.uint8 and soft.shape == (HEIGHT, WIDTH)
    assert np.array_equal(soft >= 128, result["robot"].mask > 0)
    assert soft.max() > 250 and len(np.unique(soft)) > 4
    # What is not meant is not likely either.
    assert soft[:, 80:].max() < 10


def test_an_answer_without_logits_has_its_mask_for_a_soft_one(robotseg, seen):
    result = robotseg.stream(SURE).step(FRAME)
    bare = PartMasks(0, result.state, result.parts, StageTimes())
    assert np.array_equal(robot_probability(bare), result["robot"].mask)
    assert tuple(part.name for part in bare.parts) == PARTS


def test_border_follows_depth_where_it_is_asked_to(robotseg, seen, monkeypatch):
    """The stream gives its depth to what sharpens the border, at steps and at corrections, and only then."""
    given = []
    monkeypatch.setattr(
        "robotseg_core.stream.postprocess.sharpen",
        lambda logits, image: given.append(image) or np.full_like(logits, 5.0),
    )
    stream, image = robotseg.stream(SURE), depth(1.0, 2.0)
    plain = stream.step(FRAME, depth=image)
    assert not given and sides(plain) == (True, True)
    stream.depth_border = True
    sharpened = stream.step(FRAME, depth=lambda: image)
    assert given[-1] is image and sharpened["robot"].area == HEIGHT * WIDTH
    stream.correct(Prompt("robot", PromptKind.POINT, (20, 40)))
    assert len(given) == 2 and given[-1] is image
    # Without depth the border is the model's, and the state is as ever.
    missing = stream.step(FRAME, depth=lambda: None)
    assert len(given) == 2 and missing.state == plain.state
    with pytest.raises(ValueError, match="aligned"):
        stream.step(FRAME, depth=np.zeros((10, 90), np.uint16))
