# SPDX-License-Identifier: Apache-2.0
"""``robotseg bench --node``: what a frame costs in the node, part by part, and how old a mask is when it arrives.

The node runs in this process, the camera in another one, which subscribes to the three masks and the overlay.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from robotseg_core.bench.measure import hardware, versions
from robotseg_core.bench.steady_model import SteadyModel, SteadyStream
from robotseg_core.model_arguments import add_model_arguments, load_model
from robotseg_core.option_limits import check_option
from robotseg_ros.common.allocator import keep_image_memory, keep_out_of_collections
from robotseg_ros.common.processes import ended, start, stop, use_private_domain

SIZES = ("640x480", "1280x720")
CORE = ("resize", "inference", "upsample")
NODE = ("receive", "decode", "compose", "publish", "other")
ORDER = ("receive", "decode", "resize", "inference", "upsample", "compose", "publish", "other")
WARM_UP = 10
MOST_FRAMES = 1_000_000
CAMERA_HZ = 30.0


class Stopwatch:
    """Wall and CPU time of the parts of each frame, ms; a part does not count what is inside another part of it.

    CPU time is that of the whole process: with one image under way at a time, whatever runs belongs to it.

    Attributes:
        rows: one a frame: CPU and wall time by part.
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, tuple[float, float]]] = []
        self._row: dict[str, tuple[float, float]] = {}
        self._inner: list[tuple[float, float]] = []
        self._ended = time.process_time()

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function that does the same, and is timed."""

        def run(*arguments: Any, **options: Any) -> Any:
            with self._part(name):
                return function(*arguments, **options)

        return run

    def timed_frame(self, process: Callable[..., Any]) -> Callable[..., Any]:
        """Likewise for ``Inference.process``, which begins and ends a frame."""

        def run(inference: Any, image: Any, dropped: int) -> None:
            stamp = image.header.stamp.sec + 1e-9 * image.header.stamp.nanosec
            self._row = {"receive": (1e3 * (time.process_time() - self._ended), 1e3 * (time.time() - stamp))}
            with self._part("other"):
                process(inference, image, dropped)
            self.rows.append(self._row)
            self._ended = time.process_time()

        return run

    @contextmanager
    def _part(self, name: str) -> Iterator[None]:
        self._inner.append((0.0, 0.0))
        cpu, wall = time.process_time(), time.perf_counter()
        try:
            yield
        finally:
            spent = (1e3 * (time.process_time() - cpu), 1e3 * (time.perf_counter() - wall))
            inner, before = self._inner.pop(), self._row.get(name, (0.0, 0.0))
            self._row[name] = (before[0] + spent[0] - inner[0], before[1] + spent[1] - inner[1])
            if self._inner:
                outer = self._inner[-1]
                self._inner[-1] = (outer[0] + spent[0], outer[1] + spent[1])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``robotseg bench --node``."""
    parser.add_argument("--node", action="store_true", required=True, help="measure the ROS node around the core")
    parser.add_argument("--frames", type=int, default=200, help="measured frames (default 200)")
    parser.add_argument("--size", choices=SIZES, help=f"frame size (default: {' and '.join(SIZES)})")
    add_model_arguments(parser)


def measured_parts(stopwatch: Stopwatch) -> Iterator[tuple[Any, str, Callable[..., Any]]]:
    """What is replaced while measuring: (owner, name, timed function)."""
    from robotseg_core.files import overlay as pictures
    from robotseg_core.stream import encoding, stream
    from robotseg_ros.segmenter import inference, publishers

    for owner, name, part in (
        (inference, "decode", "decode"),
        (encoding, "frame_tensor", "resize"),
        (stream, "part_masks", "upsample"),
        (SteadyStream, "step", "inference"),
        (pictures, "overlay", "compose"),
        (publishers.Publishers, "publish", "publish"),
    ):
        yield owner, name, stopwatch.timed(part, getattr(owner, name))
    yield inference.Inference, "process", stopwatch.timed_frame(inference.Inference.process)


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Put something in the place of an attribute, for a while."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def play(executor: Any, size: str, frames: int, rate_hz: float) -> dict[str, Any]:
    """Run a camera in another process while the node spins; what it measured.

    Raises:
        RuntimeError: it failed.
    """
    command = [sys.executable, "-m", "robotseg_ros.tools.measuring_camera", "--size", size, "--frames", str(frames)]
    camera = start([*command, "--rate", str(rate_hz)], stdout=subprocess.PIPE)
    try:
        while not ended(camera):
            executor.spin_once(timeout_sec=0.2)
    finally:
        stop(camera)
    assert camera.stdout is not None
    output = camera.stdout.read()
    if camera.returncode:
        raise RuntimeError(f"the measuring camera ended with status {camera.returncode}")
    measured: dict[str, Any] = json.loads(output)
    return measured


