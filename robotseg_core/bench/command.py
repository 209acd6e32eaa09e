# SPDX-License-Identifier: Apache-2.0
"""``robotseg bench``: what a frame costs, stage by stage, on this machine."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from robotseg_core.bench import gpu_report
from robotseg_core.bench.ahead import ahead
from robotseg_core.bench.knobs import batches, early_and_late, knobs, random_base
from robotseg_core.bench.measure import STAGES, full, hardware, measure, pictures, rate, versions
from robotseg_core.config import MAX_BATCH, NANO, PRESETS
from robotseg_core.model.attention import product, uses_onednn
from robotseg_core.model_arguments import add_model_arguments, load_model
from robotseg_core.option_limits import check_option
from robotseg_core.stream.choices import LOOPS, check_loop, chosen_device
from robotseg_core.stream.preprocess import MAX_SIDE
from robotseg_core.stream.robotseg import RobotSeg

REFERENCE_GFLOP = 3 * 1423
"""Three passes of the reference, one a part, at 1024 pixels with a full memory."""
FRAMES = {"nano": 200, "base": 5}
"""Measured frames where nothing is said; base takes seconds a frame on a CPU."""


MOST_FRAMES, MOST_SECONDS = 1_000_000, 86_400.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``robotseg bench``."""
    parser.add_argument("--frames", type=int, help="measured frames (default 200, base 5)")
    parser.add_argument("--size", default="640x480", help="frame size WxH (default 640x480)")
    parser.add_argument("--memory-frames", type=int, help="frames looked up, 1 to the preset's (default)")
    parser.add_argument("--knobs", action="store_true", help="also measure what each knob saves")
    parser.add_argument("--batch", type=int, default=1, help="also encode so many images at once, 2 to 8")
    parser.add_argument("--ahead", action="store_true", help="also encode the next frame in a second thread")
    parser.add_argument("--long", action="store_true", help="also compare frame 1,000 with frame 20")
    parser.add_argument(
        "--loop",
        default="auto",
        choices=LOOPS,
        help="all but the encoder: auto (default), eager: operator by operator; on CUDA graphs, or compiled ones",
    )
    parser.add_argument(
        "--gpu-report", type=Path, metavar="OUT", help="everything about this GPU in 100 s into OUT/gpu.json and gpu.md"
    )
    parser.add_argument("--full", action="store_true", help="with --gpu-report: more frames and more ways, in 10 min")
    parser.add_argument("--seconds", type=float, help="with --gpu-report: time allowed")
    add_model_arguments(parser)


def model_to_measure(arguments: argparse.Namespace) -> RobotSeg:
    """The model asked for; base without weights gets random ones, which cost the same."""
    if arguments.preset == "base" and arguments.weights is None:
        return random_base(arguments)
    return load_model(
        arguments,
        memory_frames=arguments.memory_frames,
        encoder_batch=arguments.batch,
        loop=arguments.loop,
    )


def run(arguments: argparse.Namespace) -> int:
    """Print median and p95 of every stage, the scale figure, parts against one, late frames against early ones."""
    check_option("--frames", arguments.frames, 2, MOST_FRAMES)
    check_option("--batch", arguments.batch, 1, MAX_BATCH)
    check_option("--memory-frames", arguments.memory_frames, 1, PRESETS.get(arguments.preset, NANO).memory_frames)
    check_option("--seconds", arguments.seconds, 1, MOST_SECONDS)
    if arguments.gpu_report is not None:
        return gpu_report.run(arguments)
    try:
        width, height = (int(x) for x in arguments.size.lower().split("x"))
    except ValueError:
        raise ValueError(f"--size is {arguments.size!r}, must be WIDTHxHEIGHT, e.g. 640x480") from None
    if not (16 <= width <= MAX_SIDE and 16 <= height <= MAX_SIDE):
        raise ValueError(f"--size is {arguments.size!r}, each side must be 16 to {MAX_SIDE} pixels")
    count = arguments.frames or FRAMES.get(arguments.preset, 200)
    check_loop(arguments.loop, torch.device(chosen_device(arguments.device)))
    robotseg = model_to_measure(arguments)
    frames, warm_up = pictures(width, height), min(10, max(1, count // 5))
    sgemm = rate(torch.mm)
    times = measure(full(robotseg), frames, count, warm_up=warm_up)
    print(f"{hardware()}\n{versions()}\n{torch.get_num_threads()} threads, {arguments.loop} loop")
    print(f"sgemm {sgemm:.0f} GFLOP/s in this run{_own_rate()}")
    config = robotseg.model.config
    print(
        f"{robotseg.preset} ({robotseg.source}) at {config.image_size} px on {robotseg.device}, encoder "
        f"{robotseg.backend}, {robotseg.precision}, frames {width}x{height}, 3 parts, memory of "
        f"{robotseg.memory_frames} frames, full; {count} frames\n"
    )
    print(f"{'stage':18}{'median ms':>10}{'p95 ms':>10}")
    for name, column in zip([*STAGES, "whole step"], times.rows.T, strict=True):
        print(f"{name:18}{np.median(column):10.2f}{np.percentile(column, 95):10.2f}")
    print(f"\n{1e3 / times.step:.2f} frames/s")
    if config == PRESETS["base"] and robotseg.memory_frames == config.memory_frames:
        scale = times.step / 1e3 / (REFERENCE_GFLOP / sgemm)
        print(f"scale: time / ({REFERENCE_GFLOP} GFLOP of three reference passes / sgemm rate) = {scale:.2f}")
    one = measure(full(robotseg, ("robot",)), frames, max(2, count // 4))
    print(f"one part (robot) {one.step:.1f} ms; three parts cost {times.step / one.step:.2f} of it")
    if arguments.preset != "base":
        tenth = max(1, len(times.rows) // 10)
        ratio = np.median(times.rows[-tenth:, -1]) / np.median(times.rows[:tenth, -1])
        print(f"last tenth over first tenth of the frames: {ratio:.3f}")
    if arguments.ahead:
        ahead(robotseg, frames, count)
    if arguments.long or arguments.knobs or arguments.batch > 1:
        if arguments.batch > 1:
            batches(robotseg, frames, arguments.batch, max(10, count // 2))
        if arguments.long:
            early_and_late(robotseg, frames)
        if arguments.knobs:
            knobs(robotseg, arguments, frames, max(2, count // 2))
    return 0


def _own_rate() -> str:
    """Rate of the product that the core takes itself, where it does."""
    with torch.inference_mode():
        if not uses_onednn(torch.zeros(1)):
            return ""
        return f" (torch.mm); oneDNN, which the core uses, {rate(product):.0f}"
