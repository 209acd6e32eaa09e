# SPDX-License-Identifier: Apache-2.0
"""The image encoder behind one small interface, and the graph that every backend runs."""

from __future__ import annotations

import copy
from typing import Any, Protocol

from numpy.typing import NDArray
from torch import Tensor, nn

from robotseg_core.model.image_encoder_nano import fold_batch_norm
from robotseg_core.model.robotseg_model import Features, RobotSegModel

BACKENDS = ("auto", "torch", "onnxruntime", "openvino", "tensorrt")
LEAST_SIZE, LARGEST_SIZE = 64, 2048
"""Sides of the model's square input, pixels."""


class Graph(Protocol):
    """An exported graph, ready to run on the CPU."""

    @property
    def inputs(self) -> set[str]:
        """Names of its inputs."""
        ...

    def run(self, inputs: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """All outputs in the graph's order, which are the caller's; threads may share a graph."""
        ...

    def profile(self, inputs: dict[str, NDArray[Any]]) -> list[tuple[str, float]]:
        """(name, time) of each operator of one run, in the order in which they ran."""
        ...


class EncoderBackend(Protocol):
    """Normalised images [B, 3, S, S] float32 -> :class:`Features` of B frames.

    Attributes:
        name: one of :data:`BACKENDS`.
        max_batch: largest B; None: any.
    """

    name: str
    max_batch: int | None

    def encode(self, image: Tensor) -> Features:
        """Encode B frames at once; each gets what it would get alone, but for roundings."""
        ...


class EncoderGraph(nn.Module):
    """Encoder and conv_s0 / conv_s1 as one graph with folded norms, for export and for eager use."""

    def __init__(self, model: RobotSegModel) -> None:
        super().__init__()
        self.image_encoder = fold_batch_norm(copy.deepcopy(model.image_encoder).eval())
        self.conv_s0 = copy.deepcopy(model.sam_mask_decoder.conv_s0)
        self.conv_s1 = copy.deepcopy(model.sam_mask_decoder.conv_s1)
        self.requires_grad_(False)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Normalised images [B, 3, S, S] -> (H4, H8, F16)."""
        f4, f8, f16 = self.image_encoder(image)
        return self.conv_s0(f4), self.conv_s1(f8), f16
