# SPDX-License-Identifier: Apache-2.0
"""Many frames through the node: memory, threads, file descriptors and latency have to stay as they are.

    python -m robotseg_ros.tools.soak --frames 100000 --out out/soak

The node runs in a process of its own, with a small model of random weights behind the real stream; camera and
listener are this process.  Writes ``soak.csv`` (a row for every 500 frames) and ``soak.png``; the exit status is 1
when something grows.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import os
import sys
import time
from pathlib import Path

import numpy as np

from robotseg_core.lifetime import end_in_order
from robotseg_ros.common.allocator import keep_image_memory
from robotseg_ros.common.model import Model, ModelOptions

ROW_FRAMES = 500
"""Frames a row of the table."""
WARM_UP = 0.1
"""Share of the rows that is not judged: allocators and caches fill up."""
WINDOW = 2
"""Images under way: one in the model, one waiting for it, so that none is dropped."""
RESTART_FRAMES = 5000
"""After so many frames the camera's frame_id changes, which begins a new session."""
MAX_GROWTH = 200.0
"""Bytes of memory a frame: less than what a single forgotten object takes."""
NOISE_MIB = 4.0
"""Growth up to this is not judged, however steep: short runs have little but noise."""
START_TIMEOUT_S = 180.0
SILENCE_S = 120.0
"""Without any answer for this long the node is taken for dead."""


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


def load_small(options: ModelOptions) -> Model:
    """A model with random weights that always sees a robot, whatever the options."""
    import torch

    from robotseg_core.bench.miniature import small_model, small_robotseg

    torch.set_num_threads(1)
    return small_robotseg(small_model())


def look_at(pid: int) -> tuple[float, float, int, int]:
    """CPU time (s), resident memory (MiB), threads and file descriptors of a process."""
    process = Path(f"/proc/{pid}")
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines() if ":" in line)
    # Behind the name, which may hold anything but ")"; clock ticks in user and in kernel mode.
    user, kernel = (process / "stat").read_text().rpartition(")")[2].split()[11:13]
    cpu = (int(user) + int(kernel)) / os.sysconf("SC_CLK_TCK")
    descriptors = len(os.listdir(process / "fd"))
    return cpu, int(status["VmRSS"].split()[0]) / 1024, int(status["Threads"]), descriptors


def judge(rows: list[Row]) -> tuple[float, list[str]]:
    """Growth of memory in bytes a frame after the warm-up, and what is wrong, in words."""
    kept = rows[int(len(rows) * WARM_UP) :]
    if len(kept) < 3:
        return float("nan"), [f"only {len(rows)} rows of {ROW_FRAMES} frames, at least 4 are needed to see a slope"]
    frames = np.array([row.frames for row in kept], float)
    slope = float(np.polyfit(frames, [row.rss_mib for row in kept], 1)[0])
    growth, a_frame = slope * (frames[-1] - frames[0]), slope * 2**20
    wrong = []
    if a_frame > MAX_GROWTH and growth > NOISE_MIB:
        wrong.append(f"memory grows by {a_frame:.0f} bytes a frame, must be at most {MAX_GROWTH:.0f}")
    for name in ("threads", "descriptors"):
        values = [getattr(row, name) for row in kept]
        if min(values) != max(values):
            wrong.append(f"{name} change from {min(values)} to {max(values)}")
    return a_frame, wrong


