# SPDX-License-Identifier: Apache-2.0
"""A process for a node beside the segmenter: ``python -m robotseg_ros.run_node self_filter --ros-args ...``."""

from __future__ import annotations

import importlib
import sys

from robotseg_core.lifetime import hangup_ends
from robotseg_ros.common.allocator import keep_image_memory

NODES = {
    "self_filter": ("robotseg_ros.companions.self_filter", "SelfFilter"),
    "servo": ("robotseg_ros.companions.servo", "Servo"),
    "safety_monitor": ("robotseg_ros.companions.safety_monitor", "SafetyMonitor"),
    "viewer": ("robotseg_ros.companions.viewer", "Viewer"),
}
"""Module and class of each node; modules are imported only when they are used."""


def run(name: str) -> int:
    """Run a node of :data:`NODES` until it is interrupted.

    Returns:
        Exit status: 0, or 1 when a parameter is wrong.
    """
    keep_image_memory()
    # Only now: the allocator must be set before rclpy is loaded.
    import rclpy
    from rclpy.executors import ExternalShutdownException

    from robotseg_ros.common.camera_log import in_a_line
    from robotseg_ros.common.executor import SteadyExecutor

    module, kind = NODES[name]
    node = None
    try:
        try:
            rclpy.init()
            node = getattr(importlib.import_module(module), kind)()
        # Whatever a parameter file or the file of the zones holds: one line, which names what is wrong.
        except Exception as error:
            rclpy.logging.get_logger(name).fatal(f"cannot start: {in_a_line(error)}")
            return 1
        hangup_ends()
        executor = SteadyExecutor()
        executor.add_node(node)
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
    return 0


def main() -> int:
    """Run the node whose name is the first argument."""
    if len(sys.argv) < 2 or sys.argv[1] not in NODES:
        print(f"run_node: give one of {', '.join(NODES)}", file=sys.stderr)
        return 2
    return run(sys.argv[1])


if __name__ == "__main__":
    sys.exit(main())
