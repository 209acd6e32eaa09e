# SPDX-License-Identifier: Apache-2.0
"""The memory attention's two inner operations on CUDA: attention with narrow values, and the rotary code.

Operators ``robotseg::attend`` and ``robotseg::turn``: of :mod:`robotseg_core.cuda.kernels` where Triton works.  They
have no gradient, hence inference mode alone (training takes PyTorch's).
"""

from __future__ import annotations

import functools
import importlib
import logging
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

log = logging.getLogger(__name__)

HALF_TYPES = (torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class Tiling:
    """How :func:`attend_by` cuts its work: queries and keys of a block, warps, pipeline stages, copies by TMA."""

    rows: int = 128
    columns: int = 128
    warps: int = 8
    stages: int = 2
    tma: bool = False

    @property
    def label(self) -> str:
        """For tables."""
        return f"{self.rows}x{self.columns}, {self.warps} warps, {self.stages} stages{', TMA' if self.tma else ''}"


TILINGS = (
    Tiling(128, 128, 8, 2, tma=True),
    Tiling(128, 128, 8, 2),
    Tiling(128, 64, 8, 3, tma=True),
    Tiling(128, 64, 8, 3),
    Tiling(64, 64, 4, 2, tma=True),
    Tiling(256, 64, 8, 2, tma=True),
)
"""Those worth trying on a Hopper GPU; the others take what fits them (see :func:`tiling`)."""


@functools.lru_cache(1)
def kernels() -> Any:
    """The module of Triton kernels, or None where Triton is not installed (said in the log once)."""
    try:
        return importlib.import_module("robotseg_core.cuda.kernels")
    except Exception as error:
        log.warning("Triton cannot be used (%s); the memory attention runs in PyTorch's operators", error)
        return None


@functools.lru_cache(16)
def tiling(capability: tuple[int, int], width: int, narrow: int) -> Tiling:
    """The tiling for a GPU: chosen once, not by timing, so that the same frames give the same masks."""
    if capability[0] == 9 and width + narrow <= 320:
        return Tiling(128, 128, 8, 2)
    if width + narrow <= 96:
        return Tiling(128, 64, 4, 2)
    # 100 KB of shared memory, of consumer GPUs.
    return Tiling(64, 32, 4, 2)


def fits(q: Tensor, k: Tensor, v: Tensor) -> bool:
    """Whether the kernel takes this attention: half types on CUDA, widths of powers of two, and it works here."""
    widths = (q.shape[-1], v.shape[-1])
    return (
        q.dtype in HALF_TYPES
        and all(16 <= width <= 256 and width & (width - 1) == 0 for width in widths)
        and kernels() is not None
        and works(q.device, q.dtype, *widths)
    )


@functools.lru_cache(64)
def works(device: torch.device, dtype: torch.dtype, width: int, narrow: int) -> bool:
    """Whether the kernel gives on this device what attention in float64 gives; a failure is said in the log."""
    try:
        capability = torch.cuda.get_device_capability(device)
        if capability[0] < 8:
            raise RuntimeError(f"compute capability {capability[0]}.{capability[1]}, 8.0 or more is needed")
        q, k, v = (torch.randn(2, *s, device=device, dtype=dtype) for s in ((300, width), (700, width), (700, narrow)))
        mask = torch.zeros(2, 1, 700, device=device)
        mask[0, :, :350] = float("-inf")
        mask[1, :, ::2] = 1.5
        got = attend_by(q, k, v, mask, tiling(capability, width, narrow)).double()
        want = ((q.double() @ k.double().transpose(1, 2)) * width**-0.5 + mask).softmax(-1) @ v.double()
        error = float((got - want).norm() / want.norm())
        if not error < 2e-2:
            raise RuntimeError(f"it differs by {error:.2e} from float64")
    except Exception as error:
        log.warning("the attention kernel for widths %d and %d cannot be used (%s)", width, narrow, error)
        return False
    return True


def spans(batch: int, queries: int, keys: int, plan: Tiling, processors: int) -> int:
    """Into how many spans the keys are cut, so that blocks fill the multiprocessors for whole rounds."""
    blocks = batch * -(-queries // plan.rows)
    most = max(1, min(16, keys // (8 * plan.columns)))
    # Share of the last round that stands idle; fewer spans cost less to join.
    idle = [(-(blocks * n) % processors) / (blocks * n) for n in range(1, most + 1)]
    best = min(idle)
    return next(n for n, share in enumerate(idle, 1) if share <= best + 0.05)


def attend_by(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, plan: Tiling) -> Tensor:
    """``softmax(q k^T / sqrt(width) + mask) v`` by the kernel with a given tiling; shapes as of :func:`attend`."""
    code = kernels()
    import triton

    batch, queries, keys, width, narrow = k.shape[0], q.shape[1], k.shape[1], q.shape[2], v.shape[2]
    q, v = q.contiguous(), v.contiguous()
    if k.stride()[1:] != (width, 1):
        k = k.contiguous()
    processors = torch.cuda.get_device_properties(q.device).multi_processor_count if q.is_cuda else 2
    split = spans(batch, queries, keys, plan, processors)
    tiles = triton.cdiv(triton.cdiv(keys, split), plan.columns)
    split = triton.cdiv(keys, tiles * plan.columns)
    part = q.new_empty((batch, split, queries, narrow), dtype=torch.float32)
    peak, total = (q.new_empty((batch, split, queries), dtype=torch.float32) for _ in range(2))
    out = v.new_empty((batch, queries, narrow))
    # Base 2 in the kernel.
    bias = None if mask is None else mask.reshape(batch, keys).float() * math.log2(math.e)
    scale = width**-0.5 * math.log2(math.e)
    q_batch = 0 if q.shape[0] == 1 else q.stride(0)
    grid = (triton.cdiv(queries, plan.rows), split, batch)
    constants = {
        "BIAS": bias is not None,
        "SPLIT": split,
        "TILES": tiles,
        "ROWS": plan.rows,
        "COLUMNS": plan.columns,
        "WIDTH": width,
        "NARROW": narrow,
        "num_warps": plan.warps,
        "num_stages": plan.stages,
    }
    given = part if bias is None else bias
    steps = (queries, keys, scale)
    if plan.tma:
        from triton.tools.tensor_descriptor import TensorDescriptor

        # Rows that lie between two parts' keys are other keys or zeros; their scores are dead.
        k_rows = k.stride(0) // width if batch > 1 else keys
        table = k.as_strided(((batch - 1) * k_rows + keys, width), (width, 1))
        k_tiles = TensorDescriptor.from_tensor(table, [plan.columns, width])
        v_tiles = TensorDescriptor.from_tensor(v.view(-1, narrow), [plan.columns, narrow])
        code.attend_spans_tma[grid](
            q, k_tiles, v_tiles, given, part, peak, total, q_batch, keys, k_rows, keys, *steps, **constants
        )
    else:
        code.attend_spans[grid](
            q, k, v, given, part, peak, total, q_batch, k.stride(0), v.stride(0), keys, *steps, **constants
        )
    few = 16
    code.join_spans[(triton.cdiv(queries, few), batch)](
        part, peak, total, out, queries, SPLIT=split, ROWS=few, NARROW=narrow, num_warps=4
    )
    return out


def fused(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """The same attention, of the same shapes as :func:`attend`, by PyTorch's own fused operator."""
    q = q.expand(k.shape[0], -1, -1)
    bias = None if mask is None else mask.to(q.dtype)[:, None].expand(-1, -1, q.shape[1], -1)
    return F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None], attn_mask=bias)[:, 0]


@torch.library.custom_op(
    "robotseg::attend", mutates_args=(), schema="(Tensor q, Tensor k, Tensor v, Tensor? mask) -> Tensor"
)
def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """``softmax(q k^T / sqrt(width) + mask) v``: q [1 or B, N, e], k [B, L, e], v [B, L, m] -> [B, N, m].

    ``mask`` [B, 1, L] is added to the scores, or None; a part whose keys are all masked gets no number.  Where values
    are as wide as keys and all keys count, as in base's self-attention, PyTorch's own kernels are made for it.
    """
    ordinary = mask is None and q.shape[-1] == v.shape[-1]
    if ordinary or not fits(q, k, v):
        return fused(q, k, v, mask).contiguous()
    return attend_by(q, k, v, mask, tiling(torch.cuda.get_device_capability(q.device), q.shape[-1], v.shape[-1]))


@attend.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    return v.new_empty((k.shape[0], q.shape[1], v.shape[2]))


@torch.library.custom_op("robotseg::turn", mutates_args=(), schema="(Tensor x, Tensor cos, Tensor sin) -> Tensor")
def turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Pairs (2c, 2c + 1) of x [..., n, width] turned by the float32 tables [n, width / 2]; of the type of x."""
    width = x.shape[-1]
    if kernels() is None or not x.is_cuda or width < 32 or width & (width - 1):
        re, im = x.unflatten(-1, (-1, 2)).unbind(-1)
        return torch.stack([re * cos - im * sin, re * sin + im * cos], -1).flatten(-2).to(x.dtype)
    x = x.contiguous()
    out = torch.empty_like(x)
    rows, block = x.numel() // width, 16
    kernels().turn_pairs[(-(-rows // block),)](
        x, cos, sin, out, rows, cos.shape[0], ROWS=block, HALF=width // 2, num_warps=4
    )
    return out


@turn.register_fake
def _(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    return torch.empty(x.shape, dtype=x.dtype, device=x.device)


def takes(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether these operators are meant for such tensors: half types on CUDA, in inference."""
    if device.type != "cuda" or dtype not in HALF_TYPES:
        return False
    # The compiler cannot ask for the mode; only inference is compiled.
    return torch.compiler.is_compiling() or torch.is_inference_mode_enabled()
