# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from small_models import SMALL, small_model

from robotseg_core.backends.choose import make_encoder
from robotseg_core.backends.onnx_files import cached_onnx
from robotseg_core.backends.onnxruntime_encoder import OnnxEncoder
from robotseg_core.backends.torch_encoder import TorchEncoder


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def image():
    return torch.randn(1, 3, SMALL.image_size, SMALL.image_size, generator=torch.Generator().manual_seed(0))


def test_backends_agree_with_the_model(cache):
    model = small_model()
    with torch.inference_mode():
        expected = model.encode(image())
        for backend in (TorchEncoder(model, torch.device("cpu")), OnnxEncoder(model, threads=1)):
            features = backend.encode(image())
            for name in ("h4", "h8", "f16"):
                # Folded norms change the order of roundings only.
                torch.testing.assert_close(getattr(features, name), getattr(expected, name), atol=1e-4, rtol=1e-4)


def test_export_is_cached_by_weights(cache):
    first = cached_onnx(small_model())
    stamp = first.stat().st_mtime_ns
    assert cached_onnx(small_model()) == first and first.stat().st_mtime_ns == stamp
    assert cached_onnx(small_model(seed=1)) != first


def test_wrong_names_are_refused_with_what_is_known():
    with pytest.raises(ValueError, match="'tensorflow'.*onnxruntime"):
        make_encoder(small_model(), "tensorflow", torch.device("cpu"), 1)


def test_auto_falls_back_to_torch_and_says_so(cache, monkeypatch, caplog):
    def broken(*_: object) -> None:
        raise ImportError("no onnxruntime here")

    monkeypatch.setattr("robotseg_core.backends.choose.OnnxEncoder", broken)
    assert make_encoder(small_model(), "auto", torch.device("cpu"), 1).name == "torch"
    assert "no onnxruntime here" in caplog.text
    with pytest.raises(ImportError):
        make_encoder(small_model(), "onnxruntime", torch.device("cpu"), 1)
