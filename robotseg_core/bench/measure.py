# SPDX-License-Identifier: Apache-2.0
"""Measuring a stream: frames to step it through, times of its stages, and on what machine they were taken."""

from __future__ import annotations

import dataclasses
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, fields

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from robotseg_core.stream.policy import NEVER, POLICIES, StreamPolicy
from robotseg_core.stream.robotseg import RobotSeg
from robotseg_core.stream.stream import Stream
from robotseg_core.types import PARTS, StageTimes

STAGES = [f.name for f in fields(StageTimes)]


FULL = StreamPolicy(lost_after=NEVER, refresh_after=0)
"""A memory that is never dropped and takes every frame: a stream that sees no robot would skip half of its stages."""


def hardware() -> str:
    """Processor, usable cores and GPU of this machine."""
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as file:
            name = next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{name}, {len(os.sched_getaffinity(0))} cores{gpu}"


def rate(multiply: Callable[[torch.Tensor, torch.Tensor], object]) -> float:
    """Rate of a 1024 x 1024 float32 matrix product on the CPU, GFLOP/s: a scale to compare machines by."""
    a = torch.randn(1024, 1024)
    times = []
    for _ in range(20):
        began = time.perf_counter()
        multiply(a, a)
        times.append(time.perf_counter() - began)
    return 2 * 1024**3 / float(np.median(times)) / 1e9


def versions() -> str:
    """Versions that decide the speed."""
    import onnxruntime

    names = {
        "Python": platform.python_version(),
        "torch": torch.__version__,
        "onnxruntime": onnxruntime.__version__,
        "OpenCV": cv2.__version__,
    }
    return ", ".join(f"{name} {version}" for name, version in names.items())


def pictures(width: int, height: int) -> list[NDArray[np.uint8]]:
    """Frames [height, width, 3] uint8 of smooth noise that moves.

    Over a full memory the cost of a frame does not depend on what it shows.
    """
    coarse = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    noise = np.asarray(cv2.resize(coarse, (2 * width, height)), np.uint8)
    return [np.ascontiguousarray(noise[:, 8 * i : 8 * i + width]) for i in range(min(16, width // 8))]


@dataclass(frozen=True)
class Times:
    """Milliseconds, [frames, stages + 1]: each stage, then the whole step."""

    rows: NDArray[np.float64]

    @property
    def step(self) -> float:
        """Median of the whole step, ms."""
        return float(np.median(self.rows[:, -1]))


def measure(stream: Stream, frames: list[NDArray[np.uint8]], count: int, *, warm_up: int = 1) -> Times:
    """Step ``stream`` through ``count`` frames after ``warm_up`` others."""
    rows = []
    for i in tqdm(range(warm_up + count), unit="frame", desc=stream.robotseg.preset, leave=False, disable=None):
        began = time.perf_counter()
        times = stream.step(frames[i % len(frames)], i).stage_ms
        if i >= warm_up:
            rows.append([*(getattr(times, s) for s in STAGES), 1e3 * (time.perf_counter() - began)])
    return Times(np.array(rows))


def full(robotseg: RobotSeg, parts: tuple[str, ...] = PARTS, frames: int = 0) -> Stream:
    """A stream with a full memory that is never dropped, else as the preset's policy says."""
    policy = POLICIES.get(robotseg.preset, StreamPolicy())
    kept = dataclasses.replace(policy, lost_after=FULL.lost_after, refresh_after=FULL.refresh_after)
    stream = robotseg.stream(kept, parts=parts)
    stream.fill_memory(frames)
    return stream
