# SPDX-License-Identifier: Apache-2.0
"""The node as a process: ``ros2 run robotseg_ros segmenter`` or ``python -m robotseg_ros.run_segmenter``."""

from __future__ import annotations

import os
import sys

from robotseg_core.lifetime import Ending, end_at_once
from robotseg_ros.common.allocator import keep_image_memory, keep_out_of_collections
from robotseg_ros.common.fastdds import prepare
from robotseg_ros.common.model import ModelLoader, load_robotseg
from robotseg_ros.run_node import why_no_ros


def main(load_model: ModelLoader = load_robotseg) -> int:
    """Run until interrupted.

    Args:
        load_model: makes the model when the node is configured.

    Returns:
        Exit status: 0, or 1 when a parameter is wrong, or when ``autostart`` is set and the node cannot start.
    """
    ending = Ending()
    keep_image_memory()
    trouble = prepare(os.environ)
    # Only now: profile and allocator must be set before rclpy is loaded.
    missing = why_no_ros()
    if missing:
        print(f"robotseg: cannot start: {missing}", file=sys.stderr)
        return 1
    import rclpy
    from rclpy.executors import ExternalShutdownException
    from rclpy.signals import SignalHandlerOptions

    from robotseg_ros.common.camera_log import in_a_line
    from robotseg_ros.common.executor import SteadyExecutor
    from robotseg_ros.segmenter.node import NODE_NAME, Segmenter
    from robotseg_ros.unknown_parameters import unknown_parameters

    segmenter = executor = None
    try:
        try:
            # Ours stay: rclpy's raise KeyboardInterrupt in the middle of rclpy.
            ending.begin()
            rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
            segmenter = Segmenter(load_model, give_up=ending.check)
        # Whatever a parameter file holds: one line, which names what is wrong.
        except Exception as error:
            rclpy.logging.get_logger(NODE_NAME).fatal(f"cannot start: {in_a_line(error)}")
            return 1
        for words in (trouble, *unknown_parameters(segmenter)):
            if words:
                segmenter.get_logger().warning(words)
        if segmenter.options.autostart and not segmenter.autostart():
            return 1
        keep_out_of_collections()
        executor = SteadyExecutor()
        executor.add_node(segmenter)
        ending.wakes(executor.stop)
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        try:
            ended = segmenter is None or segmenter.stop()
            if executor is not None:
                # It holds what it waited for, and that the node.
                executor.shutdown()
            if segmenter is not None:
                segmenter.destroy_node()
            rclpy.try_shutdown()
        except KeyboardInterrupt:
            # Somebody does not want to wait.
            end_at_once(130)
        if not ended:
            end_at_once(0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
