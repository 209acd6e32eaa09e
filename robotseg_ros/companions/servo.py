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
from rclpy.node import Node
from sensor_msgs.msg import RegionOfInterest
from std_msgs.msg import Header

from robotseg_core.geometry.depth_filter import Depth
from robotseg_core.geometry.gripper_pose import ImagePose, Place, Uncertainty, locate, measure
from robotseg_core.geometry.stamp_match import Match, StampMatcher
from robotseg_ros.common.messages import stamp_ns
from robotseg_ros.companions.aligned_depth import RELIABLE, AlignedDepthNode, AlignedInputs, ViewError
from robotseg_ros.companions.fixed_parameters import FixedParameters
from robotseg_ros.msg import GripperPose

NODE_NAME = "servo"
QUEUE = 16
NO_ORIENTATION = math.pi**2 / 3
"""Variance of an angle of which nothing is known: uniform from -pi to pi, rad^2."""


@dataclass(frozen=True)
class ServoOptions:
    """Parameters of the node.

    Attributes:
        inputs: what is read; a mask waits for its depth.
        errors: what is known of the errors of depth and mask.
    """

    inputs: AlignedInputs
    errors: Uncertainty

    @staticmethod
    def declare(node: Node) -> ServoOptions:
        """Declare the parameters."""
        fixed = FixedParameters(node)
        usual = Uncertainty()
        return ServoOptions(
            inputs=AlignedInputs.declare(
                fixed,
                mask="/robotseg/gripper_mask",
                used_for="the part to follow",
                patience=0.2,
                waits="a mask waits for its depth",
            ),
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


class Servo(AlignedDepthNode):
    """Node ``servo``: the gripper's mask in; ``~/gripper``, ``~/point`` and ``~/pose`` out.

    ``~/gripper`` is published for every mask at once; the others when depth of that stamp and a calibration are there.

    Attributes:
        options: the parameters.

    Args:
        **node_arguments: passed to ``rclpy.node.Node``.

    Raises:
        ValueError: a parameter is out of its range.
        rclpy.exceptions.ParameterException: a parameter is of another type.
    """

    def __init__(self, **node_arguments: Any) -> None:
        super().__init__(NODE_NAME, **node_arguments)
        options = self.options = ServoOptions.declare(self)
        self.placed = self.without_depth = 0
        self._matcher: StampMatcher[tuple[Header, NDArray[np.uint8]], tuple[Header, Depth]] = StampMatcher(
            slop=round(options.inputs.slop * 1e9), patience=options.inputs.patience, depth=QUEUE
        )
        self._gripper = self.create_publisher(GripperPose, "~/gripper", RELIABLE)
        self._point = self.create_publisher(PointStamped, "~/point", RELIABLE)
        self._pose = self.create_publisher(PoseWithCovarianceStamped, "~/pose", RELIABLE)
        self.listen(options.inputs)

    def on_mask(self, header: Header, mask: NDArray[np.uint8]) -> None:
        """Take a mask, which is measured at once and waits for its depth."""
        pose = measure(mask)
        self._gripper.publish(to_gripper_pose(header, pose))
        if pose.present:
            self._publish_places(self._matcher.put_item(stamp_ns(header), (header, mask), time.monotonic()))

    def on_depth(self, header: Header, depth: Depth) -> None:
        """Take a depth image."""
        self._publish_places(self._matcher.put_partner(stamp_ns(header), (header, depth), time.monotonic()))

    def on_time(self) -> None:
        """Let go of the masks that have waited long enough."""
        self._publish_places(self._matcher.decide(time.monotonic()))

    def values(self) -> dict[str, str]:
        """What the node has counted, for /diagnostics."""
        return {"placed": str(self.placed), "without_depth": str(self.without_depth)}

    def _publish_places(self, matches: Iterable[Match[tuple[Header, NDArray[np.uint8]], tuple[Header, Depth]]]) -> None:
        for match in matches:
            # Without depth the image is all there is: nothing to complain of.
            if match.partner is None:
                self.without_depth += 1
                continue
            header, mask = match.item
            of, depth = match.partner
            try:
                self.check_same_view(header, of)
                camera = self.camera_of(of)
                if camera is None:
                    continue
                place = locate(mask, depth, camera, self.options.errors)
                check_finite(place)
            except ViewError as error:
                self.refuse_pair(error)
                continue
            except ValueError as error:
                self.inputs.log.warning("no point", f"no point: {error}")
                continue
            self.placed += 1
            point = Point(x=float(place.xyz[0]), y=float(place.xyz[1]), z=float(place.xyz[2]))
            self._point.publish(PointStamped(header=header, point=point))
            self._pose.publish(to_pose(header, place))


def check_finite(place: Place) -> None:
    """Raise ValueError where a place is none: depth may hold any number."""
    if not (np.isfinite(place.xyz).all() and np.isfinite(place.covariance).all()):
        raise ValueError(f"the place is {place.xyz.tolist()}, must be finite")


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
