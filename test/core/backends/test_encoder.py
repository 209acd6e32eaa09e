# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from small_models import SMALL, small_model

from robotseg_core.backends.choose import make_encoder
from robotseg_core.backends.onnx_files import cached_onnx
from robotseg_core.backends.onnxruntime_encoder import OnnxEncoder, OnnxGraph, flushing_denormals
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
    (path,) = (cache / "robotseg").glob("*.onnx")
    stamp = path.stat().st_mtime_ns
    assert cached_onnx(small_model()) == first == path.read_bytes() and path.stat().st_mtime_ns == stamp
    assert cached_onnx(small_model(seed=1)) != first and len(list((cache / "robotseg").glob("*.onnx"))) == 2


def planted(graph):
    """The same graph with all weights 0."""
    model = onnx.load_from_string(graph)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32:
            tensor.CopyFrom(numpy_helper.from_array(values * 0, tensor.name))
    return model.SerializeToString()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.write_bytes(b""), "checksum is wrong"),
        (lambda path: path.write_bytes(planted(path.read_bytes())), "checksum is wrong"),
        (lambda path: path.with_name(f"{path.name}.sha256").unlink(), "no checksum"),
        (lambda path: path.with_name(f"{path.name}.sha256").write_bytes(b"\xff\xfe"), "checksum is wrong"),
        (lambda path: path.chmod(0o666), "can be written by anybody"),
        (
            lambda path: path.rename(path.with_suffix(".x")) and path.symlink_to(path.with_suffix(".x")),
            "symbolic links",
        ),
        (lambda path: os.chown(path, 12345, -1), "belongs to user 12345"),
    ],
    ids=["empty", "planted", "no sum", "garbage sum", "mode", "link", "owner"],
)
def test_a_graph_that_is_damaged_or_may_be_anothers_is_made_anew_and_not_run(cache, caplog, damage, reason):
    if reason.startswith("belongs") and os.geteuid():
        pytest.skip("only root can give files away")
    model = small_model()
    with torch.inference_mode():
        want = OnnxEncoder(model, threads=1).encode(image()).f16
        (path,) = (cache / "robotseg").glob("*.onnx")
        damage(path)
        got = OnnxEncoder(model, threads=1).encode(image()).f16
    assert torch.equal(want, got)
    assert reason in caplog.text and f"{path.name} is made anew" in caplog.text
    # Once: the next start finds a good one.
    caplog.clear()
    OnnxEncoder(model, threads=1)
    assert "anew" not in caplog.text and not path.is_symlink()


@pytest.mark.parametrize("folder", ["/dev/null/no", "relative", ""])
def test_without_a_cache_it_works_and_leaves_nothing(folder, tmp_path, monkeypatch, caplog):
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", folder)
    # A user without a home, as of services.
    monkeypatch.setattr("pathlib.Path.home", lambda: Path("/dev/null/home"))
    OnnxEncoder(small_model(), threads=1)
    assert "is not writable" in caplog.text
    assert list(temporary.iterdir()) == [] and [p.name for p in tmp_path.iterdir()] == ["tmp"]


def test_a_full_disk_is_said_and_costs_only_the_keeping(cache, monkeypatch, caplog):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("robotseg_core.storage.user_cache.replacing", full)
    OnnxEncoder(small_model(), threads=1)
    assert "cannot be kept" in caplog.text and "No space left" in caplog.text


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


@pytest.mark.parametrize("elsewhere", [False, True])
def test_while_a_graph_runs_numbers_below_1e_38_are_0_in_all_its_threads_and_afterwards_they_are_not(elsewhere: bool):
    put, got = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1 << 20]) for name in "xy")
    square = onnx.helper.make_graph([onnx.helper.make_node("Mul", ["x", "x"], ["y"])], "square", [put], [got])
    model = onnx.helper.make_model(square, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    small = np.full(1 << 20, 1e-20, np.float32)
    plain = small[:4] * small[:4]
    assert plain.all()
    graph = OnnxGraph(model.SerializeToString(), threads=2)
    with ThreadPoolExecutor(1) as other:
        (out,) = other.submit(graph.run, {"x": small}).result() if elsewhere else graph.run({"x": small})
        left = other.submit(lambda: small[:4] * small[:4]).result() if elsewhere else small[:4] * small[:4]
    assert not out.any()
    np.testing.assert_array_equal(left, plain)


def test_a_thread_that_flushes_such_numbers_already_goes_on_doing_so():
    tiny, one = np.full(4, 1e-40, np.float32), np.float32(1)
    with flushing_denormals():
        with flushing_denormals():
            assert not (tiny * one).any()
        assert not (tiny * one).any()
    assert (tiny * one).all()
