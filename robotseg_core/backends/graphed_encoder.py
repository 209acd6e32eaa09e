# SPDX-License-Identifier: Apache-2.0
"""The image encoder as a CUDA graph."""

from __future__ import annotations

import logging
import threading

import torch
from torch import Tensor

from robotseg_core.backends.encoder import EncoderBackend, EncoderGraph
from robotseg_core.backends.torch_encoder import TorchEncoder
from robotseg_core.cuda.recording import Recording, autocast, difference, tensor_cores, with_products_in
from robotseg_core.model.robotseg_model import Features, RobotSegModel

log = logging.getLogger(__name__)

TOLERANCE = {None: 1e-3, torch.float16: 1e-2, torch.bfloat16: 3e-2}
"""Largest relative difference from the same products one by one, by their type."""


class GraphedEncoder:
    """PyTorch's operators in channels-last, recorded for one frame; other numbers of frames run one by one.

    Args:
        model: whose encoder runs.
        device: of the model.
        dtype: of products; None is float32.
        compiled: through ``torch.compile`` before it is recorded, which takes a minute.

    Raises:
        RuntimeError: it cannot be recorded, or gives another answer than operator by operator.
    """

    name = "torch"
    max_batch: int | None = None

    @torch.inference_mode()
    def __init__(
        self, model: RobotSegModel, device: torch.device, dtype: torch.dtype | None, *, compiled: bool = False
    ) -> None:
        size = model.config.image_size
        self._device, self._dtype = device, dtype
        graph = with_products_in(EncoderGraph(model), dtype).to(device)
        self._graph = graph.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if compiled:
            self._graph.compile(dynamic=False)
        self._image = torch.randn(1, 3, size, size, device=device).contiguous(memory_format=torch.channels_last)
        self._lock = threading.Lock()
        with tensor_cores(dtype is not None):
            self._recording = Recording(lambda: self._run(self._image), device)
        self._check(model)

    def _run(self, image: Tensor) -> tuple[Tensor, ...]:
        with autocast(self._device, self._dtype):
            maps: tuple[Tensor, ...] = self._graph(image)
        return tuple(x.float() for x in maps)

    def _check(self, model: RobotSegModel) -> None:
        plain = TorchEncoder(model, self._device)
        with autocast(self._device, self._dtype):
            want = plain.encode(self._image)
        for name, got in zip(("h4", "h8", "f16"), self._recording(), strict=True):
            error = difference(got, getattr(want, name))
            if not error <= TOLERANCE[self._dtype]:
                raise RuntimeError(f"the recorded encoder's {name} differs by {error:.2e} from PyTorch's")

    def encode(self, image: Tensor) -> Features:
        """Encode frames [B, 3, S, S] -> float32 features of their own storage."""
        if image.shape[0] != 1:
            return Features(*self._run(image.contiguous(memory_format=torch.channels_last)))
        with self._lock:
            self._image.copy_(image)
            return Features(*(x.clone() for x in self._recording()))


def graphed_or_plain(
    model: RobotSegModel, device: torch.device, dtype: torch.dtype | None, wanted: str = "auto"
) -> EncoderBackend:
    """The encoder as a graph where that works, else operator by operator, said in the log.

    ``wanted``: ``graphs`` or ``compiled`` raise where it does not work.
    """
    try:
        return GraphedEncoder(model, device, dtype, compiled=wanted == "compiled")
    except Exception as error:
        if wanted != "auto":
            raise
        log.warning("the encoder cannot be recorded as a CUDA graph (%s); PyTorch runs it operator by operator", error)
        return TorchEncoder(model, device)
