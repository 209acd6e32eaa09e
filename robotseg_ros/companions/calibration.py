# SPDX-License-Identifier: Apache-2.0
"""The calibration of a camera, from its camera_info topic."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo

from robotseg_core.geometry.camera import Camera, CameraError

QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)


class Calibration:
    """Keeps the last calibration of a topic.

    Attributes:
        camera: for images as the camera makes them (raw, or rectified with D = 0); None before the first, and where
            the last one cannot be used.

    Args:
        node: that listens.
        topic: of ``sensor_msgs/CameraInfo``.
        refuse: called with the reason when a calibration cannot be used; once for the same one.
    """

    def __init__(self, node: Node, topic: str, refuse: Callable[[CameraError], None]) -> None:
        self.camera: Camera | None = None
        self._refuse = refuse
        self._last: tuple[object, ...] = ()
        node.create_subscription(CameraInfo, topic, self._on_info, QOS)

    def _on_info(self, message: CameraInfo) -> None:
        # Sent with every image: read again only when it changes.
        width, height, k, d = message.width, message.height, tuple(message.k), tuple(message.d)
        fields = (width, height, k, d, message.distortion_model)
        if fields == self._last:
            return
        self._last = fields
        try:
            self.camera = Camera.from_matrix(width, height, k, message.distortion_model, d)
        except CameraError as error:
            self.camera = None
            self._refuse(error)
