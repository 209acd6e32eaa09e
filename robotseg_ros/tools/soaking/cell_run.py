# SPDX-License-Identifier: Apache-2.0
"""Runs the node in the soak's cell for as long as is asked for, and writes down what becomes of it."""

from __future__ import annotations

import csv
import dataclasses
import sys
import time
from pathlib import Path

from robotseg_core.lifetime import uninterrupted
from robotseg_ros.tools.soaking.cell import CAMERAS, COMPRESSED, Cell
from robotseg_ros.tools.soaking.rows import LEAST_ROWS, ROW_S, Row, look_at, wait_for_start

RATE_HZ = 30.0
HINTS_HZ = 20.0
SLOW_S = 0.5
SILENCE_S = 300.0
"""Without any answer for this long the node is taken for dead."""


def soak_cell(
    seconds: float, width: int, height: int, table: Path, least_rows: int = LEAST_ROWS
) -> tuple[list[Row], list[str]]:
    """Run the node for some time, or until a signal; rows of the table, and what was wrong.

    Where the machine is so slow that the table has fewer than ``least_rows`` by then, it goes on until it has them.

    Raises:
        RuntimeError: the node ended, did not start, or fell silent.
    """
    import rclpy
    from tqdm import tqdm

    from robotseg_ros.common.processes import ended, start, stop
    from robotseg_ros.tools.measuring_camera import percentiles

    command = [sys.executable, "-m", "robotseg_ros.tools.soak", "node", "--ros-args", "-p", "autostart:=true"]
    # Without max_age: a slow machine makes late answers, and here all of them count.
    parameters = ["max_age:=0.0", "stale_after:=60.0", f"cameras:=[{', '.join(CAMERAS)}]"]
    parameters += [f"{camera}.camera:=/{camera}/image_raw" for camera in CAMERAS if camera != COMPRESSED]
    parameters += [f"{COMPRESSED}.camera:=/{COMPRESSED}/image_raw/compressed"]
    context = rclpy.Context()
    rclpy.init(context=context)
    rows: list[Row] = []
    cell = Cell(context, width, height)
    node = start([*command, *(word for value in parameters for word in ("-p", value))])
    reader = start([sys.executable, "-m", "robotseg_ros.tools.soaking.cell_run"])
    try:
        wait_for_start(node, cell)
        began = heard = row_began = time.monotonic()
        due = {camera: began + i / RATE_HZ / len(CAMERAS) for i, camera in enumerate(CAMERAS)}
        hint_due, done = began, 0
        with open(table, "w", newline="") as file, tqdm(total=round(seconds), unit="s", mininterval=5.0) as bar:
            writer = csv.writer(file)
            writer.writerow(field.name for field in dataclasses.fields(Row))
            before = dict(cell.answered)
            while (now := time.monotonic()) - began < seconds or len(rows) < least_rows:
                with uninterrupted():
                    for camera, when in due.items():
                        if now >= when:
                            cell.shoot(camera)
                            # A machine that cannot keep up leaves images out.
                            due[camera] = max(when + 1 / RATE_HZ, now - 1 / RATE_HZ)
                    if now >= hint_due:
                        cell.hint()
                        hint_due = max(hint_due + 1 / HINTS_HZ, now)
                    cell.visit(now)
                    count = len(cell.latencies)
                    cell.listen(max(0.0, min(*due.values(), hint_due) - time.monotonic()))
                    heard = now if len(cell.latencies) > count else heard
                    if ended(node) or now - heard > SILENCE_S:
                        raise RuntimeError(f"the node fell silent (exit status {node.returncode})")
                    if ended(reader):
                        raise RuntimeError(f"the slow reader ended (exit status {reader.returncode})")
                    if now - row_began >= ROW_S and cell.latencies:
                        row_began = now
                        done += len(cell.latencies)
                        cpu, rss, threads, descriptors = look_at(node.pid)
                        times = percentiles(cell.latencies)
                        rows.append(Row(done, cell.sent - done, now - began, cpu, rss, threads, descriptors, *times))
                        writer.writerow(dataclasses.astuple(rows[-1]))
                        file.flush()
                        cell.latencies.clear()
                        bar.update(round(now - began) - bar.n)
                        cell.compare(before)
                        before = dict(cell.answered)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
    finally:
        with uninterrupted():
            stop(reader)
            stop(node)
            cell.close()
            context.try_shutdown()
    wrong = list(cell.wrong)
    if cell.faults:
        wrong.append(f"{cell.faults} images ended in FAULT")
    if node.returncode:
        wrong.append(f"the node ended with status {node.returncode}")
    return rows, wrong


def read_slowly() -> int:
    """The reader that takes its time, and wants everything; a process of its own."""
    import rclpy
    from rclpy.executors import ExternalShutdownException
    from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
    from sensor_msgs.msg import Image

    rclpy.init()
    try:
        node = rclpy.create_node("slow_reader")
        everything = QoSProfile(depth=10, history=HistoryPolicy.KEEP_ALL, reliability=ReliabilityPolicy.RELIABLE)
        node.create_subscription(Image, "/robotseg/left/robot_mask", lambda message: time.sleep(SLOW_S), everything)
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(read_slowly())