def draw(rows: list[Row], path: Path, title: str) -> None:
    """Plot all rows into a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    frames = [row.frames for row in rows]
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
    axes[2].set_xlabel("frames answered")
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=80)
    pyplot.close(figure)


def soak(frames: int, width: int, height: int, table: Path) -> list[Row]:
    """Run the node until it has answered ``frames`` images, or until SIGINT or SIGTERM; each row is written at once.

    Raises:
        RuntimeError: the node ended, did not start, or fell silent.
    """
    import rclpy
    from tqdm import tqdm

    from robotseg_ros.common.processes import start, stop
    from robotseg_ros.tools.measuring_camera import MeasuringCamera, percentiles

    command = [sys.executable, "-m", "robotseg_ros.tools.soak", "node", "--ros-args", "-p", "autostart:=true"]
    context = rclpy.Context()
    rclpy.init(context=context)
    latencies: list[float] = []
    rows: list[Row] = []
    camera = MeasuringCamera(context, width=width, height=height, on_answer=latencies.append)
    # Without max_age: a slow machine makes late answers, and here all of them count.
    node = start([*command, "-p", "max_age:=0.0"])
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not camera.connected:
            if node.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the node did not start (exit status {node.poll()})")
            camera.listen(0.1)
        began = heard = time.monotonic()
        with (
            open(table, "w", newline="") as file,
            tqdm(total=frames, unit="frame", mininterval=5.0) as progress,
        ):
            writer = csv.writer(file)
            writer.writerow(field.name for field in dataclasses.fields(Row))
            done = 0
            while done + len(latencies) < frames:
                before = len(latencies)
                if camera.waiting < WINDOW:
                    camera.send(f"camera_{camera.sent // RESTART_FRAMES}")
                camera.listen(0.05)
                if len(latencies) > before:
                    progress.update(len(latencies) - before)
                    heard = time.monotonic()
                elif node.poll() is not None or time.monotonic() - heard > SILENCE_S:
                    raise RuntimeError(f"the node fell silent (exit status {node.poll()})")
                if len(latencies) >= ROW_FRAMES:
                    done += len(latencies)
                    cpu, rss, threads, descriptors = look_at(node.pid)
                    seconds = time.monotonic() - began
                    times = percentiles(latencies)
                    rows.append(Row(done, camera.given_up, seconds, cpu, rss, threads, descriptors, *times))
                    writer.writerow(dataclasses.astuple(rows[-1]))
                    file.flush()
                    latencies.clear()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
    finally:
        stop(node)
        camera.close()
        context.try_shutdown()
    return rows


def main(arguments: list[str] | None = None) -> int:
    """Run; returns the exit status: 0, or 1 when something grows or the run was broken off."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["node"]:
        from robotseg_ros.run_segmenter import main as run_segmenter

        return run_segmenter(load_small)
    parser = argparse.ArgumentParser(prog="soak", description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--frames", type=int, default=100_000, help="frames to be answered (default 100000)")
    parser.add_argument("--size", default="320x240", help="of the images, WxH (default 320x240)")
    parser.add_argument("--out", type=Path, default=Path("out/soak"), help="folder for soak.csv and soak.png")
    options = parser.parse_args(arguments)
    width, height = (int(side) for side in options.size.split("x"))
    from robotseg_ros.common.processes import use_private_domain

    # Also where a shell has started it in the background: then Ctrl-C is ignored, and SIGTERM would leave the node.
    end_in_order()
    use_private_domain()
    keep_image_memory()
    options.out.mkdir(parents=True, exist_ok=True)
    try:
        rows = soak(options.frames, width, height, options.out / "soak.csv")
    except RuntimeError as error:
        print(f"soak: {error}", file=sys.stderr)
        return 1
    growth, wrong = judge(rows)
    last = rows[-1] if rows else None
    if last is not None:
        if last.frames + ROW_FRAMES <= options.frames:
            wrong.append(f"broken off after {last.frames} of {options.frames} frames")
        cpu_ms = 1e3 * last.cpu_s / last.frames
        text = (
            f"{last.frames} frames of {options.size} in {last.seconds:.0f} s, {last.given_up} given up\nmemory "
            f"{last.rss_mib:.0f} MiB, {growth:+.0f} bytes a frame; {cpu_ms:.1f} ms CPU a frame; {last.threads} threads"
        )
        draw(rows, options.out / "soak.png", text)
        print(text)
    for words in wrong:
        print(f"soak: {words}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
