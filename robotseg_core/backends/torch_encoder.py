# SPDX-License-Identifier: Apache-2.0
"""The image encoder in eager PyTorch on any device."""

from __future__ import annotations

import torch
from torch import Tensor

from robotseg_core.backends.encoder import EncoderGraph
from robotseg_core.model.robotseg_model import Features, RobotSegModel


class TorchEncoder:
    """Eager PyTorch on any device."""

    name = "torch"
    max_batch: int | None = None

    def __init__(self, model: RobotSegModel, device: torch.device) -> None:
        self._graph = EncoderGraph(model).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def encode(self, image: Tensor) -> Features:
        """Encode frames [B, 3, S, S]."""
        h4, h8, f16 = self._graph(image.contiguous(memory_format=torch.channels_last))
        return Features(h4=h4, h8=h8, f16=f16)
