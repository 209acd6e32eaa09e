# SPDX-License-Identifier: Apache-2.0
"""The calibration of a camera, from its camera_info topic, and whether two of them are of one view."""

from __future__ import annotations

from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo

from robotseg_core.geometry.camera import Camera, CameraError
from robotseg_ros.companions.inputs import Input, Inputs

QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
TOLERANCE = 0.02
"""How far the focal lengths of one view may be apart, of themselves, and its principal points, of the image's side."""


class Calibration:
    """Keeps the last calibration of a topic.

    Attributes:
        camera: for images as the camera makes them (raw, or rectified with D = 0); None before the first, and where
            the last one cannot be used.
        frame_id: that it is of.

    Args:
        inputs: of the node that listens.
        topic: of ``sensor_msgs/CameraInfo``.
        what: it is of, for the log.
    """

    def __init__(self, inputs: Inputs, topic: str, what: str = "camera_info") -> None:
        self.camera: Camera | None = None
        self.frame_id = ""
        self._inputs = inputs
        self._last: tuple[object, ...] = ()
        self.input: Input = inputs.subscribe(CameraInfo, topic, self._on_info, QOS, what=what, needed=False)

    def _on_info(self, message: CameraInfo) -> None:
        self.frame_id = message.header.frame_id
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
            self._inputs.refuse(self.input, error)


def apart(a: Camera, b: Camera) -> str:
    """In what two cameras do not see the same view, whatever the size of their images; empty where they do."""
    for name, one, other in (
        ("focal length fx / width", a.fx / a.width, b.fx / b.width),
        ("focal length fy / height", a.fy / a.height, b.fy / b.height),
    ):
        if abs(one / other - 1) > TOLERANCE:
            return f"{name} is {one:.4f} and {other:.4f}"
    for name, one, other in (
        ("principal point cx / width", (a.cx + 0.5) / a.width, (b.cx + 0.5) / b.width),
        ("principal point cy / height", (a.cy + 0.5) / a.height, (b.cy + 0.5) / b.height),
    ):
        if abs(one - other) > TOLERANCE:
            return f"{name} is {one:.4f} and {other:.4f}"
    return ""
