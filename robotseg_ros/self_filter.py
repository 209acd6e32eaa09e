# SPDX-License-Identifier: Apache-2.0
"""The self-filter node: a depth image without the robot, by the segmenter's mask instead of a URDF."""

from __future__ import annotations

import array
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rcl_interfaces.msg import IntegerRange, ParameterDescriptor
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image, PointCloud2, PointField
from std_msgs.msg import Header

from robotseg_core.camera import CameraError
from robotseg_core.depth_filter import Depth, cut_out, to_points
from robotseg_core.stamp_match import Match, StampMatcher
from robotseg_ros.calibration import Calibration
from robotseg_ros.codec import CodecError
from robotseg_ros.depth_codec import decode_depth, decode_mask
from robotseg_ros.fixed_parameters import FixedParameters
from robotseg_ros.messages import stamp_ns, to_image

NODE_NAME = "self_filter"
DROP, UNKNOWN = "drop", "unknown"
QUEUE = 32
"""Images and masks kept, each: a second of a 30 Hz camera."""
MAX_MARGIN = 100
LOG_PERIOD_S = 5.0
SILENCE_S = 2.0
"""So long without any mask is worth a warning."""


@dataclass(frozen=True)
class SelfFilterOptions:
    """Parameters that stay what they are.

    Attributes:
        depth, mask, camera_info: topics.
        slop: how far apart the stamps of depth and mask may be, seconds.
        patience: how long a depth image waits for its mask, seconds.
        without_mask: what is published for a depth image whose mask is not known.
    """

    depth: str
    mask: str
    camera_info: str
    slop: float
    patience: float
    without_mask: str

    @staticmethod
    def declare(node: Node) -> SelfFilterOptions:
        """Declare the parameters, also ``margin``, which can be changed while running."""
        fixed = FixedParameters(node)
        node.declare_parameter(
            "margin",
            5,
            ParameterDescriptor(
                description="By how many pixels of the depth image the mask is grown; can be changed at any time.",
                integer_range=[IntegerRange(from_value=0, to_value=MAX_MARGIN, step=1)],
            ),
        )
        aligned = "/camera/aligned_depth_to_color"
        return SelfFilterOptions(
            depth=fixed.text("depth", f"{aligned}/image_raw", "Depth image aligned with the segmented camera."),
            mask=fixed.text("mask", "/robotseg/robot_mask", "Mask of what is cut out (sensor_msgs/Image, mono8)."),
            camera_info=fixed.text(
                "camera_info", f"{aligned}/camera_info", "Calibration of the depth image, for points."
            ),
            slop=fixed.number("slop", 0.005, 0.0, 1.0, "Seconds between the stamps of depth and mask at most."),
            patience=fixed.number("patience", 0.5, 0.01, 10.0, "Seconds that a depth image waits for its mask."),
            without_mask=fixed.text(
                "without_mask", DROP, "Depth without a mask: drop it, or publish it as unknown.", (DROP, UNKNOWN)
            ),
        )


