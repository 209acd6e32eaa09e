# SPDX-License-Identifier: Apache-2.0
"""The image encoder in ONNX Runtime on the CPU."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robotseg_core.backends.onnx_files import cached_onnx
from robotseg_core.model.robotseg_model import Features, RobotSegModel

PROFILED_RUNS = 3
"""Runs of which the last one's times count."""
_DENORMAL = np.float32(1e-40)
SLOW_FUSIONS = ["SkipLayerNormFusion"]
"""Optimizers that are left out: the operator that this one makes takes five times as long as what it replaces."""


@contextlib.contextmanager
def flushing_denormals() -> Iterator[None]:
    """Within it, this thread takes numbers below 1e-38 for 0; afterwards as before.

    Attention is full of such weights, and processors multiply them a hundred times slower than others.
    """
    # A product that is 0 only where they are flushed already.
    already = not _DENORMAL * np.float32(1)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(already)


def session(graph: bytes, threads: int, profile: Path | None = None) -> Any:
    """An ONNX Runtime session on the CPU, of a graph that has been checked.

    ``profile`` is how the name of a file with its times begins, if they are wanted.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    if profile is not None:
        options.enable_profiling, options.profile_file_prefix = True, str(profile)
    options.intra_op_num_threads = threads
    # A spinning pool would take the cores from what else runs for the frame.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # In the pool; for the thread that calls see flushing_denormals().
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    with flushing_denormals():
        return onnxruntime.InferenceSession(
            graph, options, providers=["CPUExecutionProvider"], disabled_optimizers=SLOW_FUSIONS
        )


class OnnxGraph:
    """A graph in ONNX Runtime on the CPU: see :class:`robotseg_core.backends.encoder.Graph`."""

    def __init__(self, graph: bytes, threads: int) -> None:
        self._graph, self._threads = graph, threads
        self._session = session(graph, threads)
        self.inputs = {put.name for put in self._session.get_inputs()}

    def run(self, inputs: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """See :class:`robotseg_core.backends.encoder.Graph`."""
        with flushing_denormals():
            return [np.asarray(x) for x in self._session.run(None, inputs)]

    def profile(self, inputs: dict[str, NDArray[Any]]) -> list[tuple[str, float]]:
        """See :class:`robotseg_core.backends.encoder.Graph`."""
        with tempfile.TemporaryDirectory(prefix="robotseg_") as folder:
            watched = session(self._graph, self._threads, Path(folder) / "profile")
            with flushing_denormals():
                for _ in range(PROFILED_RUNS):
                    watched.run(None, inputs)
            events = json.loads(Path(watched.end_profiling()).read_text())
        operators = [event for event in events if event.get("cat") == "Node" and "kernel_time" in event["name"]]
        last = operators[-(len(operators) // PROFILED_RUNS) :]
        return [(event["name"].removesuffix("_kernel_time"), float(event["dur"])) for event in last]


class OnnxEncoder:
    """ONNX Runtime on the CPU; the graph is made once per set of weights into the user's cache folder.

    Args:
        model: whose encoder runs.
        threads: that it may use.
        precision: ``fp32`` or ``int8``; the graph of int8 is calibrated on the shipped frames, unless
            ``robotseg quantize`` has put one there.
    """

    name = "onnxruntime"
    max_batch: int | None = None

    def __init__(self, model: RobotSegModel, threads: int, precision: str = "fp32") -> None:
        self._graph = OnnxGraph(cached_onnx(model, precision), threads)

    def encode(self, image: Tensor) -> Features:
        """Encode frames [B, 3, S, S]."""
        h4, h8, f16 = (torch.from_numpy(x) for x in self._graph.run({"image": np.ascontiguousarray(image.numpy())}))
        return Features(h4=h4, h8=h8, f16=f16)
