# SPDX-License-Identifier: Apache-2.0
"""What nodes share that read masks and the depth of the same camera: self-filter and servo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from robotseg_core.geometry.depth_filter import Depth
from robotseg_ros.common.fixed_parameters import FixedParameters
from robotseg_ros.common.image_codec import CodecError
from robotseg_ros.companions.calibration import Calibration
from robotseg_ros.companions.depth_codec import decode_depth, decode_mask
from robotseg_ros.companions.silence import Silence

# Serves subscribers of both kinds.
RELIABLE = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
SENSOR = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
LOG_PERIOD_S = 5.0


@dataclass(frozen=True)
class AlignedInputs:
    """Parameters of what is read.

    Attributes:
        mask, depth, camera_info: topics.
        slop: how far apart the stamps of mask and depth may be, seconds.
        patience: how long the one waits for the other, seconds.
    """

    mask: str
    depth: str
    camera_info: str
    slop: float
    patience: float

    @staticmethod
    def declare(fixed: FixedParameters, *, mask: str, used_for: str, patience: float, waits: str) -> AlignedInputs:
        """Declare the parameters.

        Args:
            fixed: of the node.
            mask, patience: defaults.
            used_for: what the mask is, for its description: "Mask of ...".
            waits: what waits for what, likewise: "Seconds that ...".
        """
        aligned = "/camera/aligned_depth_to_color"
        return AlignedInputs(
            mask=fixed.text("mask", mask, f"Mask of {used_for} (sensor_msgs/Image, mono8)."),
            depth=fixed.text("depth", f"{aligned}/image_raw", "Depth image aligned with the segmented camera."),
            camera_info=fixed.text("camera_info", f"{aligned}/camera_info", "Calibration of the depth image."),
            slop=fixed.number("slop", 0.005, 0.0, 1.0, "Seconds between the stamps of mask and depth at most."),
            patience=fixed.number("patience", patience, 0.01, 10.0, f"Seconds that {waits}."),
        )


class AlignedDepthNode(Node):
    """A node that is given decoded masks and depth images, and keeps the calibration.

    Attributes:
        refused: messages that were not what they said.
        calibration: of the depth image; from :meth:`listen` on.

    Args:
        name: of the node.
        **node_arguments: passed to ``rclpy.node.Node``.
    """

    calibration: Calibration
    _inputs: AlignedInputs

    def __init__(self, name: str, **node_arguments: Any) -> None:
        super().__init__(name, **node_arguments)
        self.refused = 0
        self._silence = Silence(self)

    def listen(self, inputs: AlignedInputs) -> None:
        """Subscribe, and look four times in ``patience`` for what has waited long enough."""
        self._inputs = inputs
        self.create_subscription(Image, inputs.depth, self._decode_depth, SENSOR)
        self.create_subscription(Image, inputs.mask, self._decode_mask, RELIABLE)
        self._silence.watch(inputs.depth, "depth image", Image, SENSOR)
        self._silence.watch(inputs.mask, "mask", Image, RELIABLE)
        self.calibration = Calibration(self, inputs.camera_info, lambda error: self.refuse("camera_info", error))
        # By the steady clock: it goes on where the node's clock stands still, as that of a bag that is paused.
        self.create_timer(inputs.patience / 4, self.on_time, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def on_depth(self, header: Header, depth: Depth) -> None:
        """Take a depth image [H, W], uint16 in mm or float32 in m."""
        raise NotImplementedError

    def on_mask(self, header: Header, mask: NDArray[np.uint8]) -> None:
        """Take a mask [H, W], 0 or not 0."""
        raise NotImplementedError

    def on_time(self) -> None:
        """Decide what has waited long enough."""
        raise NotImplementedError

    def refuse(self, what: str, error: Exception) -> None:
        """Count and log a message that is not what it says."""
        # Said before it is counted: whoever sees the count finds the reason in the log.
        self.get_logger().warning(
            f"{what} refused: {error} ({self.refused + 1} refused so far)", throttle_duration_sec=LOG_PERIOD_S
        )
        self.refused += 1

    def _decode_depth(self, message: Image) -> None:
        self._silence.heard(self._inputs.depth)
        try:
            depth = decode_depth(message)
        except CodecError as error:
            self.refuse("depth image", error)
        else:
            self.on_depth(message.header, depth)

    def _decode_mask(self, message: Image) -> None:
        self._silence.heard(self._inputs.mask)
        try:
            mask = decode_mask(message)
        except CodecError as error:
            self.refuse("mask", error)
        else:
            self.on_mask(message.header, mask)
