# SPDX-License-Identifier: Apache-2.0
"""The image encoder in ONNX Runtime on the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from robotseg_core.backends.onnx_files import cached_onnx
from robotseg_core.model.robotseg_model import Features, RobotSegModel


def session(graph: bytes, threads: int) -> Any:
    """An ONNX Runtime session on the CPU, of a graph that has been checked."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # A spinning pool would take the cores from what else runs for the frame.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


class OnnxEncoder:
    """ONNX Runtime on the CPU; the graph is exported once per set of weights into the user's cache folder."""

    name = "onnxruntime"
    max_batch: int | None = None

    def __init__(self, model: RobotSegModel, threads: int) -> None:
        self._session = session(cached_onnx(model), threads)
        self._input = self._session.get_inputs()[0].name

    def encode(self, image: Tensor) -> Features:
        """Encode frames [B, 3, S, S]."""
        outputs = self._session.run(None, {self._input: np.ascontiguousarray(image.numpy())})
        h4, h8, f16 = (torch.from_numpy(np.asarray(x)) for x in outputs)
        return Features(h4=h4, h8=h8, f16=f16)
