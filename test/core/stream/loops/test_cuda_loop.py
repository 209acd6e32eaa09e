# SPDX-License-Identifier: Apache-2.0
"""The loop and the encoder that CUDA records, on the CPU, where recordings are plain calls: the same masks."""

import dataclasses

import numpy as np
import pytest
import torch
from small_models import moving_frames, small_model
from tiny_base import TINY

from robotseg_core.backends import graphed_encoder as cuda_encoder
from robotseg_core.backends.graphed_encoder import GraphedEncoder
from robotseg_core.backends.torch_encoder import TorchEncoder
from robotseg_core.model.robotseg_model import RobotSegModel
from robotseg_core.stream.loops import cuda_loop
from robotseg_core.stream.loops.cuda_loop import GraphedLoop
from robotseg_core.stream.loops.torch_loop import TorchLoop
from robotseg_core.stream.policy import StreamPolicy
from robotseg_core.stream.robotseg import RobotSeg
from robotseg_core.types import Prompt, PromptKind
from robotseg_core.weights.seeded import load_golden_weights

CPU = torch.device("cpu")


class Recorded(RobotSeg):
    """As on CUDA: every stream has recordings of its own."""

    dtype = None

    def loop(self, bank):
        return GraphedLoop(self.model, bank, self.dtype)


def tiny_base():
    model = RobotSegModel(TINY).eval().requires_grad_(False)
    load_golden_weights(model, 3)
    return model


MODELS = {"nano": small_model, "base": tiny_base}


@pytest.mark.parametrize("preset", MODELS)
@pytest.mark.parametrize("conditioning", [1, 2])
def test_masks_are_those_of_the_plain_loop(preset, conditioning):
    model = MODELS[preset]()
    policy = StreamPolicy(conditioning_frames=conditioning, min_coverage=0.0, max_coverage=1.0, max_border=1.0)
    recorded = Recorded(model, GraphedEncoder(model, CPU, None), CPU, "random")
    plain = RobotSeg(model, TorchEncoder(model, CPU), CPU, "random")
    streams = recorded.stream(policy), plain.stream(policy)
    box = Prompt("gripper", PromptKind.BOX, (10.0, 10.0, 50.0, 40.0))
    for i, frame in enumerate(moving_frames(14)):
        if i in (4, 9):
            for stream in streams:
                stream.prompt(box)
        if i == 6:
            # A part without a memory among parts that have one.
            for stream in streams:
                stream.prompt(Prompt("arm", PromptKind.RESET))
        if i == 11:
            click = Prompt("robot", PromptKind.POINT, (20.0, 20.0))
            ours, theirs = (stream.correct(click) for stream in streams)
            assert all(np.array_equal(a.mask, b.mask) for a, b in zip(ours.parts, theirs.parts, strict=True))
        ours, theirs = (stream.step(frame, i) for stream in streams)
        for a, b in zip(ours.parts, theirs.parts, strict=True):
            assert a.score == pytest.approx(b.score, abs=1e-4), i
            assert np.mean(a.mask != b.mask) < 0.002, (i, a.name)


def test_memory_is_empty_after_the_loop_has_been_checked():
    model = small_model()
    stream = Recorded(model, TorchEncoder(model, CPU), CPU, "random").stream()
    assert not stream.bank.started.any()
    assert not any(x.any() for x in (stream.bank.features, stream.bank.keys, stream.bank.pointers))


def test_a_loop_that_answers_otherwise_is_not_used(monkeypatch, caplog):
    model = small_model()
    robotseg = RobotSeg(model, TorchEncoder(model, CPU), CPU, "random")
    bank = robotseg.stream().bank
    plain = TorchLoop(model)
    assert isinstance(cuda_loop.graphed_or_plain(model, bank, None, plain), GraphedLoop)
    other = small_model(seed=1)
    monkeypatch.setattr(cuda_loop, "with_products_in", lambda module, dtype: other.memory_attention)
    assert cuda_loop.graphed_or_plain(model, bank, None, plain) is plain
    assert "memory attention differs by" in caplog.text and not bank.started.any()


def test_an_encoder_that_answers_otherwise_is_not_used(monkeypatch, caplog):
    model = small_model()
    assert isinstance(cuda_encoder.graphed_or_plain(model, CPU, None), GraphedEncoder)
    other = cuda_encoder.EncoderGraph(small_model(seed=1))
    monkeypatch.setattr(cuda_encoder, "with_products_in", lambda module, dtype: other)
    assert isinstance(cuda_encoder.graphed_or_plain(model, CPU, None), TorchEncoder)
    assert "h4 differs by" in caplog.text


def test_loop_serves_the_stream_it_was_recorded_for():
    model = small_model()
    robotseg = Recorded(model, TorchEncoder(model, CPU), CPU, "random")
    one, other = robotseg.stream(), robotseg.stream()
    frame = moving_frames(1)[0]
    encoded = robotseg.encode_frames([frame])[0]
    with pytest.raises(ValueError, match="memory of another stream"):
        one._loop.find(encoded.image, encoded.features, other.bank, 0, one._classes, encoded.clock)


@pytest.mark.parametrize("preset", MODELS)
def test_in_bfloat16_recordings_stay_close_to_the_plain_loop(preset):
    model = MODELS[preset]()
    policy = StreamPolicy(lost_after=1 << 40)
    robotseg = RobotSeg(model, TorchEncoder(model, CPU), CPU, "random", precision="bf16")
    bank = robotseg.stream(policy).bank
    # Raises where it differs by more than the tolerance.
    assert isinstance(GraphedLoop(model, bank, torch.bfloat16), GraphedLoop)


def test_encoder_of_several_frames_gives_each_its_own():
    model = small_model()
    encoder = GraphedEncoder(model, CPU, None)
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        both = encoder.encode(images)
        for i in range(2):
            one = encoder.encode(images[i : i + 1])
            for field in dataclasses.fields(both):
                assert torch.allclose(getattr(both, field.name)[i], getattr(one, field.name)[0], atol=1e-4)
