# SPDX-License-Identifier: Apache-2.0
"""The topics that the node publishes.  Pictures are composed only for those that somebody subscribes to."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from robotseg_core import pictures
from robotseg_core.types import PARTS, PartMasks, State
from robotseg_ros import messages, parameters
from robotseg_ros import msg as ros_msg
from robotseg_ros.model import Model

# Reliable serves subscribers of both kinds (rviz asks for reliable). A reader that falls behind loses old masks.
OUTPUT_QOS = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)


class Publishers:
    """All outputs of one node with one model.  They may be used from another thread than the executor's."""

    def __init__(self, node: LifecycleNode, model: Model) -> None:
        self._node = node
        self._model = model
        self._made: list[Any] = []
        try:
            self._masks = {part: self._advertise(Image, f"{part}_mask") for part in PARTS}
            self._masked_image = self._advertise(Image, "masked_image")
            self._overlay = self._advertise(Image, "overlay")
            self._parts = self._advertise(ros_msg.PartMasks, "parts")
        except Exception:
            self.destroy()
            raise

    def _advertise(self, kind: type, topic: str) -> Any:
        self._made.append(self._node.create_lifecycle_publisher(kind, f"~/{topic}", OUTPUT_QOS))
        return self._made[-1]

    def publish(
        self, header: Header, rgb: NDArray[np.uint8], result: PartMasks, *, decode_ms: float, dropped: int
    ) -> None:
        """Publish the answer to one image.

        Args:
            header: of the image; goes out unchanged with everything.
            rgb: [H, W, 3] uint8, the image.
            result: masks of that image.
            decode_ms: time of decoding the image, ms.
            dropped: images replaced by a newer one since the last answer.
        """
        # The masks go first: somebody acts on them, the pictures are looked at.
        for part, publisher in self._masks.items():
            if publisher.get_subscription_count():
                publisher.publish(messages.to_image(header, result[part].mask, "mono8"))
        self._parts.publish(
            messages.to_part_masks(
                header, self._model, result, decode_ms=decode_ms, age_ms=self._age_ms(header), dropped=dropped
            )
        )
        if self._masked_image.get_subscription_count():
            mask = pictures.keep_robot if parameters.keeps_robot(self._node) else pictures.remove_robot
            self._masked_image.publish(messages.to_image(header, mask(rgb, result["robot"].mask), "rgb8"))
        if self._overlay.get_subscription_count():
            self._overlay.publish(messages.to_image(header, pictures.overlay(rgb, result), "rgb8"))

    def publish_without_parts(self, header: Header | None, state: State, *, dropped: int) -> None:
        """Publish that nothing is known: a state, no parts and no masks.  Without a header the age is NaN."""
        age_ms = float("nan") if header is None else self._age_ms(header)
        header = header or Header()
        self._parts.publish(messages.without_parts(header, self._model, state, age_ms=age_ms, dropped=dropped))

    def destroy(self) -> None:
        """Take the topics down."""
        while self._made:
            self._node.destroy_lifecycle_publisher(self._made.pop())

    def _age_ms(self, header: Header) -> float:
        return (self._node.get_clock().now().nanoseconds - messages.stamp_ns(header)) / 1e6
