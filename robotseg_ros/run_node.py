# SPDX-License-Identifier: Apache-2.0
"""A process for a node beside the segmenter: ``python -m robotseg_ros.run_node self_filter --ros-args ...``."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path

from robotseg_core.lifetime import Ending, end_at_once
from robotseg_ros.common.allocator import keep_image_memory
from robotseg_ros.common.fastdds import prepare

NODES = {
    "self_filter": ("robotseg_ros.companions.self_filter", "SelfFilter"),
    "servo": ("robotseg_ros.companions.servo", "Servo"),
    "safety_monitor": ("robotseg_ros.companions.safety_monitor", "SafetyMonitor"),
    "viewer": ("robotseg_ros.companions.viewer", "Viewer"),
}
"""Module and class of each node; modules are imported only when they are used."""


def why_no_ros() -> str:
    """Why rclpy cannot be loaded here, in one line that says what to do; empty where it can."""
    try:
        import rclpy  # noqa: F401
    except ImportError as error:
        python = f"this is Python {sys.version_info[0]}.{sys.version_info[1]} ({sys.executable})"
        found = importlib.util.find_spec("rclpy")
        if found is None or found.origin is None:
            return f"{python}, which has no rclpy: source a ROS workspace, or install the package with its ROS wheels"
        said = " ".join(str(error).split())[:200]
        return (
            f"{python}, and rclpy in {Path(found.origin).parent} is not for it: that is the ROS of another Python. "
            f"Start it with that Python, or in a shell where no ROS is sourced (PYTHONPATH) ({said})"
        )
    return ""


def run(name: str) -> int:
    """Run a node of :data:`NODES` until it is interrupted.

    Returns:
        Exit status: 0, or 1 when a parameter is wrong.
    """
    ending = Ending()
    keep_image_memory()
    trouble = prepare(os.environ)
    # Only now: profile and allocator must be set before rclpy is loaded.
    missing = why_no_ros()
    if missing:
        print(f"{name}: cannot start: {missing}", file=sys.stderr)
        return 1
    import rclpy
    from rclpy.executors import ExternalShutdownException
    from rclpy.signals import SignalHandlerOptions

    from robotseg_ros.common.camera_log import in_a_line
    from robotseg_ros.common.executor import SteadyExecutor
    from robotseg_ros.unknown_parameters import unknown_parameters

    module, kind = NODES[name]
    node = None
    try:
        try:
            # Ours stay: rclpy's raise KeyboardInterrupt in the middle of rclpy.
            ending.begin()
            rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
            node = getattr(importlib.import_module(module), kind)()
        # Whatever a parameter file or the file of the zones holds: one line, which names what is wrong.
        except Exception as error:
            rclpy.logging.get_logger(name).fatal(f"cannot start: {in_a_line(error)}")
            return 1
        for words in (trouble, *unknown_parameters(node)):
            if words:
                node.get_logger().warning(words)
        executor = SteadyExecutor()
        executor.add_node(node)
        ending.wakes(executor.stop)
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        try:
            if node is not None:
                node.destroy_node()
            rclpy.try_shutdown()
        except KeyboardInterrupt:
            # Somebody does not want to wait.
            end_at_once(130)
    return 0


def main() -> int:
    """Run the node whose name is the first argument."""
    if len(sys.argv) < 2 or sys.argv[1] not in NODES:
        print(f"run_node: give one of {', '.join(NODES)}", file=sys.stderr)
        return 2
    return run(sys.argv[1])


if __name__ == "__main__":
    sys.exit(main())
