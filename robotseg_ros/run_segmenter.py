# SPDX-License-Identifier: Apache-2.0
"""The node as a process: ``ros2 run robotseg_ros segmenter`` or ``python -m robotseg_ros.run_segmenter``."""

from __future__ import annotations

import os
import sys

from robotseg_ros.common.allocator import keep_image_memory, keep_out_of_collections
from robotseg_ros.common.fastdds import prepare
from robotseg_ros.common.model import ModelLoader, load_robotseg


def main(load_model: ModelLoader = load_robotseg) -> int:
    """Run until interrupted.

    Args:
        load_model: makes the model when the node is configured.

    Returns:
        Exit status: 0, or 1 when a parameter is wrong, or when ``autostart`` is set and the node cannot start.
    """
    keep_image_memory()
    trouble = prepare(os.environ)
    # Only now: profile and allocator must be set before rclpy is loaded.
    import rclpy
    from rclpy.exceptions import NameValidationException, ParameterException
    from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
    from rclpy.signals import SignalHandlerOptions, install_signal_handlers

    from robotseg_ros.common.unknown_parameters import unknown_parameters
    from robotseg_ros.segmenter.node import NODE_NAME, Segmenter

    # rclpy's handlers wake its executor and nothing else: until that spins, Ctrl-C must break off a model's loading.
    segmenter = executor = None
    try:
        try:
            rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
            segmenter = Segmenter(load_model)
        # RuntimeError is what rcl raises for arguments that it cannot read.
        except (ParameterException, NameValidationException, ValueError, RuntimeError) as error:
            rclpy.logging.get_logger(NODE_NAME).fatal(f"cannot start: {' '.join(str(error).split())}")
            return 1
        for words in (trouble, *unknown_parameters(segmenter)):
            if words:
                segmenter.get_logger().warning(words)
        if segmenter.options.autostart and not segmenter.autostart():
            return 1
        keep_out_of_collections()
        install_signal_handlers()
        executor = SingleThreadedExecutor()
        executor.add_node(segmenter)
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        ended = segmenter is None or segmenter.stop()
        if executor is not None:
            # It holds what it waited for, and that the node.
            executor.shutdown()
        if segmenter is not None:
            segmenter.destroy_node()
        rclpy.try_shutdown()
        if not ended:
            # Python would wait for nothing, but take down the libraries under a model that hangs in them.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
