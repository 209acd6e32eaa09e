# SPDX-License-Identifier: Apache-2.0
"""Depthwise convolutions of nano's trunk with both ReLU6 around them, for training on a CPU.

Shape glossary: B maps, C channels (a multiple of 16), H x W cells in, H' x W' out, K = 3 or 5.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robotseg_core.model.image_encoder_nano import InvertedResidual

SOURCE = Path(__file__).with_name("depthwise.cpp")
FLAGS = ("-O3", "-march=native", "-std=c++17", "-shared", "-fPIC", "-Wno-psabi")
LANES = 16


class Shape(ctypes.Structure):
    """Sizes of a call, as the C++ side has them."""

    _fields_ = [(name, ctypes.c_int) for name in ("n", "h", "w", "c", "oh", "ow", "stride", "pad")]


@cache
def library() -> ctypes.CDLL | None:
    """The built functions; None without a compiler.  Built once for each source and machine, into the user's cache."""
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        return None
    flags = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")][:1]
    key = hashlib.sha256(SOURCE.read_bytes() + repr((FLAGS, flags)).encode()).hexdigest()[:16]
    folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "robotseg"
    path = folder / f"depthwise-{key}.so"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.part")
        done = subprocess.run([compiler, *FLAGS, str(SOURCE), "-o", str(partial)], capture_output=True, text=True)
        if done.returncode:
            return None
        partial.replace(path)
    return ctypes.CDLL(str(path))


def _address(x: Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(x.data_ptr())


class Depthwise(torch.autograd.Function):
    """``relu6(depthwise(relu6(x)) + bias)``: x [B, C, H, W] float32 or bfloat16, weight [C, 1, K, K] float32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, stride: int, before: int, after: int) -> Tensor:
        """-> [B, C, H', W'] of x's type."""
        functions = library()
        assert functions is not None
        x = x.contiguous(memory_format=torch.channels_last)
        kernel = weight.shape[-1]
        batch, channels, height, width = x.shape
        out_height = (height + before + after - kernel) // stride + 1
        out_width = (width + before + after - kernel) // stride + 1
        taps = weight.detach().float().flatten(1).t().contiguous()
        out = torch.empty((batch, channels, out_height, out_width), dtype=x.dtype, memory_format=torch.channels_last)
        shape = Shape(batch, height, width, channels, out_height, out_width, stride, before)
        half = int(x.dtype == torch.bfloat16)
        functions.depthwise_forward(
            half,
            kernel,
            shape,
            _address(x),
            _address(taps),
            _address(bias.detach().float().contiguous()),
            _address(out),
        )
        ctx.save_for_backward(x, taps, out)
        ctx.shape, ctx.kernel = shape, kernel
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, weight, bias."""
        functions = library()
        assert functions is not None
        x, taps, out = ctx.saved_tensors
        grad = grads[0].to(x.dtype).contiguous(memory_format=torch.channels_last)
        grad_x, grad_taps = torch.empty_like(x), torch.zeros_like(taps)
        grad_bias = torch.zeros(x.shape[1])
        half = int(x.dtype == torch.bfloat16)
        functions.depthwise_backward(
            half, ctx.kernel, ctx.shape, *(_address(t) for t in (x, taps, out, grad, grad_x, grad_taps, grad_bias))
        )
        side = ctx.kernel
        return grad_x, grad_taps.t().reshape(-1, 1, side, side), grad_bias, None, None, None


def faster_block(self: InvertedResidual, x: Tensor) -> Tensor:
    """:meth:`InvertedResidual.forward` with the functions above where a gradient is wanted."""
    y = x if self.expand is None else self.expand(x)
    kernel, stride = self.kernel, self.stride
    before, after = ((kernel - 2) // 2, (kernel - 1) // 2) if stride == 2 else (kernel // 2, kernel // 2)
    weight, bias = self.depthwise.weight, self.depthwise.bias
    assert bias is not None
    y = self.project(Depthwise.apply(y, weight, bias, stride, before, after))
    return x + y if self.residual else y


def use_fast_depthwise(model: nn.Module) -> int:
    """Let all blocks of nano's trunk in ``model`` use them -> how many do: 0 without a compiler.

    For training on a CPU only: such a model cannot be exported.
    """
    if library() is None:
        return 0
    blocks = [m for m in model.modules() if isinstance(m, InvertedResidual) and m.depthwise.out_channels % LANES == 0]
    for block in blocks:
        block.forward = faster_block.__get__(block)  # type: ignore[method-assign]
    return len(blocks)
