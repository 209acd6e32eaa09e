# SPDX-License-Identifier: Apache-2.0
"""Numbers that are not finite, wherever they come from: never an empty mask, which would say that no robot is there."""

from __future__ import annotations

import dataclasses
import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import moving_frames, small_robotseg

from robotseg_core.model.robotseg_model import Features
from robotseg_core.stream import prompting
from robotseg_core.stream.policy import StreamPolicy
from robotseg_core.types import PARTS, MaskPrompt, ModelFault, Prompt, PromptKind

ANY = StreamPolicy(max_coverage=1.0, min_coverage=0.0, max_border=1.0)
FRAMES = moving_frames(6)
NUMBERS = (math.nan, math.inf, -math.inf)


def masks(result):
    return [(part.area, part.mask.tobytes()) for part in result.parts]


@pytest.fixture(scope="module")
def first_answers():
    """What a fresh stream says of each frame as its first."""
    robotseg = small_robotseg()
    return [masks(robotseg.stream(ANY).step(frame)) for frame in FRAMES]


def spoiled(tensor, value, at):
    changed = tensor.clone(memory_format=torch.contiguous_format)
    changed.view(-1)[at % changed.numel()] = value
    return changed


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("which", ["h4", "h8", "f16"])
def test_one_bad_number_of_the_encoder_is_a_fault_and_the_memory_begins_anew(monkeypatch, first_answers, which, number):
    robotseg = small_robotseg()
    stream, encode = robotseg.stream(ANY), robotseg.encode
    for i in range(2):
        stream.step(FRAMES[i])

    def bad(image):
        features = encode(image)
        return dataclasses.replace(features, **{which: spoiled(getattr(features, which), number, 12345)})

    monkeypatch.setattr(robotseg, "encode", bad)
    with pytest.raises(ModelFault, match="not finite"):
        stream.step(FRAMES[2])
    monkeypatch.setattr(robotseg, "encode", encode)
    assert masks(stream.step(FRAMES[3])) == first_answers[3]


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("field", ["logits", "iou", "object_logit", "pointer"])
@pytest.mark.parametrize("part", range(3))
def test_one_bad_number_of_the_decoder_is_a_fault(monkeypatch, first_answers, field, number, part):
    stream = small_robotseg().stream(dataclasses.replace(ANY, min_presence=0.99))
    find = stream._loop.find

    def bad(*arguments):
        conditioned, answer = find(*arguments)
        values = getattr(answer, field).clone()
        values[part].view(-1)[0] = number
        return conditioned, dataclasses.replace(answer, **{field: values})

    stream.step(FRAMES[0])
    monkeypatch.setattr(stream, "_loop", type("Loop", (), {"find": staticmethod(bad), "keep": stream._loop.keep}))
    # Also where the robot is doubted, and all parts would be taken as absent.
    with pytest.raises(ModelFault):
        stream.step(FRAMES[1])


@pytest.mark.parametrize("field", ["features", "keys", "object_tokens", "pointer"])
def test_a_bad_number_in_the_memory_is_a_fault_once_and_stays_in_no_slot(monkeypatch, first_answers, field):
    stream = small_robotseg().stream(ANY)
    keep = stream._loop.keep

    def bad(*arguments):
        entry = keep(*arguments)
        return dataclasses.replace(entry, **{field: spoiled(getattr(entry, field), math.nan, 7)})

    stream.step(FRAMES[0])
    with monkeypatch.context() as patch:
        patch.setattr(stream, "_loop", type("Loop", (), {"find": stream._loop.find, "keep": staticmethod(bad)}))
        assert stream.step(FRAMES[1]).state is not None
    with pytest.raises(ModelFault):
        stream.step(FRAMES[2])
    # The slots are empty, and what lies in them does no harm.
    assert masks(stream.step(FRAMES[3])) == first_answers[3]
    after = small_robotseg().stream(ANY)
    after.step(FRAMES[3])
    for frame in FRAMES[4:]:
        assert masks(stream.step(frame)) == masks(after.step(frame))


def test_a_bad_number_of_a_prompt_or_a_correction_is_a_fault(monkeypatch):
    click = Prompt("arm", PromptKind.POINT, (40.0, 30.0))
    stream = small_robotseg().stream(ANY)
    stream.step(FRAMES[0])
    decode = prompting.decode

    def bad(*arguments, **options):
        answer = decode(*arguments, **options)
        return dataclasses.replace(answer, object_logit=answer.object_logit * math.nan)

    monkeypatch.setattr(prompting, "decode", bad)
    with pytest.raises(ModelFault):
        stream.correct(click)
    stream.step(FRAMES[1])
    stream.prompt(click)
    with pytest.raises(ModelFault):
        stream.step(FRAMES[2])
    stream.step(FRAMES[3])


KINDS = ["frame", "nan", "inf", "click", "mask", "reset", "reset part", "correct"]
EVENTS = st.lists(st.sampled_from(KINDS), max_size=14)


def shifted(robotseg, number):
    """An encoder that gives this beside all of its numbers."""

    def encode(image):
        features = type(robotseg).encode(robotseg, image)
        return Features(*(tensor + number for tensor in dataclasses.astuple(features)))

    return encode


@given(EVENTS, st.integers(0, 2**31))
@settings(deadline=None, max_examples=40)
def test_whatever_happens_a_step_answers_or_faults_and_after_a_fault_it_is_a_fresh_stream(events, seed):
    """Against a second stream that is thrown away at every fault."""
    rng = random.Random(seed)
    robotseg = small_robotseg()
    stream, other = robotseg.stream(ANY), robotseg.stream(ANY)
    fresh = True
    for event in events:
        frame, part = FRAMES[rng.randrange(len(FRAMES))], rng.choice(PARTS)
        if event in ("nan", "inf"):
            robotseg.encode = shifted(robotseg, math.nan if event == "nan" else math.inf)
            try:
                with pytest.raises(ModelFault):
                    stream.step(frame)
            finally:
                del robotseg.encode
            other, fresh = robotseg.stream(ANY), True
            continue
        for one in (stream, other):
            if event == "click":
                one.prompt(Prompt(part, PromptKind.POINT, (40.0, 30.0)))
            elif event == "mask":
                one.prompt(MaskPrompt(part, np.eye(60, 80, dtype=bool)))
            elif event == "reset":
                one.reset()
            elif event == "reset part":
                one.prompt(Prompt(part, PromptKind.RESET))
        if event == "correct" and not fresh:
            assert masks(stream.correct(Prompt(part, PromptKind.POINT, (9.0, 9.0)))) == masks(
                other.correct(Prompt(part, PromptKind.POINT, (9.0, 9.0)))
            )
        elif event == "frame":
            assert masks(stream.step(frame)) == masks(other.step(frame))
        fresh = event == "reset" or (fresh and event != "frame")


def test_a_plain_session_faults_too():
    from robotseg_core.stream.session import Session, encode_frame

    robotseg = small_robotseg()
    with torch.inference_mode():
        image = torch.randn(1, 3, robotseg.model.config.image_size, robotseg.model.config.image_size)
        frame = encode_frame(robotseg.model, image * math.nan)
        with pytest.raises(ModelFault):
            Session(robotseg.model, 2).prompt_auto(0, frame)
