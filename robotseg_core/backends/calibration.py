# SPDX-License-Identifier: Apache-2.0
"""What rounding needs to know of the encoder, learned from frames: the shipped sheet of frames, or any.

The range of a map is the one whose rounding errs least on these frames in the mean square: rare values far out are cut
off where that tells the others better apart.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from robotseg_core.backends.int8_graph import (
    FLOAT_PREFIXES,
    Array,
    Calibration,
    Layer,
    Range,
    constants,
    convolutions,
    round_weights,
    rounded_maps,
)
from robotseg_core.model.structure import IMAGE_MEAN, IMAGE_STD
from robotseg_core.weights.files import search_folders

if TYPE_CHECKING:
    import onnx

LARGEST_ERROR = 0.12
"""Mean error of a convolution's output over its mean magnitude, above which it stays float."""
SAMPLED = 4096
"""Values of a map that are looked at in each frame."""
CUTS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5)
"""Shares of what a map reaches that are tried, on either side of 0."""
ROUNDED_FRAMES = 4
"""Frames on which the convolutions themselves are rounded."""

SHEET = "calibration.jpg"
"""Frames of the demo clip, :data:`SHEET_COLUMNS` to a row, beside the shipped weights."""
SHEET_COLUMNS, SHEET_ROWS = 4, 4


def shipped_frames() -> list[NDArray[np.uint8]]:
    """The frames of the shipped sheet, RGB.

    Raises:
        FileNotFoundError: it is not where weights are looked for.
        OSError: it cannot be read.
    """
    path = find_sheet()
    sheet = cv2.imread(str(path))
    if sheet is None:
        raise OSError(f"{path} is no picture that can be read")
    tiles = (tile for row in np.split(sheet, SHEET_ROWS) for tile in np.split(row, SHEET_COLUMNS, 1))
    return [np.ascontiguousarray(tile[..., ::-1]) for tile in tiles]


def find_sheet() -> Path:
    """Where the shipped sheet is.

    Raises:
        FileNotFoundError: it is not where weights are looked for.
    """
    for folder in search_folders():
        if (folder / SHEET).is_file():
            return folder / SHEET
    looked = ", ".join(str(folder) for folder in search_folders())
    raise FileNotFoundError(f"no {SHEET} in {looked}; give frames of your camera to `robotseg quantize --frames`")


def tensors(frames: Sequence[NDArray[np.uint8]], size: int) -> list[NDArray[Any]]:
    """Frames as the encoder sees them, [1, 3, size, size] float32."""
    mean, std = np.asarray(IMAGE_MEAN, np.float32), np.asarray(IMAGE_STD, np.float32)
    small = (cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA) for frame in frames)
    return [np.ascontiguousarray((((x / np.float32(255)) - mean) / std).transpose(2, 0, 1)[None]) for x in small]


def calibrate(model: onnx.ModelProto, frames: Sequence[NDArray[Any]]) -> Calibration:
    """What the maps of a folded float32 encoder reach, and what rounding does to each convolution.

    Args:
        model: the graph.
        frames: normalised images [1, 3, S, S] float32, at least one.

    Raises:
        ValueError: no frames, or an encoder without convolutions that could be rounded (base).
    """
    nodes = convolutions(model)
    if not any(node.name.startswith(FLOAT_PREFIXES) for node in nodes):
        raise ValueError("precision is 'int8', which is for convolutional encoders (nano); take bf16 or fp16")
    if not frames:
        raise ValueError("there are 0 calibration frames, at least 1 is needed")
    maps = rounded_maps(model, (node.name for node in nodes))
    samples: dict[str, list[Array]] = {name: [] for name in maps}
    generator = np.random.default_rng(0)
    for values in watched(model, maps, frames):
        for name, found in samples.items():
            every = values[name].ravel()
            ends = np.asarray([every.min(), every.max()], np.float32)
            found.append(np.concatenate([ends, every[generator.integers(0, len(every), SAMPLED)]]))
    ranges = {name: best_range(np.concatenate(found)) for name, found in samples.items()}

    weights = constants(model.graph)
    errors: dict[str, list[float]] = {node.name: [] for node in nodes}
    shifts: dict[str, list[Array]] = {node.name: [] for node in nodes}
    sizes: dict[str, int] = {}
    inputs = list(dict.fromkeys(node.input[0] for node in nodes))
    for values in watched(model, inputs, frames[:: max(1, len(frames) // ROUNDED_FRAMES)]):
        for node in nodes:
            x, w = values[node.input[0]], np.asarray(weights[node.input[1]], np.float32)
            steps, scale = round_weights(w)
            with torch.inference_mode():
                exact = _convolve(node, x, w)
                near = _convolve(node, ranges[node.input[0]].rounded(x), steps * scale.reshape(-1, 1, 1, 1))
                errors[node.name].append(float((near - exact).abs().mean() / exact.abs().mean().clamp(min=1e-9)))
                shifts[node.name].append((near - exact).mean((0, 2, 3)).numpy())
            sizes[node.name] = exact.shape[-1] * exact.shape[-2]
    layers = []
    for node in nodes:
        w, error = weights[node.input[1]], float(np.mean(errors[node.name]))
        rounded = error <= LARGEST_ERROR and not node.name.startswith(FLOAT_PREFIXES)
        layers.append(Layer(node.name, w.shape, sizes[node.name] * w.size / 1e6, error, rounded))
    return Calibration(ranges, layers, {name: np.mean(found, 0) for name, found in shifts.items()})


def best_range(values: NDArray[Any]) -> Range:
    """The range whose rounding errs least on ``values`` in the mean square."""
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    tried = [Range(low * a, high * b) for a in (CUTS if low else (1.0,)) for b in (CUTS if high else (1.0,))]
    return min(tried, key=lambda reach: float(np.square(reach.rounded(values) - values).mean()))


def watched(model: onnx.ModelProto, names: Sequence[str], frames: Iterable[Array]) -> Iterator[dict[str, Array]]:
    """Values of the maps ``names`` for each of ``frames`` [1, 3, S, S] float32."""
    import onnxruntime
    from onnx import TensorProto, helper

    shown = copy.deepcopy(model)
    known = {put.name for put in (*shown.graph.output, *shown.graph.input)}
    shown.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names if name not in known
    )
    options = onnxruntime.SessionOptions()
    # One thread: sums in the same order, the same ranges each time.
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(shown.SerializeToString(), options, providers=["CPUExecutionProvider"])
    image, outputs = session.get_inputs()[0].name, [put.name for put in session.get_outputs()]
    for frame in frames:
        yield dict(zip(outputs, session.run(None, {image: frame}), strict=True)) | {image: frame}


def _attributes(node: onnx.NodeProto) -> tuple[int, list[int], list[int]]:
    """Groups, strides and pads of a convolution."""
    known = {a.name: a for a in node.attribute}
    groups = int(known["group"].i) if "group" in known else 1
    strides = list(known["strides"].ints) if "strides" in known else [1, 1]
    return groups, strides, list(known["pads"].ints) if "pads" in known else [0] * 4


def _convolve(node: onnx.NodeProto, x: Array, weights: Array) -> torch.Tensor:
    groups, strides, (top, left, bottom, right) = _attributes(node)
    padded = F.pad(torch.from_numpy(x), (left, right, top, bottom))
    return F.conv2d(padded, torch.from_numpy(weights.copy()), stride=strides, groups=groups)
