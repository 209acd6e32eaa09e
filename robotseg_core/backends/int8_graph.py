# SPDX-License-Identifier: Apache-2.0
"""The convolutional encoder in 8 bits: which tensors are rounded, how far they reach, and the graph that says so.

Weights are rounded symmetrically, each output channel by a scale of its own; maps asymmetrically, each by one scale,
from what :mod:`calibration frames <robotseg_core.backends.calibration>` reach.  What rounding adds to a channel on
average is taken from its bias.  The graph keeps to ONNX's QuantizeLinear and DequantizeLinear around float
operators, which every runtime fuses in its own way.  A map is rounded behind its activation, never before it: ReLU6
cuts off what would take most of the 256 steps.

What stays float is known beforehand for the stem and the first stage: few channels on the largest maps, little work,
and filters that take differences of their neighbours with weights an order of magnitude above their result.  Of all
other convolutions the error is measured, and those above
:data:`~robotseg_core.backends.calibration.LARGEST_ERROR` stay float as well.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnx

Array = NDArray[Any]

FLOAT_PREFIXES = ("/image_encoder/trunk/stem/", "/image_encoder/trunk/stages.0/")
"""Names of the convolutions that stay float whatever their error."""
ACTIVATIONS = ("Clip", "Relu")


@dataclass(frozen=True)
class Layer:
    """A convolution and what rounding does to it.

    Attributes:
        name: of the ONNX node.
        shape: of its weights, [out, in / groups, kh, kw].
        macs: multiplications for one frame, millions.
        error: mean error of its output with rounded input and weights over its mean magnitude.
        rounded: whether it is computed in 8 bits.
    """

    name: str
    shape: tuple[int, ...]
    macs: float
    error: float
    rounded: bool


@dataclass(frozen=True)
class Range:
    """What of a map is told apart, with 0 in it; what lies outside becomes its end."""

    low: float
    high: float

    @property
    def scale(self) -> np.float32:
        """One of the 255 steps."""
        return np.float32(max(self.high - self.low, 1e-8) / 255)

    @property
    def zero(self) -> np.uint8:
        """The step that stands for 0."""
        return np.uint8(np.clip(np.round(-self.low / self.scale), 0, 255))

    def rounded(self, x: Array) -> Array:
        """``x`` in steps and back."""
        zero = float(self.zero)
        return np.asarray((np.clip(np.round(x / self.scale) + zero, 0, 255) - zero) * self.scale, np.float32)


def constants(graph: onnx.GraphProto) -> dict[str, Array]:
    """All constants by name."""
    from onnx import numpy_helper

    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}


def convolutions(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The nodes that can be rounded, in their order."""
    return [node for node in model.graph.node if node.op_type == "Conv"]


def result(graph: onnx.GraphProto, node: onnx.NodeProto) -> str:
    """Name of a node's output behind its activation, if one follows and the output is not the graph's own."""
    if any(put.name == node.output[0] for put in graph.output):
        return str(node.output[0])
    users = [other for other in graph.node if node.output[0] in other.input]
    if len(users) == 1 and users[0].op_type in ACTIVATIONS:
        return str(users[0].output[0])
    return str(node.output[0])


def rounded_maps(model: onnx.ModelProto, rounded: Iterable[str]) -> list[str]:
    """Names of the maps that are rounded where the convolutions named in ``rounded`` are, in the graph's order."""
    graph, names, maps = model.graph, set(rounded), set()
    for node in convolutions(model):
        if node.name in names:
            maps |= {node.input[0], result(graph, node)}
    for node in graph.node:
        # Sums and copies of rounded maps: they need not leave 8 bits in between.
        if node.op_type == "Add" and all(name in maps for name in node.input):
            maps.add(result(graph, node))
        elif node.op_type in ("Resize", "Relu") and node.input[0] in maps:
            maps.add(node.output[0])
    order = [put.name for put in graph.input] + [name for node in graph.node for name in node.output]
    return [name for name in order if name in maps]


def round_weights(weights: Array, least: Array | float = 0.0) -> tuple[Array, Array]:
    """Weights [out, ...] -> (int8 of the same shape, scales [out] of ``least`` or more)."""
    reach = np.maximum(np.abs(weights).reshape(len(weights), -1).max(1), 1e-9) / 127
    scale = np.maximum(reach, least).astype(np.float32)
    steps = np.round(weights / scale.reshape(-1, *[1] * (weights.ndim - 1)))
    return np.clip(steps, -127, 127).astype(np.int8), scale


