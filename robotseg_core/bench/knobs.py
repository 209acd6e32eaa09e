# SPDX-License-Identifier: Apache-2.0
"""What the knobs save, and whether a late frame costs more than an early one: for ``robotseg bench``."""

from __future__ import annotations

import argparse
import dataclasses
import time

import numpy as np
import torch
from numpy.typing import NDArray

from robotseg_core.bench.measure import full, measure
from robotseg_core.config import BASE
from robotseg_core.model.robotseg_model import RobotSegModel
from robotseg_core.stream.choices import PRECISIONS, check_precision, chosen_device, chosen_precision
from robotseg_core.stream.robotseg import RobotSeg
from robotseg_core.types import PARTS
from robotseg_core.weights.seeded import load_golden_weights

SEED = 10
MANY = 1000
"""A late frame's number."""
SHORT_SIDE = 128
"""Input side at which a thousand frames of base are stepped for real."""
SIDES = {"base": (1024, 768, 512), "nano": (320, 256, 192)}


def random_base(arguments: argparse.Namespace) -> RobotSeg:
    """The base preset with seeded random weights: what a frame costs does not depend on them."""
    device = chosen_device(arguments.device)
    config = dataclasses.replace(BASE, image_size=arguments.image_size or BASE.image_size)
    return RobotSeg.of(
        _random_model(config.image_size),
        device=torch.device(device),
        backend=arguments.backend,
        source="seeded random weights",
        precision=chosen_precision(arguments.precision, "base", torch.device(device), arguments.backend),
        memory_frames=arguments.memory_frames,
        encoder_batch=arguments.batch,
        loop=arguments.loop,
    )


def _random_model(image_size: int) -> RobotSegModel:
    model = RobotSegModel(dataclasses.replace(BASE, image_size=image_size))
    load_golden_weights(model, SEED)
    return model


def early_and_late(robotseg: RobotSeg, frames: list[NDArray[np.uint8]]) -> None:
    """Frame 1,000 against frame 20, and which of it was really stepped."""
    count = 5 if robotseg.preset == "base" else 50
    early = measure(full(robotseg, frames=20), frames, count).step
    late = measure(full(robotseg, frames=MANY), frames, count).step
    print(
        f"memory filled as after 20 and after {MANY} frames (not stepped): {early:.1f} and {late:.1f} ms, ratio "
        f"{late / early:.3f}"
    )
    short, side = robotseg, robotseg.model.config.image_size
    if robotseg.preset == "base":
        side = min(side, SHORT_SIDE)
        device = torch.device(robotseg.device)
        short = RobotSeg.of(_random_model(side), device=device, backend="torch", source="seeded random weights")
    steps = measure(full(short), frames, MANY + 40).rows[:, -1]
    early, late = float(np.median(steps[20:60])), float(np.median(steps[MANY:]))
    print(
        f"{robotseg.preset} at {side} px, {MANY + 40} frames stepped: median of frames 21 to 60 {early:.2f} ms, of the "
        f"last 40 {late:.2f} ms, ratio {late / early:.3f}"
    )


def batches(robotseg: RobotSeg, frames: list[NDArray[np.uint8]], size: int, count: int) -> None:
    """Images of several cameras through the encoder at once, against one after the other; by turns."""
    image = torch.cat([encoded.image for encoded in robotseg.encode_frames(frames[:1] * size)])
    ways = {"one by one": list(image.split(1)), "at once": [image]}
    times: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    with torch.inference_mode():
        for i in range(2 + count):
            for way, given in ways.items():
                wall, cpu = time.perf_counter(), time.process_time()
                for one in given:
                    features = robotseg.encode(one)
                # Waits for CUDA.
                float(features.f16.flatten()[0])
                if i >= 2:
                    times[way].append((time.perf_counter() - wall, time.process_time() - cpu))
    apart, together = (1e3 * np.median(np.array(times[way]), 0) for way in ways)
    print(
        f"encoder ({robotseg.backend}), {size} images: one by one {apart[0]:.1f} ms (CPU {apart[1]:.1f}), at once "
        f"{together[0]:.1f} ms (CPU {together[1]:.1f}), ratio {together[0] / apart[0]:.2f} (CPU "
        f"{together[1] / apart[1]:.2f}); at once the first waits {size * together[0] / apart[0]:.2f} times as long"
    )


def knobs(robotseg: RobotSeg, arguments: argparse.Namespace, frames: list[NDArray[np.uint8]], count: int) -> None:
    """Print a table: each knob moved alone, all others as they are in ``robotseg``."""
    model, device = robotseg.model, torch.device(robotseg.device)
    plain = measure(full(robotseg), frames, count).step
    print(f"\n{'knob':16}{'setting':>24}{'ms':>10}{'of the plain one':>18}")

    def row(knob: str, setting: str, ms: float) -> None:
        print(f"{knob:16}{setting:>24}{ms:10.1f}{ms / plain:18.2f}", flush=True)

    def changed(**settings: object) -> RobotSeg:
        known = {"precision": robotseg.precision, "memory_frames": robotseg.memory_frames} | settings
        return RobotSeg.of(model, device=device, backend=arguments.backend, source=robotseg.source, **known)  # type: ignore[arg-type]

    row("none", "", plain)
    for side in SIDES[robotseg.preset]:
        if side >= model.config.image_size:
            continue
        other = RobotSegModel(dataclasses.replace(model.config, image_size=side))
        other.load_state_dict(model.state_dict())
        resized = RobotSeg.of(
            other, device=device, backend=arguments.backend, source=robotseg.source, precision=robotseg.precision
        )
        row("image_size", str(side), measure(full(resized), frames, count).step)
    for precision in PRECISIONS:
        if precision == robotseg.precision:
            continue
        try:
            check_precision(precision, device)
            if precision == "int8" and robotseg.preset == "base":
                raise ValueError("is for nano")
        except ValueError as error:
            print(f"{'precision':16}{precision:>24}  {error}")
            continue
        row("precision", precision, measure(full(changed(precision=precision)), frames, count).step)
    for parts in (PARTS[1:], PARTS[2:]):
        row("parts", " ".join(parts), measure(full(robotseg, parts), frames, count).step)
    for length in range(model.config.memory_frames - 1, 0, -1):
        row("memory_frames", str(length), measure(full(changed(memory_frames=length)), frames, count).step)
