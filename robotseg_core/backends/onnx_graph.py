# SPDX-License-Identifier: Apache-2.0
"""What becomes of an exported ONNX graph: constants folded, shapes static, half precision written into it.

A strongly typed TensorRT network computes in the types that its graph names, and in no others: precision is decided
here, once, and not by a flag of the builder (TensorRT 11 has no such flag any more).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx

PRECISIONS = ("fp32", "fp16")

SCALES = 2
"""Index of the input ``scales`` of Resize, which stays float32 whatever the type of the image."""


def check_precision(precision: str) -> None:
    """Raise ValueError where a precision is not one of :data:`PRECISIONS`."""
    if precision not in PRECISIONS:
        raise ValueError(f"precision is {precision!r}, must be one of {PRECISIONS}")


def folded(path: Path) -> onnx.ModelProto:
    """The graph of a file with everything computed that does not depend on the input, in ONNX's own operators.

    PyTorch's exporter writes shapes and attention scales as arithmetic, which every engine would have to see through
    and which half precision would round.
    """
    import onnx
    import onnxruntime

    target = path.with_name(f"{path.name}.folded")
    options = onnxruntime.SessionOptions()
    # "Basic" holds for every machine; higher levels bring operators of ONNX Runtime's own.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    options.intra_op_num_threads = 1
    try:
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        model = onnx.load(target)
    finally:
        target.unlink(missing_ok=True)
    # It announces all domains that it knows of, used or not.
    used = [entry for entry in model.opset_import if entry.domain == ""]
    del model.opset_import[:]
    model.opset_import.extend(used)
    fold_pads(model)
    return model


def fold_pads(model: onnx.ModelProto) -> None:
    """Let convolutions add the zeros that a Pad before them adds, in place: PyTorch's know no uneven borders."""
    from onnx import helper, numpy_helper

    graph = model.graph
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    made = {node.output[0]: node for node in graph.node}
    for node in graph.node:
        pad = made.get(node.input[0]) if node.op_type == "Conv" else None
        if pad is None or pad.op_type != "Pad" or sum(pad.output[0] in other.input for other in graph.node) > 1:
            continue
        constant = any(a.name == "mode" and a.s != b"constant" for a in pad.attribute)
        filled = len(pad.input) > 2 and pad.input[2] and np.any(values.get(pad.input[2], np.ones(1)))
        added = values.get(pad.input[1])
        if constant or filled or added is None or added[[0, 1, 4, 5]].any():
            continue
        own = next((a for a in node.attribute if a.name == "pads"), None)
        before = list(own.ints) if own is not None else [0] * 4
        if own is not None:
            node.attribute.remove(own)
        node.attribute.append(helper.make_attribute("pads", [int(x) for x in before + added[[2, 3, 6, 7]]]))
        node.input[0] = pad.input[0]
        graph.node.remove(pad)
    used_names = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used_names]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def to_half(model: onnx.ModelProto) -> None:
    """Turn a :func:`folded` float32 graph into one that computes in float16, in place.

    Weights become float16; casts stand behind the inputs and before the outputs, which stay float32.

    Raises:
        ValueError: a weight does not fit into float16; it is named.
        onnx.shape_inference.InferenceError: types do not fit together, because the graph was not folded.
    """
    from onnx import TensorProto, helper, shape_inference

    graph = model.graph
    kept = {name for node in graph.node if node.op_type == "Resize" for name in node.input[1 : SCALES + 1] if name}
    for tensor in graph.initializer:
        if tensor.name not in kept:
            _halve(tensor)
    nodes = list(graph.node)
    for put in graph.input:
        _rename(nodes, put.name, f"{put.name}_half")
    for put in graph.output:
        _rename(nodes, put.name, f"{put.name}_half")
    before = [helper.make_node("Cast", [x.name], [f"{x.name}_half"], to=TensorProto.FLOAT16) for x in graph.input]
    after = [helper.make_node("Cast", [f"{x.name}_half"], [x.name], to=TensorProto.FLOAT) for x in graph.output]
    del graph.node[:]
    graph.node.extend([*before, *nodes, *after])
    # The types of inner tensors are noted there, and are others now.
    del graph.value_info[:]
    shape_inference.infer_shapes(model, check_type=True, strict_mode=True)


def _halve(tensor: onnx.TensorProto) -> None:
    from onnx import TensorProto, numpy_helper

    if tensor.data_type != TensorProto.FLOAT:
        return
    values = numpy_helper.to_array(tensor)
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    if np.isinf(half).any() and not np.isinf(values).any():
        raise ValueError(f"{tensor.name} reaches {np.abs(values).max():.3g}, more than float16 can hold")
    tensor.CopyFrom(numpy_helper.from_array(half, tensor.name))


def _rename(nodes: list[onnx.NodeProto], old: str, new: str) -> None:
    for node in nodes:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                if name == old:
                    names[i] = new