class SelfFilter(Node):
    """Node ``self_filter``: depth and masks in, depth without the robot out.

    Attributes:
        options: the read-only parameters.
        filtered: depth images whose mask came.
        without_mask: depth images whose mask did not come.
        refused: messages that were not what they said.

    Args:
        **node_arguments: passed to ``rclpy.node.Node``.

    Raises:
        ValueError: a parameter is out of its range.
        rclpy.exceptions.ParameterException: a parameter is of another type.
    """

    def __init__(self, **node_arguments: Any) -> None:
        super().__init__(NODE_NAME, **node_arguments)
        options = self.options = SelfFilterOptions.declare(self)
        self.filtered = self.without_mask = self.refused = 0
        self._last_filtered = time.monotonic()
        self._matcher: StampMatcher[tuple[Header, Depth], NDArray[np.uint8]] = StampMatcher(
            slop=round(options.slop * 1e9), patience=options.patience, depth=QUEUE
        )
        # Reliable serves subscribers of both kinds.
        reliable = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
        sensor = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._depth = self.create_publisher(Image, "~/depth", reliable)
        self._unknown = self.create_publisher(Image, "~/unknown", reliable)
        self._points = self.create_publisher(PointCloud2, "~/points", reliable)
        self.create_subscription(Image, options.depth, self._on_depth, sensor)
        self.create_subscription(Image, options.mask, self._on_mask, reliable)
        self._calibration = Calibration(self, options.camera_info, lambda error: self._refuse("camera_info", error))
        # By the steady clock: it goes on where the node's clock stands still, as that of a bag that is paused.
        self.create_timer(options.patience / 4, self._on_time, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _on_depth(self, message: Image) -> None:
        try:
            depth = decode_depth(message)
        except CodecError as error:
            self._refuse("depth image", error)
            return
        self._publish_all(self._matcher.put_item(stamp_ns(message.header), (message.header, depth), time.monotonic()))

    def _on_mask(self, message: Image) -> None:
        try:
            mask = decode_mask(message)
        except CodecError as error:
            self._refuse("mask", error)
            return
        self._publish_all(self._matcher.put_partner(stamp_ns(message.header), mask, time.monotonic()))

    def _on_time(self) -> None:
        self._publish_all(self._matcher.decide(time.monotonic()))

    def _publish_all(self, matches: Iterable[Match[tuple[Header, Depth], NDArray[np.uint8]]]) -> None:
        for match in matches:
            header, depth = match.item
            if match.partner is None:
                self._miss()
                if self.options.without_mask == DROP:
                    continue
            self._publish(header, depth, match.partner)

    def _miss(self) -> None:
        """Count a depth image without a mask; where the camera is faster than the model, that is as it should be."""
        self.without_mask += 1
        if time.monotonic() - self._last_filtered > SILENCE_S:
            self.get_logger().warning(
                f"for {SILENCE_S:.0f} s no mask on {self.options.mask} within {self.options.slop} s of the stamp of a "
                f"depth image ({self.without_mask} images without one so far)",
                throttle_duration_sec=LOG_PERIOD_S,
            )

    def _publish(self, header: Header, depth: Depth, mask: NDArray[np.uint8] | None) -> None:
        if mask is not None:
            self.filtered += 1
            self._last_filtered = time.monotonic()
        if not any(p.get_subscription_count() for p in (self._depth, self._unknown, self._points)):
            return
        try:
            result = cut_out(depth, mask, self.get_parameter("margin").value)
        except ValueError as error:
            self._refuse("mask", error)
            return
        if self._depth.get_subscription_count():
            self._depth.publish(to_depth_image(header, result.depth))
        if self._unknown.get_subscription_count():
            self._unknown.publish(to_image(header, result.unknown, "mono8"))
        if not self._points.get_subscription_count():
            return
        if self._calibration.camera is None:
            self.get_logger().warning(
                f"no usable calibration on {self.options.camera_info}, so no points", throttle_duration_sec=LOG_PERIOD_S
            )
            return
        try:
            self._points.publish(to_cloud(header, to_points(result.depth, self._calibration.camera)))
        except CameraError as error:
            self._refuse("camera_info", error)

    def _refuse(self, what: str, error: Exception) -> None:
        self.refused += 1
        self.get_logger().warning(
            f"{what} refused: {error} ({self.refused} refused so far)", throttle_duration_sec=LOG_PERIOD_S
        )


def to_depth_image(header: Header, depth: Depth) -> Image:
    """Make a ``sensor_msgs/Image`` of depth [H, W]: 16UC1 of uint16 (mm), 32FC1 of float32 (m)."""
    image = Image(header=header, height=depth.shape[0], width=depth.shape[1])
    image.encoding = "16UC1" if depth.dtype == np.uint16 else "32FC1"
    image.is_bigendian = int(sys.byteorder == "big")
    image.step = depth.shape[1] * depth.itemsize
    image.data = array.array("B")
    image.data.frombytes(np.ascontiguousarray(depth).view(np.uint8))
    return image


def to_cloud(header: Header, points: NDArray[np.float32]) -> PointCloud2:
    """Make an organised ``sensor_msgs/PointCloud2`` of points [H, W, 3] (metres, NaN where there is none)."""
    height, width = points.shape[:2]
    cloud = PointCloud2(header=header, height=height, width=width, point_step=12, row_step=12 * width)
    cloud.fields = [
        PointField(name=axis, offset=4 * i, datatype=PointField.FLOAT32, count=1) for i, axis in enumerate("xyz")
    ]
    cloud.is_bigendian, cloud.is_dense = sys.byteorder == "big", False
    cloud.data = array.array("B")
    cloud.data.frombytes(np.ascontiguousarray(points).view(np.uint8))
    return cloud
