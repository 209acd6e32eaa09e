# SPDX-License-Identifier: Apache-2.0
"""What can be proved of the TensorRT backend without a GPU: its graph, its choice, its calls.

Its cache: test_engine_cache.py.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import types
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import tensorrt_api
import torch
from onnx import TensorProto, shape_inference
from patience import PATIENCE_S
from small_models import SMALL, small_model
from tiny_base import TINY

from robotseg_core import cli
from robotseg_core.backends.choose import make_encoder, tensorrt_or_torch
from robotseg_core.backends.engine_cache import EngineError
from robotseg_core.backends.onnx_files import export_onnx
from robotseg_core.backends.onnx_graph import PRECISIONS
from robotseg_core.backends.tensorrt_encoder import import_tensorrt
from robotseg_core.config import NANO
from robotseg_core.model.robotseg_model import RobotSegModel
from robotseg_core.weights.load import save_safetensors

TOLERANCE = {"fp32": 1e-5, "fp16": 5e-3}
"""Largest difference from PyTorch in float32, as a share of the largest value of a map."""

SUPPORTED = frozenset(
    # Operators with a "Y" that encoders like ours come to use, from onnx-tensorrt's docs/operators.md as of
    # TensorRT 10.15 (opsets 9 to 24); the same table names the restrictions on Resize, MaxPool, LayerNormalization.
    """Add Cast Clip Concat Constant ConstantOfShape Conv Div Erf Expand Flatten Gather Gelu Gemm GlobalAveragePool
    Identity LayerNormalization MatMul MaxPool Mul Pad Pow ReduceMean Relu Reshape Resize Shape Sigmoid Slice Softmax
    Split Sqrt Squeeze Sub Tile Transpose Unsqueeze Where""".split()
)
TYPES = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL}


@pytest.fixture(scope="module", params=[SMALL, TINY], ids=["conv", "hiera"])
def model(request):
    return small_model(config=request.param)


@pytest.fixture(scope="module", params=PRECISIONS)
def exported(request, model, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "encoder.onnx"
    export_onnx(model, path, request.param)
    return request.param, path


# ------------------------------------------------------------------------------------------------ graph
def test_graph_gives_what_torch_gives(model, exported):
    precision, path = exported
    size = model.config.image_size
    # Of any number of images; 1 and 2: test_encoder_batch.py.
    image = torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(0))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    outputs = session.run(["h4", "h8", "f16"], {"image": image.numpy()})
    with torch.inference_mode():
        features = model.encode(image)
    for name, value in zip(("h4", "h8", "f16"), outputs, strict=True):
        expected = getattr(features, name).numpy()
        assert value.dtype == np.float32 and value.shape == expected.shape
        assert np.abs(value - expected).max() <= TOLERANCE[precision] * np.abs(expected).max()


def test_graph_has_only_what_the_parser_of_tensorrt_takes(exported):
    graph = onnx.load(exported[1]).graph
    assert {node.op_type for node in graph.node} <= SUPPORTED
    for node in graph.node:
        values = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "Resize":
            assert values["mode"] in (b"nearest", b"linear")
        if node.op_type in ("MaxPool", "LayerNormalization"):
            assert len(node.output) == 1
            assert set(values.get("dilations", [1])) == {1}


def test_graph_is_static_but_for_the_batch_and_computes_in_the_named_precision(exported):
    precision, path = exported
    graph = shape_inference.infer_shapes(onnx.load(path), check_type=True, strict_mode=True, data_prop=True).graph
    for put in (*graph.input, *graph.output):
        assert put.type.tensor_type.elem_type == TensorProto.FLOAT
        batch, *sizes = put.type.tensor_type.shape.dim
        assert batch.dim_param == "batch" and all(d.dim_value > 0 for d in sizes)
    kinds = {x.name: x.type.tensor_type.elem_type for x in (*graph.input, *graph.value_info, *graph.output)}
    kinds |= {x.name: x.data_type for x in graph.initializer}
    assert set(kinds.values()) <= TYPES
    inner = TensorProto.FLOAT16 if precision == "fp16" else TensorProto.FLOAT
    for node in graph.node:
        if node.op_type in ("Conv", "MatMul", "Gemm", "Softmax", "LayerNormalization"):
            assert {kinds[name] for name in (*node.input, *node.output)} == {inner}


def test_weights_that_half_cannot_hold_are_refused_by_name(tmp_path):
    model = RobotSegModel(SMALL).eval()
    torch.nn.init.constant_(model.sam_mask_decoder.conv_s0.bias, 1e5)
    with pytest.raises(ValueError, match=r"conv_s0.bias reaches 1e\+05"):
        export_onnx(model, tmp_path / "encoder.onnx", "fp16")
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------------------------ choice, commands
def test_auto_falls_back_to_torch_and_says_so(caplog):
    assert tensorrt_or_torch(small_model(), torch.device("cpu"), trt=types.SimpleNamespace()).name == "torch"
    assert "TensorRT cannot be used (TensorRT runs on CUDA devices, device is cpu)" in caplog.text


@pytest.mark.parametrize(
    "backend, precision, message",
    [("tensorrt", "fp32", "CUDA devices, device is cpu"), ("auto", "fp16", "'fp16'"), ("torch", "int8", "'int8'")],
)
def test_what_a_cpu_cannot_do_is_refused(backend, precision, message):
    with pytest.raises(ValueError, match=message):
        make_encoder(small_model(), backend, torch.device("cpu"), 1, precision=precision)


def test_export_command(tmp_path, capsys):
    save_safetensors(RobotSegModel(NANO).state_dict(), tmp_path / "nano.safetensors")
    out, weights = tmp_path / "encoder.onnx", str(tmp_path / "nano.safetensors")
    command = ["export", "--preset", "nano", "--image-size", "64", "--weights", weights, "--out", str(out)]
    assert cli.main([*command, "--precision", "fp16"]) == 0
    assert [d.dim_value for d in onnx.load(out).graph.input[0].type.tensor_type.shape.dim] == [0, 3, 64, 64]
    assert "[batch, 3, 64, 64] float32" in capsys.readouterr().out
    assert cli.main(["export", "--image-size", "100", "--out", str(out)]) == 2
    assert "--image-size is 100" in capsys.readouterr().err
    assert cli.main(["export", "--out", str(tmp_path / "absent" / "x.onnx")]) == 2
    assert "no folder" in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without a GPU")
def test_engine_command_says_that_there_is_no_gpu(capsys):
    assert cli.main(["engine"]) == 2
    assert "PyTorch finds no CUDA device" in capsys.readouterr().err
    assert cli.main(["engine", "--device", "cpu"]) == 2
    assert "device is cpu" in capsys.readouterr().err


@pytest.mark.skipif(importlib.util.find_spec("tensorrt") is not None, reason="TensorRT is installed")
def test_absent_tensorrt_is_an_error_that_says_what_to_install():
    with pytest.raises(EngineError, match="No module named 'tensorrt'.*tensorrt-cu12 or tensorrt-cu13"):
        import_tensorrt()


# ------------------------------------------------------------------------------------------------ conformance
STUB = "\n".join(
    f"void *{name}(void) {{ return 0; }}"
    for name in """createInferBuilder_INTERNAL createInferRefitter_INTERNAL createInferRuntime_INTERNAL
    createNvOnnxParser_INTERNAL createNvOnnxParserRefitter_INTERNAL getNvOnnxParserVersion getPluginRegistry
    getBuilderPluginRegistry initLibNvInferPlugins""".split()
)
"""All that the bindings want of TensorRT's libraries by name; the rest goes through tables of functions."""


