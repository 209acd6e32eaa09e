# SPDX-License-Identifier: Apache-2.0
"""The memory attention's two shapes through every kernel at hand, beside each other: for ``--gpu-report``."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from robotseg_core.bench.gpu_timing import Timing, relative, timing
from robotseg_core.cuda.attention import TILINGS, attend_by, kernels

ROWS_CHECKED = 128


@dataclass(frozen=True)
class Shape:
    """An attention: parts, queries, keys, width of keys, width of values."""

    name: str
    parts: int
    queries: int
    keys: int
    width: int
    narrow: int

    @property
    def gflop(self) -> float:
        """Of the two products."""
        return 2e-9 * self.parts * self.queries * self.keys * (self.width + self.narrow)


@dataclass(frozen=True)
class Way:
    """One kernel on one shape; ``error`` relative to float64, ``reason`` where it cannot run."""

    shape: str
    kernel: str
    timing: Timing | None
    tflops: float | None
    error: float | None
    reason: str = ""


def _fused(backend: SDPBackend, padded: bool) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    def run(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        narrow = v.shape[-1]
        if padded:
            v = F.pad(v, (0, q.shape[-1] - narrow))
        with sdpa_kernel(backend):
            out = F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])
        return out[:, 0, :, :narrow]

    return run


def _written_out(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return ((q @ k.transpose(1, 2)) * q.shape[-1] ** -0.5).softmax(-1) @ v


def ways(shape: Shape, *, cuda: bool) -> Iterator[tuple[str, Callable[[Tensor, Tensor, Tensor], Tensor]]]:
    """Names and functions of all kernels."""
    yield "written out", _written_out
    pads = (False,) if shape.narrow == shape.width else (False, True)
    backends = {"flash": SDPBackend.FLASH_ATTENTION}
    if cuda:
        backends |= {"cuDNN": SDPBackend.CUDNN_ATTENTION, "memory-efficient": SDPBackend.EFFICIENT_ATTENTION}
    for name, backend in backends.items():
        for padded in pads:
            yield f"PyTorch {name}{', values padded' if padded else ''}", _fused(backend, padded)
    if cuda and kernels() is not None:
        for plan in TILINGS:
            yield f"ours {plan.label}", functools.partial(attend_by, mask=None, plan=plan)


@torch.inference_mode()
def compare(shape: Shape, device: torch.device, dtype: torch.dtype, count: int) -> Iterator[Way]:
    """Every kernel on noise, each checked against float64 on some rows."""
    generator = torch.Generator(device=device).manual_seed(5)

    def noise(*size: int) -> Tensor:
        return torch.randn(*size, device=device, generator=generator).to(dtype)

    q = noise(shape.parts, shape.queries, shape.width)
    k, v = noise(shape.parts, shape.keys, shape.width), noise(shape.parts, shape.keys, shape.narrow)
    some = slice(0, min(ROWS_CHECKED, shape.queries))
    want = _written_out(q[-1:, some].double(), k[-1:].double(), v[-1:].double())
    for name, function in ways(shape, cuda=device.type == "cuda"):
        try:
            error = relative(function(q, k, v)[-1:, some], want)
            took = timing(lambda function=function: function(q, k, v), device, count, warm_up=1)  # type: ignore[misc]
            yield Way(shape.name, name, took, shape.gflop / took.ms, error)
        except Exception as problem:
            yield Way(shape.name, name, None, None, None, f"{type(problem).__name__}: {problem}".splitlines()[0][:160])
