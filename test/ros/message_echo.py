# SPDX-License-Identifier: Apache-2.0
"""A process of its own that sends back every PartMasks and Prompt it receives."""

import rclpy

from robotseg_ros.msg import PartMasks, Prompt

if __name__ == "__main__":
    rclpy.init()
    node = rclpy.create_node("echo")
    for name, kind in (("parts", PartMasks), ("prompt", Prompt)):
        back = node.create_publisher(kind, f"/back/{name}", 10)
        node.create_subscription(kind, f"/there/{name}", back.publish, 10)
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, rclpy.executors.ExternalShutdownException):
        pass
