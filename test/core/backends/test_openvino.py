# SPDX-License-Identifier: Apache-2.0
"""The graphs in OpenVINO answer what ONNX Runtime answers; without it the message says what is missing."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys

import numpy as np
import pytest
import torch
from small_models import SMALL, moving_frames, small_model

from robotseg_core.backends.choose import make_encoder
from robotseg_core.stream.policy import REFERENCE
from robotseg_core.stream.robotseg import RobotSeg

CPU = torch.device("cpu")
POLICY = dataclasses.replace(REFERENCE, compat="fixed")
installed = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="OpenVINO is not installed: pip install openvino"
)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "openvino"))


@installed
def test_the_encoder_in_8_bits_gives_what_onnx_runtime_gives():
    image = torch.rand(2, 3, SMALL.image_size, SMALL.image_size, generator=torch.Generator().manual_seed(0))
    one, other = (make_encoder(small_model(), name, CPU, 2, precision="int8") for name in ("onnxruntime", "openvino"))
    for name in ("h4", "h8", "f16"):
        a, b = (getattr(encoder.encode(image), name) for encoder in (one, other))
        assert a.shape == b.shape and float((a - b).abs().mean()) <= 0.05 * float(a.abs().mean())


@installed
def test_streams_answer_what_those_of_onnx_runtime_answer():
    one, other = (
        RobotSeg.of(small_model(), device=CPU, backend=backend, source="random", precision="fp32").stream(POLICY)
        for backend in ("onnxruntime", "openvino")
    )
    for frame in moving_frames(5):
        for stream in (one, other):
            stream.step(frame)
        a, b = (stream._last.answer.logits.numpy() for stream in (one, other))
        assert np.abs(a - b).mean() <= 1e-3 * np.abs(a).mean()
    assert other.robotseg.backend == "openvino"
    times = other.step(moving_frames(6)[-1]).stage_ms
    assert min(times.memory_attention, times.decoder, times.memory_encoder, times.prompt_generator) > 0


@installed
def test_the_same_frames_give_the_same_bits():
    robotseg = RobotSeg.of(small_model(), device=CPU, backend="openvino", source="random", precision="int8")
    logits = []
    for stream in (robotseg.stream(POLICY), robotseg.stream(POLICY)):
        for frame in moving_frames(4):
            stream.step(frame)
        logits.append(stream._last.answer.logits)
    assert torch.equal(*logits)


def test_where_it_is_not_installed_the_error_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ImportError, match="openvino"):
        make_encoder(small_model(), "openvino", CPU, 1)
    with pytest.raises(ValueError, match="backend 'openvino' runs on the CPU"):
        make_encoder(small_model(), "openvino", torch.device("cuda"), 1)