def table(rows: Sequence[dict[str, tuple[float, float]]]) -> str:
    """Median and p95 of every part, and of what the node adds to the core."""
    lines = [f"{'part':22}{'CPU median':>12}{'CPU p95':>10}{'wall median':>13}{'wall p95':>10}   (ms)"]

    def line(name: str, parts: Sequence[str]) -> None:
        cpu, wall = (np.array([sum(row.get(p, (0.0, 0.0))[i] for p in parts) for row in rows]) for i in (0, 1))
        values = (np.median(cpu), np.percentile(cpu, 95), np.median(wall), np.percentile(wall, 95))
        lines.append(f"{name:22}{values[0]:12.2f}{values[1]:10.2f}{values[2]:13.2f}{values[3]:10.2f}")

    for part in ORDER:
        line(part, [part])
    line("core", CORE)
    line("added by the node", NODE)
    return "\n".join(lines)


def run(arguments: argparse.Namespace) -> int:
    """Measure at one size or at all of :data:`SIZES`, and print tables.

    Raises:
        ValueError: ROS is absent, or an argument is wrong.
    """
    check_option("--frames", arguments.frames, 20, MOST_FRAMES)
    use_private_domain()
    keep_image_memory()
    # Only now: profile and allocator must be set before rclpy is loaded.
    try:
        import rclpy
        from rclpy.parameter import Parameter
        from rclpy.signals import SignalHandlerOptions

        from robotseg_ros.common.executor import SteadyExecutor
        from robotseg_ros.segmenter.node import Segmenter
    except ModuleNotFoundError as error:
        raise ValueError(f"--node needs ROS 2, which is not installed here ({error})") from error

    robotseg = load_model(arguments)
    model, side = SteadyModel(robotseg), robotseg.model.config.image_size
    print(f"{hardware()}\n{versions()}, rclpy {rclpy_version()}")
    print(
        f"{model.preset} at {side} px on {model.device}, encoder {model.backend}; masks, overlay subscribed in another "
        "process\n"
    )
    stopwatch = Stopwatch()
    # Signals raise KeyboardInterrupt here, so that the camera is ended.
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    with ExitStack() as stack:
        stack.callback(rclpy.try_shutdown)
        for owner, name, function in measured_parts(stopwatch):
            stack.enter_context(replaced(owner, name, function))
        # Late answers are to be measured, not refused or talked about.
        limits = [Parameter("max_age", value=0.0), Parameter("stale_after", value=60.0)]
        node = Segmenter(lambda options: model, parameter_overrides=limits)
        stack.callback(node.destroy_node)
        stack.callback(node.stop)
        executor = SteadyExecutor()
        executor.add_node(node)
        if not node.autostart():
            return 1
        keep_out_of_collections()
        for size in [arguments.size] if arguments.size else SIZES:
            stopwatch.rows.clear()
            waited = play(executor, size, arguments.frames + WARM_UP, rate_hz=0.0)
            print(f"{size}, {arguments.frames} frames, the camera waits for each answer\n")
            print(table(stopwatch.rows[WARM_UP:]))
            print(latency("\ncamera stamp to last mask in the other process", waited))
            print(latency(f"the same at {CAMERA_HZ:.0f} Hz", play(executor, size, arguments.frames, CAMERA_HZ)) + "\n")
    return 0


def latency(name: str, measured: dict[str, Any]) -> str:
    """A line about the answers that one camera got."""
    values = measured["latencies_ms"][WARM_UP:]
    if not values:
        return f"{name}: no answer to {measured['sent']} images"
    p50, p95, p99 = np.percentile(values, (50, 95, 99))
    answered, rate = len(measured["latencies_ms"]), len(measured["latencies_ms"]) / measured["seconds"]
    return (
        f"{name}: p50 {p50:.1f} ms, p95 {p95:.1f} ms, p99 {p99:.1f} ms; "
        f"{answered} of {measured['sent']} images answered, {rate:.1f} a second"
    )


def rclpy_version() -> str:
    """Of the wheel, or of the workspace."""
    from importlib.metadata import PackageNotFoundError, version

    for name in ("ros-rclpy", "rclpy"):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return "unknown"