def test_tables_of_the_conformance_check_hold_all_that_the_code_uses():
    assert tensorrt_api.names_in_use() == tensorrt_api.known_names()
    everything = len(tensorrt_api.CALLS) + len(tensorrt_api.VALUES)
    assert len(tensorrt_api.problems(types.SimpleNamespace(IHostMemory=int, Builder=int, Dims=int))) >= everything


def unpacked_bindings(major: int, folder: Path) -> dict[str, str]:
    """Environment in which ``tensorrt_bindings`` of this major version can be imported."""
    wheels = sorted(Path(os.environ.get("ROBOTSEG_TRT_WHEELS") or folder).glob(f"tensorrt_cu*_bindings-{major}.*.whl"))
    if not wheels:
        if importlib.util.find_spec("tensorrt_bindings"):
            return dict(os.environ)
        pytest.skip(f"no bindings of TensorRT {major} in $ROBOTSEG_TRT_WHEELS: run `make trt-conformance`")
    if not shutil.which("gcc"):
        pytest.skip("no gcc to build the stand-ins for TensorRT's libraries")
    with zipfile.ZipFile(wheels[-1]) as wheel:
        wheel.extractall(folder)
    (folder / "stub.c").write_text(STUB)
    for name in ("nvinfer", "nvinfer_plugin", "nvonnxparser"):
        soname = f"lib{name}.so.{major}"
        command = ["gcc", "-shared", "-fPIC", f"-Wl,-soname,{soname}", "stub.c", "-o", soname]
        subprocess.run(command, cwd=folder, check=True)
    return {**os.environ, "PYTHONPATH": str(folder), "LD_LIBRARY_PATH": str(folder)}


@pytest.mark.parametrize("major", [10, 11])
def test_calls_conform_to_the_bindings_of_tensorrt(major, tmp_path):
    environment = unpacked_bindings(major, tmp_path)
    # In a process of its own: the bindings would take the stand-ins for TensorRT in everything that follows.
    done = subprocess.run(
        [sys.executable, tensorrt_api.__file__], env=environment, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == 0, done.stderr
    version, *problems = done.stdout.split("\n", 1)
    print(f"TensorRT {version}")
    assert not "".join(problems).strip()
