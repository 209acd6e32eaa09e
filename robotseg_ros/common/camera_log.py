# SPDX-License-Identifier: Apache-2.0
"""What is said about a camera in the log: its name first, and nothing over and over."""

from __future__ import annotations

import time

from rclpy.node import Node

LOG_PERIOD_S = 5.0
"""A camera that sends garbage at 30 Hz is reported this often."""


class CameraLog:
    """Lines about one camera; each is about a topic, on which nothing is said again for :data:`LOG_PERIOD_S`.

    Args:
        node: whose log it is.
        camera: name of the camera among several, else empty.
    """

    def __init__(self, node: Node, camera: str) -> None:
        self._node = node
        self._prefix = f"camera {camera}: " if camera else ""
        self._said: dict[str, float] = {}

    def info(self, topic: str, words: str) -> None:
        """Say what is as it should be."""
        if self._may_say(topic):
            self._node.get_logger().info(f"{self._prefix}{words}")

    def warning(self, topic: str, words: str) -> None:
        """Say what a user should look at."""
        if self._may_say(topic):
            self._node.get_logger().warning(f"{self._prefix}{words}")

    def error(self, topic: str, words: str) -> None:
        """Say what has failed."""
        if self._may_say(topic):
            self._node.get_logger().error(f"{self._prefix}{words}")

    def _may_say(self, topic: str) -> bool:
        now = time.monotonic()
        if now - self._said.get(topic, -LOG_PERIOD_S) < LOG_PERIOD_S:
            return False
        self._said[topic] = now
        return True
