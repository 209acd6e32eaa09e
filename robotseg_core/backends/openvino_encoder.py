# SPDX-License-Identifier: Apache-2.0
"""Graphs in OpenVINO on the CPU, where it is installed: products in 8 bits or bfloat16 on processors that have them."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robotseg_core.backends.onnx_files import cached_onnx
from robotseg_core.model.robotseg_model import Features, RobotSegModel

PROFILED_RUNS = 3
"""Runs of which the last one's times count."""
INNER = {"fp32": "f32", "bf16": "bf16"}
"""What OpenVINO calls the types of products."""


def loop_precision(precision: str) -> str:
    """Type of the products after the encoder: bfloat16 beside an encoder in 8 bits where the processor has it."""
    if precision != "int8":
        return precision
    known = torch.cpu.get_capabilities()
    return "bf16" if known.get("amx_bf16") or known.get("avx512_bf16") else "fp32"


class OpenVinoSession:
    """A compiled graph with the interface of ONNX Runtime's sessions; threads may share it.

    Args:
        onnx: the graph; a batch of free size becomes 1.
        threads: that it may use.
        precision: of products of float32 tensors, a key of :data:`INNER`.

    Raises:
        ImportError: OpenVINO is not installed.
    """

    def __init__(self, onnx: bytes, threads: int, precision: str) -> None:
        import openvino

        core = openvino.Core()
        graph = core.read_model(onnx)
        for put in graph.inputs:
            shape = put.partial_shape
            if shape.is_dynamic:
                graph.reshape({put: [1, *(int(axis.get_length()) for axis in list(shape)[1:])]})
        settings = {
            "INFERENCE_PRECISION_HINT": INNER[precision],
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            # Other threads of the node need the cores as well.
            "ENABLE_CPU_PINNING": False,
        }
        if threads == 1:
            # Its fused attention crashes while it is compiled for one thread (2026.4).
            settings["SNIPPETS_MODE"] = "DISABLE"
        self._profiled = lambda: core.compile_model(graph, "CPU", settings | {"PERF_COUNT": "YES"})
        self._compiled = core.compile_model(graph, "CPU", settings)
        self._request = self._compiled.create_infer_request()
        self._inputs = {put.get_any_name() for put in graph.inputs}
        self._lock = threading.Lock()

    @property
    def inputs(self) -> set[str]:
        """Names of the inputs that the graph uses."""
        return self._inputs

    def run(self, inputs: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """All outputs in the graph's order, which are the caller's."""
        with self._lock:
            results = self._request.infer(inputs, share_inputs=True, share_outputs=True)
            return [np.array(results[i]) for i in range(len(self._compiled.outputs))]

    def profile(self, inputs: dict[str, NDArray[Any]]) -> list[tuple[str, float]]:
        """See :class:`robotseg_core.backends.encoder.Graph`."""
        request = self._profiled().create_infer_request()
        for _ in range(PROFILED_RUNS):
            request.infer(inputs)
        return [(one.node_name, one.real_time.total_seconds()) for one in request.get_profiling_info()]


class OpenVinoEncoder:
    """The image encoder in OpenVINO; frames of several cameras go through it one after the other."""

    name = "openvino"
    max_batch: int | None = None

    def __init__(self, model: RobotSegModel, threads: int, precision: str = "fp32") -> None:
        graph = cached_onnx(model, "int8" if precision == "int8" else "fp32")
        # Beside 8 bits float32: the filters that are not rounded take differences, of which bfloat16 leaves little.
        self._session = OpenVinoSession(graph, threads, "fp32" if precision == "int8" else precision)

    def encode(self, image: Tensor) -> Features:
        """Encode frames [B, 3, S, S]."""
        rows = [self._session.run({"image": np.ascontiguousarray(one.numpy())}) for one in image.split(1)]
        h4, h8, f16 = (torch.from_numpy(np.concatenate(maps)) for maps in zip(*rows, strict=True))
        return Features(h4=h4, h8=h8, f16=f16)
