# SPDX-License-Identifier: Apache-2.0
"""Times and ceilings of a device: events around the work, medians of two runs, what its units reach at best."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Timing:
    """Median milliseconds of one call: of all of them, and of each of two runs, whose distance is the spread."""

    ms: float
    runs: tuple[float, float]

    def __str__(self) -> str:
        return f"{self.ms:.3f} ms ({min(self.runs):.3f} to {max(self.runs):.3f})"


def wait(device: torch.device) -> None:
    """Until the device has done all that was queued."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def samples(call: Callable[[], object], device: torch.device, count: int) -> list[float]:
    """Milliseconds of ``count`` calls one after the other: on CUDA by events, the host waits at the end alone."""
    if device.type != "cuda":
        times = []
        for _ in range(count):
            began = time.perf_counter()
            call()
            times.append(1e3 * (time.perf_counter() - began))
        return times
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(count + 1)]
    wait(device)
    marks[0].record()
    for mark in marks[1:]:
        call()
        mark.record()
    wait(device)
    return [a.elapsed_time(b) for a, b in zip(marks[:-1], marks[1:], strict=True)]


def timing(call: Callable[[], object], device: torch.device, count: int, *, warm_up: int = 3) -> Timing:
    """Two runs of ``count`` calls after ``warm_up`` others; of fewer calls where a run would take over a second."""
    for _ in range(warm_up):
        call()
    count = max(3, min(count, int(1000 / max(samples(call, device, 1)[0], 1e-3))))
    runs = [samples(call, device, count) for _ in range(2)]
    medians = [float(np.median(run)) for run in runs]
    return Timing(float(np.median(runs)), (medians[0], medians[1]))


@dataclass(frozen=True)
class Ceilings:
    """What the device reached in this run: TFLOP/s of a large matrix product by type, TB/s of a large copy."""

    tflops: dict[str, float]
    copy_tbs: float

    def floor_ms(self, gflop: float, gbyte: float, kind: str) -> float:
        """The least time for so many operations and so many bytes, whichever takes longer."""
        return max(gflop / self.tflops[kind], gbyte / self.copy_tbs)


def ceilings(device: torch.device, side: int, copied: int) -> Ceilings:
    """Products of ``side`` x ``side`` matrices of noise, a copy of ``copied`` bytes (read and written count)."""
    kinds = {"bf16": torch.bfloat16, "fp16": torch.float16, "tf32": torch.float32, "fp32": torch.float32}
    before, rates = torch.backends.cuda.matmul.allow_tf32, {}
    try:
        for kind, dtype in kinds.items():
            if kind != "bf16" and device.type == "cpu" and kind != "fp32":
                continue
            torch.backends.cuda.matmul.allow_tf32 = kind == "tf32"
            n = side if kind != "fp32" else side // 2
            a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
            took = timing(lambda a=a, b=b: a @ b, device, 10)  # type: ignore[misc]
            rates[kind] = 2 * n**3 / took.ms / 1e9
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
    source = torch.randn(copied // 4, device=device)
    target = torch.empty_like(source)
    took = timing(lambda: target.copy_(source), device, 10)
    return Ceilings(rates, 2 * copied / took.ms / 1e9)


def peak_gbyte(device: torch.device, work: Callable[[], object]) -> float | None:
    """Most memory that PyTorch held on the device during ``work``, GB; None where it cannot be known."""
    if device.type != "cuda":
        work()
        return None
    torch.cuda.reset_peak_memory_stats(device)
    work()
    wait(device)
    return torch.cuda.max_memory_allocated(device) / 1e9


def relative(a: Tensor, b: Tensor) -> float:
    """``|a - b| / |b|``."""
    return float((a.double() - b.double()).norm() / b.double().norm())
