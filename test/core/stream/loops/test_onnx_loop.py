# SPDX-License-Identifier: Apache-2.0
"""The loop as ONNX graphs answers what PyTorch answers."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from small_models import SMALL, moving_frames, small_model

from robotseg_core.backends.torch_encoder import TorchEncoder
from robotseg_core.config import ModelConfig
from robotseg_core.stream.loops import onnx_loop
from robotseg_core.stream.loops.onnx_loop import OnnxLoop
from robotseg_core.stream.loops.torch_loop import TorchLoop
from robotseg_core.stream.policy import REFERENCE
from robotseg_core.stream.robotseg import RobotSeg
from robotseg_core.types import Prompt, PromptKind

POLICY = dataclasses.replace(REFERENCE, compat="fixed")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    # One folder for the module: the graphs are exported once.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "onnx_loop"))


LIKE_BASE = dataclasses.replace(SMALL, memory_pool=1, memory_mask_stride=1, memory_layers=2)
"""Unpooled, and with a gate that counts."""


def loaded(*, graphs: bool, config: ModelConfig = SMALL) -> RobotSeg:
    model, device = small_model(config=config), torch.device("cpu")
    return RobotSeg(model, TorchEncoder(model, device), device, "random", graphs=graphs)


@pytest.mark.parametrize("config", [SMALL, LIKE_BASE])
def test_graphs_answer_what_pytorch_answers_with_prompts_resets_and_corrections(config: ModelConfig):
    plain, graphs = (loaded(graphs=x, config=config).stream(POLICY) for x in (False, True))
    assert isinstance(plain._loop, TorchLoop) and isinstance(graphs._loop, OnnxLoop)
    for index, frame in enumerate(moving_frames(9)):
        answers = []
        for stream in (plain, graphs):
            if index == 3:
                stream.prompt(Prompt("gripper", PromptKind.RESET))
            if index == 5:
                stream.prompt(Prompt("arm", PromptKind.POINT, (20.0, 20.0)))
            result = stream.step(frame)
            if index == 6:
                result = stream.correct(Prompt("robot", PromptKind.POINT, (40.0, 30.0), 0))
            answers.append(result)
        np.testing.assert_allclose(plain._last.answer.logits, graphs._last.answer.logits, atol=1e-4)
        np.testing.assert_allclose(plain._last.answer.pointer, graphs._last.answer.pointer, atol=1e-4)
        np.testing.assert_allclose(plain._last.conditioned.image, graphs._last.conditioned.image, atol=1e-4)
        a, b = answers
        assert a.state is b.state
        assert sum(int((p.mask != q.mask).sum()) for p, q in zip(a.parts, b.parts, strict=True)) <= 5


def test_streams_of_one_size_share_the_graphs_and_give_the_same_to_the_bit():
    robotseg = loaded(graphs=True)
    one, two = robotseg.stream(POLICY), robotseg.stream(POLICY)
    assert one._loop is two._loop
    for frame in moving_frames(4):
        first, second = one.step(frame), two.step(frame)
        assert all(np.array_equal(a.mask, b.mask) for a, b in zip(first.parts, second.parts, strict=True))
        assert torch.equal(one._last.answer.logits, two._last.answer.logits)


def test_pytorch_runs_what_the_graphs_cannot(monkeypatch, caplog):
    def broken(*_: object):
        raise RuntimeError("no such operator")

    monkeypatch.setattr("robotseg_core.backends.onnxruntime_encoder.session", broken)
    assert isinstance(loaded(graphs=True).stream(POLICY)._loop, TorchLoop)
    assert "no such operator" in caplog.text
    monkeypatch.setattr(onnx_loop, "LARGEST_GRID", SMALL.grid - 1)
    caplog.clear()
    assert isinstance(loaded(graphs=True).stream(POLICY)._loop, TorchLoop)
    assert not caplog.text
