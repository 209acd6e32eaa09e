# SPDX-License-Identifier: Apache-2.0
"""The servo node: the gripper's mask in numbers, and, with depth and calibration, where the gripper is in space."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from geometry_msgs.msg import Point, PointStamped, PoseWithCovarianceStamped
from numpy.typing import NDArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image, RegionOfInterest
from std_msgs.msg import Header

from robotseg_core.depth_filter import Depth
from robotseg_core.gripper_pose import ImagePose, Place, Uncertainty, locate, measure
from robotseg_core.stamp_match import Match, StampMatcher
from robotseg_ros.calibration import Calibration
from robotseg_ros.codec import CodecError
from robotseg_ros.depth_codec import decode_depth, decode_mask
from robotseg_ros.fixed_parameters import FixedParameters
from robotseg_ros.messages import stamp_ns
from robotseg_ros.msg import GripperPose

NODE_NAME = "servo"
QUEUE = 16
LOG_PERIOD_S = 5.0
NO_ORIENTATION = math.pi**2 / 3
"""Variance of an angle of which nothing is known: uniform from -pi to pi, rad^2."""


@dataclass(frozen=True)
class ServoOptions:
    """Parameters of the node.

    Attributes:
        mask, depth, camera_info: topics.
        slop: how far apart the stamps of mask and depth may be, seconds.
        patience: how long a mask waits for its depth, seconds.
        errors: what is known of the errors of depth and mask.
    """

    mask: str
    depth: str
    camera_info: str
    slop: float
    patience: float
    errors: Uncertainty

    @staticmethod
    def declare(node: Node) -> ServoOptions:
        """Declare the parameters."""
        fixed = FixedParameters(node)
        aligned = "/camera/aligned_depth_to_color"
        usual = Uncertainty()
        return ServoOptions(
            mask=fixed.text("mask", "/robotseg/gripper_mask", "Mask of the part to follow (sensor_msgs/Image, mono8)."),
            depth=fixed.text("depth", f"{aligned}/image_raw", "Depth image aligned with the segmented camera."),
            camera_info=fixed.text("camera_info", f"{aligned}/camera_info", "Calibration of the depth image."),
            slop=fixed.number("slop", 0.005, 0.0, 1.0, "Seconds between the stamps of mask and depth at most."),
            patience=fixed.number("patience", 0.2, 0.01, 10.0, "Seconds that a mask waits for its depth."),
            errors=Uncertainty(
                depth_constant=fixed.number(
                    "depth_constant", usual.depth_constant, 0.0, 1.0, "Deviation of measured depth at 0 m, m."
                ),
                depth_quadratic=fixed.number(
                    "depth_quadratic", usual.depth_quadratic, 0.0, 1.0, "Its growth with the depth squared, 1/m."
                ),
                edge=fixed.number("edge", usual.edge, 0.0, 50.0, "Deviation of the mask's edges, pixels."),
                least_measured=fixed.number(
                    "least_measured", usual.least_measured, 0.0, 1.0, "Share of the mask that must have a depth."
                ),
            ),
        )


class Servo(Node):
    """Node ``servo``: the gripper's mask in; ``~/gripper``, ``~/point`` and ``~/pose`` out.

    ``~/gripper`` is published for every mask at once; the others when depth of that stamp and a calibration are there.

    Attributes:
        options: the parameters.
        refused: messages that were not what they said.

    Args:
        **node_arguments: passed to ``rclpy.node.Node``.

    Raises:
        ValueError: a parameter is out of its range.
        rclpy.exceptions.ParameterException: a parameter is of another type.
    """

    def __init__(self, **node_arguments: Any) -> None:
        super().__init__(NODE_NAME, **node_arguments)
        options = self.options = ServoOptions.declare(self)
        self.refused = 0
        self._matcher: StampMatcher[tuple[Header, NDArray[np.uint8]], Depth] = StampMatcher(
            slop=round(options.slop * 1e9), patience=options.patience, depth=QUEUE
        )
        reliable = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
        sensor = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._gripper = self.create_publisher(GripperPose, "~/gripper", reliable)
        self._point = self.create_publisher(PointStamped, "~/point", reliable)
        self._pose = self.create_publisher(PoseWithCovarianceStamped, "~/pose", reliable)
        self.create_subscription(Image, options.mask, self._on_mask, reliable)
        self.create_subscription(Image, options.depth, self._on_depth, sensor)
        self._calibration = Calibration(self, options.camera_info, lambda error: self._refuse("camera_info", error))
        self.create_timer(options.patience / 4, self._on_time, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _on_mask(self, message: Image) -> None:
        try:
            mask = decode_mask(message)
        except CodecError as error:
            self._refuse("mask", error)
            return
        pose = measure(mask)
        self._gripper.publish(to_gripper_pose(message.header, pose))
        if pose.present:
            item = (message.header, mask)
            self._publish_places(self._matcher.put_item(stamp_ns(message.header), item, time.monotonic()))

    def _on_depth(self, message: Image) -> None:
        try:
            depth = decode_depth(message)
        except CodecError as error:
            self._refuse("depth image", error)
            return
        self._publish_places(self._matcher.put_partner(stamp_ns(message.header), depth, time.monotonic()))

    def _on_time(self) -> None:
        self._publish_places(self._matcher.decide(time.monotonic()))

    def _publish_places(self, matches: Iterable[Match[tuple[Header, NDArray[np.uint8]], Depth]]) -> None:
        for match in matches:
            # Without depth the image is all there is: nothing to complain of.
            if match.partner is None or self._calibration.camera is None:
                continue
            header, mask = match.item
            try:
                place = locate(mask, match.partner, self._calibration.camera, self.options.errors)
            except ValueError as error:
                self.get_logger().warning(f"no point: {error}", throttle_duration_sec=LOG_PERIOD_S)
                continue
            point = Point(x=float(place.xyz[0]), y=float(place.xyz[1]), z=float(place.xyz[2]))
            self._point.publish(PointStamped(header=header, point=point))
            self._pose.publish(to_pose(header, place))

    def _refuse(self, what: str, error: Exception) -> None:
        self.refused += 1
        self.get_logger().warning(
            f"{what} refused: {error} ({self.refused} refused so far)", throttle_duration_sec=LOG_PERIOD_S
        )


def to_gripper_pose(header: Header, pose: ImagePose) -> GripperPose:
    """Make the message of a measured mask."""
    x, y, width, height = pose.roi
    return GripperPose(
        header=header,
        present=pose.present,
        area=pose.area,
        centroid=Point(x=pose.centroid[0], y=pose.centroid[1]),
        roi=RegionOfInterest(x_offset=x, y_offset=y, width=width, height=height),
        axis_angle=pose.axis_angle,
        elongation=pose.elongation,
        contour=[Point(x=float(column), y=float(row)) for column, row in pose.contour],
    )


def to_pose(header: Header, place: Place) -> PoseWithCovarianceStamped:
    """Make the message of a place; its orientation is none, with the variance of an angle that nobody knows."""
    covariance = np.zeros((6, 6))
    covariance[:3, :3] = place.covariance
    covariance[3:, 3:] = np.eye(3) * NO_ORIENTATION
    message = PoseWithCovarianceStamped(header=header)
    position = message.pose.pose.position
    position.x, position.y, position.z = (float(value) for value in place.xyz)
    message.pose.covariance = covariance.ravel().tolist()
    return message
