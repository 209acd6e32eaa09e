# SPDX-License-Identifier: Apache-2.0
"""What a second thread would bring that encodes the next frame while the first one finds the parts of this one."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robotseg_core.bench.measure import full
from robotseg_core.stream.robotseg import RobotSeg

WARM_UP = 3
"""Frames that are not measured."""


@dataclass(frozen=True)
class Pace:
    """Frames a second, and milliseconds from a frame's arrival to its masks: median and 95th percentile."""

    rate: float
    median: float
    p95: float

    @classmethod
    def of(cls, seconds: float, waits: list[float]) -> Pace:
        """Of ``waits``, in seconds, that took ``seconds`` together."""
        rate = len(waits) / seconds
        return cls(rate, 1e3 * float(np.median(waits)), 1e3 * float(np.percentile(waits, 95)))


def one_by_one(robotseg: RobotSeg, frames: list[NDArray[np.uint8]], count: int) -> Pace:
    """A frame arrives whenever the one before is answered."""
    stream, waits, start = full(robotseg), [], 0.0
    for i in range(WARM_UP + count):
        began = time.perf_counter()
        if i == WARM_UP:
            start = began
        stream.step(frames[i % len(frames)])
        if i >= WARM_UP:
            waits.append(time.perf_counter() - began)
    return Pace.of(time.perf_counter() - start, waits)


def one_ahead(robotseg: RobotSeg, frames: list[NDArray[np.uint8]], count: int) -> Pace:
    """A frame arrives, and is encoded, as soon as the one before it has been."""
    stream, waits, start = full(robotseg), [], 0.0

    def encode(i: int) -> tuple[float, object]:
        began = time.perf_counter()
        return began, robotseg.encode_frames([frames[i % len(frames)]])[0]

    with ThreadPoolExecutor(1) as second:
        coming = second.submit(encode, 0)
        for i in range(WARM_UP + count):
            began, encoded = coming.result()
            if i == WARM_UP:
                start = time.perf_counter()
            coming = second.submit(encode, i + 1)
            stream.step_encoded(encoded)  # type: ignore[arg-type]
            if i >= WARM_UP:
                waits.append(time.perf_counter() - began)
        seconds = time.perf_counter() - start
    return Pace.of(seconds, waits)


def ahead(robotseg: RobotSeg, frames: list[NDArray[np.uint8]], count: int) -> None:
    """Print both by turns, so that other work on the machine meets both."""
    rounds: dict[str, list[Pace]] = {"one by one": [], "next one encoded beside it": []}
    ways = (one_by_one, one_ahead)
    for _ in range(3):
        for way, found in zip(ways, rounds.values(), strict=True):
            found.append(way(robotseg, frames, max(2, count // 3)))
    for name, found in rounds.items():
        rate, median, p95 = np.median([(pace.rate, pace.median, pace.p95) for pace in found], 0)
        print(f"{name}: {rate:.1f} frames/s, latency median {median:.1f} ms, p95 {p95:.1f} ms")