@dataclass(frozen=True)
class Calibration:
    """What the rounded graph is made from.

    Attributes:
        ranges: of the maps, by name.
        layers: the convolutions in the graph's order.
        shifts: mean that rounding adds to each channel, [out] float32, by the convolution's name; absent: nothing.
    """

    ranges: dict[str, Range]
    layers: list[Layer]
    shifts: dict[str, Array] = field(default_factory=dict)


class _Rounding:
    """Builds the rounded graph out of the float one."""

    def __init__(self, model: onnx.ModelProto, known: Calibration) -> None:
        rounded = {layer.name for layer in known.layers if layer.rounded}
        self.model, self.ranges, self.rounded, self.shifts = copy.deepcopy(model), known.ranges, rounded, known.shifts
        self.values = constants(model.graph)
        self.maps = set(rounded_maps(model, rounded))
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.renamed: dict[str, str] = {}

    def build(self) -> onnx.ModelProto:
        graph = self.model.graph
        outputs = {put.name for put in graph.output}
        for put in graph.input:
            if put.name in self.maps:
                self._there_and_back(put.name, put.name, f"{put.name}_near")
        for node in list(graph.node):
            source = node.input[0]
            for i, name in enumerate(node.input):
                node.input[i] = self.renamed.get(name, name)
            if node.name in self.rounded:
                self._round(node, source)
            self.nodes.append(node)
            out = node.output[0]
            if out in outputs and out in self.maps:
                # Rounded as well: a product of integers ends in integers.
                node.output[0] = f"{out}_exact"
                self._there_and_back(out, f"{out}_exact", out)
            elif out in self.maps:
                self._there_and_back(out, out, f"{out}_near")
        del graph.node[:]
        graph.node.extend(self.nodes)
        used = {name for node in graph.node for name in node.input}
        kept = [t for t in (*graph.initializer, *self.constants) if t.name in used]
        del graph.initializer[:]
        graph.initializer.extend(kept)
        del graph.value_info[:]
        return self.model

    def _constant(self, name: str, value: Any) -> str:
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def _there_and_back(self, name: str, source: str, target: str) -> None:
        from onnx import helper

        reach = self.ranges[name]
        scale, zero = self._constant(f"{name}_scale", reach.scale), self._constant(f"{name}_zero", reach.zero)
        self.nodes += [
            helper.make_node("QuantizeLinear", [source, scale, zero], [f"{name}_steps"], name=f"{name}_round"),
            helper.make_node("DequantizeLinear", [f"{name}_steps", scale, zero], [target], name=f"{name}_back"),
        ]
        self.renamed[name] = target

    def _round(self, node: onnx.NodeProto, source: str) -> None:
        """Weights as int8 and the bias as int32 in steps of input times weight, as integer products need them."""
        from onnx import helper

        weights, reach = np.asarray(self.values[node.input[1]], np.float32), float(self.ranges[source].scale)
        bias = np.asarray(self.values[node.input[2]], np.float64) if len(node.input) > 2 else np.zeros(len(weights))
        bias = bias - self.shifts.get(node.name, 0.0)
        # A channel of (nearly) no weights must still be able to say its bias.
        steps, scale = round_weights(weights, np.abs(bias) / reach / 2**30)
        given = [("weight", steps, scale)]
        if len(node.input) > 2:
            unit = (scale * np.float32(reach)).astype(np.float32)
            given.append(("bias", np.round(bias / unit).astype(np.int32), unit))
        for i, (kind, whole, unit) in enumerate(given, 1):
            name = f"{node.name}_{kind}"
            inputs = [
                self._constant(f"{name}_steps", whole),
                self._constant(f"{name}_scale", unit),
                self._constant(f"{name}_zero", np.zeros(len(unit), whole.dtype)),
            ]
            self.nodes.append(
                helper.make_node("DequantizeLinear", inputs, [f"{name}_near"], axis=0, name=f"{name}_back")
            )
            node.input[i] = f"{name}_near"


def to_int8(model: onnx.ModelProto, known: Calibration) -> onnx.ModelProto:
    """The graph with the convolutions in 8 bits that ``known`` says, inputs and outputs float32."""
    return _Rounding(model, known).build()
