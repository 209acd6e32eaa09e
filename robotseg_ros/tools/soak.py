# SPDX-License-Identifier: Apache-2.0
"""Many frames through the node: memory, threads, file descriptors and latency have to stay as they are.

    python -m robotseg_ros.tools.soak --frames 100000 --out out/soak

The node runs in a process of its own, with a small model of random weights behind the real stream; camera and
listener are this process.  ``--preset cell`` does to it what a robot cell does, for ``--seconds``.  Writes ``soak.csv``
(a row for every 500 frames, or 10 seconds) and ``soak.png``; the exit status is 1 when something grows, or when what
the node says is not true of what was sent.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import sys
import time
from pathlib import Path

from robotseg_core.lifetime import end_in_order, uninterrupted
from robotseg_core.option_limits import check_option
from robotseg_ros.common.allocator import keep_image_memory
from robotseg_ros.common.image_codec import MAX_SIDE
from robotseg_ros.common.model import Model, ModelOptions
from robotseg_ros.tools.soaking.cell_run import soak_cell
from robotseg_ros.tools.soaking.rows import ROW_FRAMES, ROW_S, Row, draw, judge, look_at, wait_for_start

PRESETS = ("plain", "cell")
"""One camera whose images are all answered; or what a cell does, see :mod:`robotseg_ros.tools.soaking.cell`."""
MOST_FRAMES, MOST_SECONDS = 100_000_000, 30 * 86_400.0
"""Of a run: a month."""
WINDOW = 2
"""Images under way: one in the model, one waiting for it, so that none is dropped."""
RESTART_FRAMES = 5000
"""After so many frames the camera's frame_id changes, which begins a new session."""
SILENCE_S = 120.0
"""Without any answer for this long the node is taken for dead."""


def load_small(options: ModelOptions) -> Model:
    """A model with random weights that always sees a robot, whatever the options."""
    import torch

    from robotseg_core.bench.miniature import small_model, small_robotseg

    torch.set_num_threads(1)
    return small_robotseg(small_model())


def soak(frames: int, width: int, height: int, table: Path) -> list[Row]:
    """Run the node until it has answered ``frames`` images, or until SIGINT or SIGTERM; each row is written at once.

    Raises:
        RuntimeError: the node ended, did not start, or fell silent.
    """
    import rclpy
    from tqdm import tqdm

    from robotseg_ros.common.processes import ended, start, stop
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
        wait_for_start(node, camera)
        began = heard = time.monotonic()
        with (
            open(table, "w", newline="") as file,
            tqdm(total=frames, unit="frame", mininterval=5.0) as progress,
        ):
            writer = csv.writer(file)
            writer.writerow(field.name for field in dataclasses.fields(Row))
            done = 0
            while done + len(latencies) < frames:
                with uninterrupted():
                    before = len(latencies)
                    if camera.waiting < WINDOW:
                        camera.send(f"camera_{camera.sent // RESTART_FRAMES}")
                    camera.listen(0.05)
                    if len(latencies) > before:
                        progress.update(len(latencies) - before)
                        heard = time.monotonic()
                    elif ended(node) or time.monotonic() - heard > SILENCE_S:
                        raise RuntimeError(f"the node fell silent (exit status {node.returncode})")
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
        with uninterrupted():
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
    parser.add_argument(
        "--preset", choices=PRESETS, default=PRESETS[0], help=f"what is done to the node (default {PRESETS[0]})"
    )
    parser.add_argument("--seconds", type=float, default=3600.0, help="of preset cell (default 3600)")
    parser.add_argument("--size", default="320x240", help="of the images, WxH (default 320x240)")
    parser.add_argument("--out", type=Path, default=Path("out/soak"), help="folder for soak.csv and soak.png")
    options = parser.parse_args(arguments)
    try:
        check_option("--frames", options.frames, 1, MOST_FRAMES)
        check_option("--seconds", options.seconds, 1, MOST_SECONDS)
        sides = [int(side) if side.isdecimal() else 0 for side in options.size.split("x")]
        if len(sides) != 2 or not all(1 <= side <= MAX_SIDE for side in sides):
            raise ValueError(f"--size is {options.size!r}, must be WIDTHxHEIGHT, each 1 to {MAX_SIDE}")
    except ValueError as error:
        parser.error(str(error))
    width, height = sides
    from robotseg_ros.common.processes import use_private_domain

    # Also where a shell has started it in the background: then Ctrl-C is ignored, and SIGTERM would leave the node.
    end_in_order()
    use_private_domain()
    keep_image_memory()
    options.out.mkdir(parents=True, exist_ok=True)
    try:
        if options.preset == "cell":
            rows, broken = soak_cell(options.seconds, width, height, options.out / "soak.csv")
        else:
            rows, broken = soak(options.frames, width, height, options.out / "soak.csv"), []
    except RuntimeError as error:
        print(f"soak: {error}", file=sys.stderr)
        return 1
    growth, wrong = judge(rows, visited=options.preset == "cell")
    wrong += broken
    last = rows[-1] if rows else None
    if last is not None:
        if options.preset == "cell":
            if last.seconds < options.seconds - 2 * ROW_S:
                wrong.append(f"broken off after {last.seconds:.0f} of {options.seconds:.0f} s")
        elif last.frames + ROW_FRAMES <= options.frames:
            wrong.append(f"broken off after {last.frames} of {options.frames} frames")
        cpu_ms = 1e3 * last.cpu_s / last.frames
        text = (
            f"{last.frames} frames of {options.size} in {last.seconds:.0f} s, {last.given_up} given up\nmemory "
            f"{last.rss_mib:.0f} MiB, {growth:+.0f} bytes an image; {cpu_ms:.1f} ms CPU a frame; {last.threads} threads"
        )
        draw(rows, options.out / "soak.png", text, over_time=options.preset == "cell")
        print(text)
    for words in wrong:
        print(f"soak: {words}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
