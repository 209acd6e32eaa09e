# SPDX-License-Identifier: Apache-2.0
"""A process of its own that sends back every PartMasks and Prompt it receives."""

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor

from robotseg_core.lifetime import end_at_once
from robotseg_ros.msg import PartMasks, Prompt

if __name__ == "__main__":
    rclpy.init()
    node = rclpy.create_node("echo")
    for name, kind in (("parts", PartMasks), ("prompt", Prompt)):
        back = node.create_publisher(kind, f"/back/{name}", 10)
        node.create_subscription(kind, f"/there/{name}", back.publish, 10)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        # Not spin(): a signal that comes between its look at the context and its wait need not wake it.
        while rclpy.ok():
            executor.spin_once(timeout_sec=0.2)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    # Nothing is to be taken down here that could fail.
    end_at_once(0)
