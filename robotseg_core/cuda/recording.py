# SPDX-License-Identifier: Apache-2.0
"""Functions recorded as CUDA graphs: hundreds of small kernels cost one call instead of one each.

What is recorded must not wait for the device, must not copy from the host's memory, and reads and writes at the same
addresses at every replay: inputs are copied into tensors that stay, outputs are overwritten by the next replay.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

WARM_UP = 2
"""Calls before a recording: libraries choose their algorithms, kernels are compiled, constants are made."""


class Recording:
    """``function`` on CUDA as a graph, elsewhere as it is.

    Args:
        function: takes nothing, gives tensors; called :data:`WARM_UP` times before it is recorded.
        device: where it works.
        before: a recording that always runs before this one, whose pool of memory it shares.
    """

    def __init__(
        self, function: Callable[[], tuple[Tensor, ...]], device: torch.device, *, before: Recording | None = None
    ) -> None:
        self._function = function
        self._graph: torch.cuda.CUDAGraph | None = None
        self.outputs: tuple[Tensor, ...] = ()
        if device.type != "cuda":
            return
        with torch.cuda.device(device):
            here, side = torch.cuda.current_stream(), torch.cuda.Stream()
            side.wait_stream(here)
            with torch.cuda.stream(side):
                for _ in range(WARM_UP):
                    function()
            here.wait_stream(side)
            self._graph = torch.cuda.CUDAGraph()
            pool = before._graph.pool() if before is not None and before._graph is not None else None
            # Other threads may go on using CUDA meanwhile.
            with torch.cuda.graph(self._graph, pool=pool, capture_error_mode="thread_local"):
                self.outputs = function()

    def __call__(self) -> tuple[Tensor, ...]:
        """Run it; on CUDA the outputs are those of every call, overwritten."""
        if self._graph is None:
            self.outputs = self._function()
        else:
            self._graph.replay()
        return self.outputs


@contextlib.contextmanager
def tensor_cores(wanted: bool) -> Iterator[None]:
    """Within it float32 products may run as TF32 (10 bits instead of 23); a graph keeps what it was recorded with."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = wanted or before
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def with_products_in(module: nn.Module, dtype: torch.dtype | None) -> nn.Module:
    """A copy whose linear layers and convolutions hold ``dtype``: autocast casts no weights then.  None: the same."""
    if dtype is None:
        return module
    made = copy.deepcopy(module)
    for layer in made.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            for name, weight in list(layer.named_parameters(recurse=False)):
                setattr(layer, name, nn.Parameter(weight.to(dtype), requires_grad=False))
    return made


def autocast(device: torch.device, dtype: torch.dtype | None) -> contextlib.AbstractContextManager[object]:
    """Products in ``dtype``; nothing is kept from one call to the next, as a recording needs it."""
    return torch.autocast(device.type, dtype, cache_enabled=False) if dtype else contextlib.nullcontext()


def difference(a: Tensor, b: Tensor) -> float:
    """``|a - b| / |b|``; NaN where one of them is not finite.  Waits for the device."""
    a, b = a.double(), b.double()
    return float((a - b).norm() / b.norm().clamp(min=1e-30))
