# SPDX-License-Identifier: Apache-2.0
"""``robotseg bench``: what a frame costs, stage by stage, on this machine."""

from __future__ import annotations

import argparse
import os
import platform
import time
from dataclasses import fields

import cv2
import numpy as np
import torch
from tqdm import tqdm

from robotseg_core.segment import add_model_arguments, load_model
from robotseg_core.stream import MAX_SIDE, StreamPolicy
from robotseg_core.types import StageTimes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``robotseg bench``."""
    parser.add_argument("--frames", type=int, default=200, help="measured frames (default 200)")
    parser.add_argument("--size", default="640x480", help="frame size WxH (default 640x480)")
    add_model_arguments(parser)


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


def matmul_rate() -> float:
    """Rate of a 1024 x 1024 float32 matrix product on the CPU, GFLOP/s: a scale to compare machines by."""
    a = torch.randn(1024, 1024)
    times = []
    for _ in range(20):
        began = time.perf_counter()
        torch.mm(a, a)
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


def run(arguments: argparse.Namespace) -> int:
    """Print median and p95 of every stage, and the cost of late frames over early ones."""
    try:
        width, height = (int(x) for x in arguments.size.lower().split("x"))
    except ValueError:
        raise ValueError(f"--size is {arguments.size!r}, must be WIDTHxHEIGHT, e.g. 640x480") from None
    if not (16 <= width <= MAX_SIDE and 16 <= height <= MAX_SIDE):
        raise ValueError(f"--size is {arguments.size!r}, each side must be 16 to {MAX_SIDE} pixels")
    if arguments.frames < 20:
        raise ValueError(f"--frames is {arguments.frames}, must be at least 20")
    robotseg = load_model(arguments)
    # Smooth noise that moves, over a full memory that is never dropped: with it the cost of a frame does not depend
    # on what it shows, without it a stream that sees no robot would skip half of its stages.
    stream = robotseg.stream(StreamPolicy(lost_after=1 << 40, refresh_after=0))
    stream.fill_memory()
    coarse = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    noise = np.asarray(cv2.resize(coarse, (2 * width, height)), np.uint8)
    frames = [np.ascontiguousarray(noise[:, 8 * i : 8 * i + width]) for i in range(min(16, width // 8))]
    warm_up = 10
    stages = [f.name for f in fields(StageTimes)]
    rows = []
    for i in tqdm(range(warm_up + arguments.frames), unit="frame", desc=robotseg.preset):
        began = time.perf_counter()
        times = stream.step(frames[i % len(frames)], i).stage_ms
        if i >= warm_up:
            rows.append([*(getattr(times, s) for s in stages), 1e3 * (time.perf_counter() - began)])
    table = np.array(rows)
    print(f"{hardware()}\n{versions()}\nsgemm {matmul_rate():.0f} GFLOP/s in this run")
    print(f"{robotseg.preset} on {robotseg.device}, encoder {robotseg.backend}, frames {width}x{height}, 3 parts\n")
    print(f"{'stage':18}{'median ms':>10}{'p95 ms':>10}")
    for name, column in zip([*stages, "whole step"], table.T, strict=True):
        print(f"{name:18}{np.median(column):10.2f}{np.percentile(column, 95):10.2f}")
    tenth = max(1, len(table) // 10)
    ratio = np.median(table[-tenth:, -1]) / np.median(table[:tenth, -1])
    print(f"\n{1e3 / np.median(table[:, -1]):.1f} frames/s; last tenth over first tenth of the frames: {ratio:.3f}")
    return 0
