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
from rclpy.node import Node
from sensor_msgs.msg import Image, PointCloud2, PointField
from std_msgs.msg import Header

from robotseg_core.geometry.camera import CameraError
from robotseg_core.geometry.depth_filter import Depth, FilteredDepth, cut_out, to_points
from robotseg_core.geometry.stamp_match import Match, StampMatcher
from robotseg_ros.common.messages import stamp_ns, to_image
from robotseg_ros.companions.aligned_depth import RELIABLE, AlignedDepthNode, AlignedInputs, ViewError
from robotseg_ros.companions.depth_codec import to_depth_image
from robotseg_ros.companions.fixed_parameters import FixedParameters

NODE_NAME = "self_filter"
DROP, UNKNOWN = "drop", "unknown"
QUEUE = 32
"""Images and masks kept, each: a second of a 30 Hz camera."""
MAX_MARGIN = 100
SILENCE_S = 2.0
"""So long without any mask is worth a warning."""


@dataclass(frozen=True)
class SelfFilterOptions:
    """Parameters that stay what they are.

    Attributes:
        inputs: what is read; depth waits for its mask.
        without_mask: what is published for a depth image whose mask is not known.
    """

    inputs: AlignedInputs
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
        return SelfFilterOptions(
            inputs=AlignedInputs.declare(
                fixed,
                mask="/robotseg/robot_mask",
                used_for="what is cut out",
                patience=0.5,
                waits="a depth image waits for its mask",
            ),
            without_mask=fixed.text(
                "without_mask", DROP, "Depth without a mask: drop it, or publish it as unknown.", (DROP, UNKNOWN)
            ),
        )


class SelfFilter(AlignedDepthNode):
    """Node ``self_filter``: depth and masks in, depth without the robot out.

    Attributes:
        options: the read-only parameters.
        filtered: depth images whose mask came.
        without_mask: depth images whose mask did not come.

    Args:
        **node_arguments: passed to ``rclpy.node.Node``.

    Raises:
        ValueError: a parameter is out of its range.
        rclpy.exceptions.ParameterException: a parameter is of another type.
    """

    def __init__(self, **node_arguments: Any) -> None:
        super().__init__(NODE_NAME, **node_arguments)
        options = self.options = SelfFilterOptions.declare(self)
        self.filtered = self.without_mask = 0
        self._last_filtered = time.monotonic()
        self._matcher: StampMatcher[tuple[Header, Depth], tuple[Header, NDArray[np.uint8]]] = StampMatcher(
            slop=round(options.inputs.slop * 1e9), patience=options.inputs.patience, depth=QUEUE
        )
        self._depth = self.create_publisher(Image, "~/depth", RELIABLE)
        self._unknown = self.create_publisher(Image, "~/unknown", RELIABLE)
        self._points = self.create_publisher(PointCloud2, "~/points", RELIABLE)
        self.listen(options.inputs)

    def on_depth(self, header: Header, depth: Depth) -> None:
        """Take a depth image, which waits for its mask."""
        self._publish_all(self._matcher.put_item(stamp_ns(header), (header, depth), time.monotonic()))

    def on_mask(self, header: Header, mask: NDArray[np.uint8]) -> None:
        """Take a mask."""
        self._publish_all(self._matcher.put_partner(stamp_ns(header), (header, mask), time.monotonic()))

    def on_time(self) -> None:
        """Decide on the depth images that have waited long enough."""
        self._publish_all(self._matcher.decide(time.monotonic()))

    def values(self) -> dict[str, str]:
        """What the node has counted, for /diagnostics."""
        return {"filtered": str(self.filtered), "without_mask": str(self.without_mask)}

    def _publish_all(self, matches: Iterable[Match[tuple[Header, Depth], tuple[Header, NDArray[np.uint8]]]]) -> None:
        for match in matches:
            header, depth = match.item
            result = None
            if match.partner is None:
                self._miss()
            else:
                result = self._cut_out(header, depth, *match.partner)
            if result is None and self.options.without_mask == UNKNOWN:
                result = cut_out(depth, None)
            if result is not None:
                self._publish(header, result)

    def _cut_out(self, header: Header, depth: Depth, of: Header, mask: NDArray[np.uint8]) -> FilteredDepth | None:
        """The depth image without the robot; None where the mask is not of its view."""
        try:
            self.check_same_view(of, header)
            result = cut_out(depth, mask, self.get_parameter("margin").value)
        except ValueError as error:
            self.refuse_pair(error)
            return None
        self.filtered += 1
        self._last_filtered = time.monotonic()
        return result

    def _miss(self) -> None:
        """Count a depth image without a mask; where the camera is faster than the model, that is as it should be."""
        self.without_mask += 1
        if time.monotonic() - self._last_filtered > SILENCE_S:
            inputs = self.options.inputs
            self.inputs.log.warning(
                "miss",
                f"for {SILENCE_S:.0f} s no mask on {self.resolve_topic_name(inputs.mask)} within {inputs.slop} s of "
                f"the stamp of a depth image ({self.without_mask} images without one so far)",
            )

    def _publish(self, header: Header, result: FilteredDepth) -> None:
        if self._depth.get_subscription_count():
            self._depth.publish(to_depth_image(header, result.depth))
        if self._unknown.get_subscription_count():
            self._unknown.publish(to_image(header, result.unknown, "mono8"))
        if not self._points.get_subscription_count():
            return
        try:
            camera = self.camera_of(header)
            if camera is None:
                topic = self.calibration.input.topic
                self.inputs.log.warning("points", f"no usable calibration on {topic}, so no points")
                return
            self._points.publish(to_cloud(header, to_points(result.depth, camera)))
        except (CameraError, ViewError) as error:
            self.inputs.refuse(self.calibration.input, error)


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
