# SPDX-License-Identifier: Apache-2.0
"""The encoder in 8 bits: near float32, the same each time, and only where it can be."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from small_models import SMALL, moving_frames, small_model
from tiny_base import TINY

from robotseg_core import cli
from robotseg_core.backends import calibration
from robotseg_core.backends.choose import make_encoder
from robotseg_core.backends.int8_graph import Calibration, Range, rounded_maps, to_int8
from robotseg_core.backends.onnx_files import cached_onnx, encoder_name, write_int8
from robotseg_core.backends.onnx_graph import fold_pads
from robotseg_core.backends.onnxruntime_encoder import OnnxEncoder, OnnxGraph
from robotseg_core.config import NANO
from robotseg_core.model.robotseg_model import RobotSegModel
from robotseg_core.storage.user_cache import kept_anew
from robotseg_core.stream.choices import chosen_precision
from robotseg_core.stream.preprocess import frame_tensor

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    # One folder for the module: the float graph is exported once.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "int8"))


def test_maps_are_near_those_of_float32_for_frames_that_were_not_calibrated_on(tmp_path):
    model, frames = small_model(), moving_frames(12)
    layers = []
    kept_anew(encoder_name(model, "int8"), lambda path: layers.extend(write_int8(model, path, frames[:6])))
    rounded = [layer for layer in layers if layer.rounded]
    assert 0 < len(rounded) < len(layers)
    assert not any("stem" in layer.name for layer in rounded) and all(layer.error < 0.12 for layer in rounded)
    exact, near = OnnxEncoder(model, 1), OnnxEncoder(model, 1, "int8")
    for frame in frames[8:]:
        image = frame_tensor(frame, SMALL.image_size, exact=False)
        for name in ("h4", "h8", "f16"):
            a, b = (getattr(encoder.encode(image), name) for encoder in (exact, near))
            error = float((a - b).abs().mean() / a.abs().mean())
            assert 0 < error < 0.1, f"{name}: {error}"


def test_the_file_is_the_same_each_time_and_only_rounded_weights_are_in_it(tmp_path):
    model, frames = small_model(), moving_frames(4)
    for name in ("one", "two"):
        write_int8(model, tmp_path / name, frames)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    graph = onnx.load(tmp_path / "one").graph
    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer}
    assert TensorProto.INT8 in kinds.values() and TensorProto.INT32 in kinds.values()
    assert not list(tmp_path.glob(".*.part"))


def test_shipped_frames_are_taken_where_none_are_given(monkeypatch):
    frames = calibration.shipped_frames()
    assert len(frames) == 16 and {frame.shape for frame in frames} == {(336, 448, 3)}
    assert len({frame.tobytes() for frame in frames}) == 16
    monkeypatch.setattr(calibration, "search_folders", list)
    with pytest.raises(FileNotFoundError, match=r"calibration\.jpg.*robotseg quantize"):
        calibration.shipped_frames()
    assert chosen_precision("auto", "nano", CPU, "auto") == "fp32"


@pytest.mark.parametrize(("vnni", "expected"), [(True, "int8"), (False, "fp32")])
def test_auto_takes_it_for_nano_on_processors_that_profit(monkeypatch, vnni, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_vnni": vnni})
    assert chosen_precision("auto", "nano", CPU, "auto") == expected
    assert chosen_precision("auto", "base", CPU, "auto") == "fp32"
    assert chosen_precision("auto", "nano", torch.device("cuda"), "auto") == "fp32"
    assert chosen_precision("auto", "nano", CPU, "torch") == "fp32"
    assert chosen_precision("bf16", "nano", CPU, "auto") == "bf16"


def test_what_cannot_be_rounded_is_refused(tmp_path):
    with pytest.raises(ValueError, match="convolutional"):
        make_encoder(small_model(config=TINY), "onnxruntime", CPU, 1, precision="int8")
    with pytest.raises(ValueError, match="0 calibration frames"):
        write_int8(small_model(), tmp_path / "x", [])


def test_a_range_holds_zero_exactly():
    reach = Range(-1.0, 3.0)
    x = np.array([0.0, -5.0, 9.0, 1.0], np.float32)
    near = reach.rounded(x)
    assert near[0] == 0 and near[1] == pytest.approx(-1, abs=0.01) and near[2] == pytest.approx(3, abs=0.01)
    assert abs(near[3] - 1) <= reach.scale / 2 + 1e-6


def test_a_rare_value_far_out_does_not_coarsen_the_others():
    x = np.random.default_rng(0).normal(0, 1, 100_000).astype(np.float32)
    x[0] = 40
    reach, whole = calibration.best_range(x), Range(float(x.min()), 40.0)

    def error(tried: Range) -> float:
        return float(np.square(tried.rounded(x) - x).mean())

    assert reach.low < -3 and 20 <= reach.high < 40 and error(reach) < 0.9 * error(whole)
    assert calibration.best_range(np.array([0.0, 6.0], np.float32)) == Range(0.0, 6.0)
    assert calibration.best_range(np.zeros(3, np.float32)).scale > 0


def test_rounding_moves_no_channel_on_average():
    model, frames = small_model(), moving_frames(8)
    exact = onnx.load_model_from_string(cached_onnx(model))
    images = calibration.tensors(frames, SMALL.image_size)
    known = calibration.calibrate(exact, images)
    assert all(np.abs(shift).max() > 0 for shift in known.shifts.values())
    without = dataclasses.replace(known, shifts={})

    def moved(made: Calibration) -> float:
        graph = OnnxGraph(to_int8(exact, made).SerializeToString(), 1)
        float32 = OnnxGraph(exact.SerializeToString(), 1)
        apart = []
        for image in images:
            a, b = (one.run({"image": image})[-1] for one in (float32, graph))
            apart.append((b - a).mean((0, 2, 3)))
        return float(np.abs(np.mean(apart, 0)).mean())

    assert moved(known) < 0.8 * moved(without)


def test_maps_are_rounded_behind_their_activation():
    graph = onnx.load_model_from_string(cached_onnx(small_model()))
    names = [node.name for node in graph.graph.node if node.op_type == "Conv"]
    before = {node.input[0] for node in graph.graph.node if node.op_type == "Clip"}
    assert before and not before & set(rounded_maps(graph, names))


@pytest.mark.parametrize(("border", "left"), [("constant", 0), ("reflect", 1)])
def test_zeros_around_a_map_are_left_to_the_convolution(border, left):
    weights = np.random.default_rng(0).standard_normal((2, 1, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Pad", ["x", "pads"], ["y"], mode=border),
        helper.make_node("Conv", ["y", "w"], ["z"], strides=[2, 2], pads=[0, 1, 0, 0]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 8, 8])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.array([0, 0, 0, 0, 0, 0, 1, 1]), "pads"), numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    x = np.random.default_rng(1).standard_normal((1, 1, 8, 8)).astype(np.float32)

    def answer() -> np.ndarray:
        return ReferenceEvaluator(model).run(None, {"x": x})[0]

    before = answer()
    fold_pads(model)
    assert sum(node.op_type == "Pad" for node in model.graph.node) == left
    np.testing.assert_allclose(answer(), before, atol=1e-5)


def test_command_writes_the_graph_of_own_frames_and_says_what_each_layer_pays(tmp_path, capsys, monkeypatch):
    import cv2

    from robotseg_core.weights.load import save_safetensors

    save_safetensors(RobotSegModel(NANO).state_dict(), tmp_path / "nano.safetensors")
    (tmp_path / "frames").mkdir()
    for index, frame in enumerate(moving_frames(3)):
        cv2.imwrite(str(tmp_path / "frames" / f"{index}.png"), frame)
    command = ["quantize", "--weights", str(tmp_path / "nano.safetensors"), "--image-size", "64"]
    out = tmp_path / "int8.onnx"
    assert cli.main([*command, "--frames", str(tmp_path / "frames"), "--count", "2", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "2 frames" in said and "trunk/stem" in said and "of 76 convolutions in 8 bits" in said and "ratio" in said
    assert out.is_file()
    assert cli.main([*command, "--count", "0"]) == 2
    assert "--count is 0" in capsys.readouterr().err
