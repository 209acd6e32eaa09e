# SPDX-License-Identifier: Apache-2.0
"""The table of a soak: what the node's process takes, what of it must not grow, and the plot."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import time
from pathlib import Path
from typing import Protocol

import numpy as np

from robotseg_core.lifetime import uninterrupted
from robotseg_ros.common.processes import ended

ROW_S = 10.0
"""Seconds a row of preset cell."""
ROW_FRAMES = 500
"""Frames a row of the table."""
WARM_UP = 0.1
"""Share of the rows that is not judged: allocators and caches fill up."""
MAX_GROWTH = 200.0
"""Bytes of memory an image that came, answered or not: less than what a single forgotten object takes."""
NOISE_MIB = 4.0
"""Growth up to this is not judged, however steep: short runs have little but noise."""
LEAST_ROWS = 4
"""To see a slope."""
START_TIMEOUT_S = 180.0


@dataclasses.dataclass(frozen=True)
class Row:
    """State of the node after ``frames`` answers; latencies are of the answers since the row before.

    Attributes:
        frames: answered so far.
        given_up: images without an answer so far.
        seconds: since the first image.
        cpu_s: CPU time of the node so far.
        rss_mib: resident memory of the node.
        threads, descriptors: of the node.
        p50_ms, p95_ms, p99_ms: from the stamp of an image to the arrival of its last mask.
    """

    frames: int
    given_up: int
    seconds: float
    cpu_s: float
    rss_mib: float
    threads: int
    descriptors: int
    p50_ms: float
    p95_ms: float
    p99_ms: float


class Reader(Protocol):
    """Who sends the node images and hears its answers."""

    @property
    def connected(self) -> bool:
        """Whether all of it and of the node have found each other."""

    def listen(self, seconds: float) -> object:
        """Hear what comes within so many seconds."""


def wait_for_start(node: subprocess.Popen[str], reader: Reader) -> None:
    """Return when the node and ``reader`` have found each other.

    Raises:
        RuntimeError: the node has ended, or has not come within :data:`START_TIMEOUT_S`.
    """
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        with uninterrupted():
            if reader.connected:
                return
            if ended(node) or time.monotonic() > deadline:
                raise RuntimeError(f"the node did not start (exit status {node.returncode})")
            reader.listen(0.1)


def look_at(pid: int) -> tuple[float, float, int, int]:
    """CPU time (s), resident memory (MiB), threads and file descriptors of a process."""
    process = Path(f"/proc/{pid}")
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines() if ":" in line)
    # Behind the name, which may hold anything but ")"; clock ticks in user and in kernel mode.
    user, kernel = (process / "stat").read_text().rpartition(")")[2].split()[11:13]
    cpu = (int(user) + int(kernel)) / os.sysconf("SC_CLK_TCK")
    descriptors = len(os.listdir(process / "fd"))
    return cpu, int(status["VmRSS"].split()[0]) / 1024, int(status["Threads"]), descriptors


def judge(rows: list[Row], *, visited: bool = False) -> tuple[float, list[str]]:
    """Growth of memory in bytes an image after the warm-up, and what is wrong, in words.

    An image that was refused or replaced by a newer one has been received like those that were answered, and could
    leave as much behind.  ``visited``: readers come and go, each with a descriptor or a thread of its own for a while;
    then what is left between their visits must not grow.
    """
    kept = rows[int(len(rows) * WARM_UP) :]
    if len(kept) < 3:
        return float("nan"), [f"only {len(rows)} rows, at least {LEAST_ROWS} are needed to see a slope"]
    images = np.array([row.frames + row.given_up for row in kept], float)
    slope = float(np.polyfit(images, [row.rss_mib for row in kept], 1)[0])
    growth, an_image = slope * (images[-1] - images[0]), slope * 2**20
    wrong = []
    if an_image > MAX_GROWTH and growth > NOISE_MIB:
        wrong.append(f"memory grows by {an_image:.0f} bytes an image, must be at most {MAX_GROWTH:.0f}")
    for name in ("threads", "descriptors"):
        values = [getattr(row, name) for row in kept]
        half = len(values) // 2
        if min(values[half:]) > min(values[:half]) if visited else min(values) != max(values):
            wrong.append(f"{name} change from {min(values)} to {max(values)}")
    return an_image, wrong


def draw(rows: list[Row], path: Path, title: str, *, over_time: bool = False) -> None:
    """Plot all rows into a PNG, over the frames or over the time."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    frames = [row.seconds / 60 if over_time else row.frames for row in rows]
    figure, axes = pyplot.subplots(3, 1, figsize=(8, 6), sharex=True, constrained_layout=True)
    axes[0].plot(frames, [row.rss_mib for row in rows], linewidth=1)
    axes[0].set_ylabel("memory, MiB")
    axes[0].set_ylim(0, 1.2 * max(row.rss_mib for row in rows))
    for name in ("p50_ms", "p95_ms", "p99_ms"):
        axes[1].plot(frames, [getattr(row, name) for row in rows], linewidth=1, label=name.removesuffix("_ms"))
    axes[1].set_ylabel("latency, ms")
    axes[1].set_yscale("log")
    axes[1].legend(loc="upper right", ncols=3)
    for name in ("threads", "descriptors"):
        axes[2].plot(frames, [getattr(row, name) for row in rows], linewidth=1, label=name)
    axes[2].set_ylabel("of the process")
    axes[2].set_ylim(0, 1.3 * max(row.descriptors for row in rows))
    axes[2].legend(loc="lower right", ncols=2)
    axes[2].set_xlabel("minutes" if over_time else "frames answered")
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=80)
    pyplot.close(figure)
