# SPDX-License-Identifier: Apache-2.0
"""Where the gripper is, in words: its mask and what is said of it, of the same image, joined by their stamp."""

import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from sensor_msgs.msg import Image

from robotseg_ros.msg import PartMasks

try:
    from message_filters import Subscriber, TimeSynchronizer
except ImportError:  # it comes with ROS, not from pip
    TimeSynchronizer = None

KNOWN = (PartMasks.SEARCHING, PartMasks.TRACKING, PartMasks.DEGRADED, PartMasks.LOST)
QUEUE = 10


class MaskSubscriber(Node):
    """Hears ``gripper_mask`` and ``parts`` below ``prefix``."""

    def __init__(self) -> None:
        super().__init__("mask_subscriber")
        prefix = self.declare_parameter("prefix", "/robotseg").value
        mask, parts = f"{prefix}/gripper_mask", f"{prefix}/parts"
        # STALE and FAULT come without masks: no synchroniser ever shows them.
        self.create_subscription(PartMasks, parts, self.unknown, QUEUE)
        if TimeSynchronizer is not None:
            self.both = TimeSynchronizer([Subscriber(self, Image, mask), Subscriber(self, PartMasks, parts)], QUEUE)
            self.both.registerCallback(self.together)
        else:
            self.waiting: dict[tuple[int, int], Image | PartMasks] = {}
            self.create_subscription(Image, mask, self.one, QUEUE)
            self.create_subscription(PartMasks, parts, self.one, QUEUE)

    def one(self, message: Image | PartMasks) -> None:
        """Masks and parts have the stamp of their image, bit for bit: whichever comes second finds the other."""
        if isinstance(message, PartMasks) and message.state not in KNOWN:
            return  # comes without masks, and again and again with one stamp
        stamp = (message.header.stamp.sec, message.header.stamp.nanosec)
        other = self.waiting.pop(stamp, None)
        if other is None:
            self.waiting[stamp] = message
            while len(self.waiting) > QUEUE:
                self.waiting.pop(next(iter(self.waiting)))
        elif isinstance(other, Image):
            self.together(other, message)
        else:
            self.together(message, other)

    def unknown(self, parts: PartMasks) -> None:
        """Nothing is known of the robot: whoever moves by these masks stops here."""
        if parts.state not in KNOWN:
            print("STALE" if parts.state == PartMasks.STALE else "FAULT", "nothing is known", flush=True)

    def together(self, image: Image, parts: PartMasks) -> None:
        """A mask and what is said of it."""
        mask = np.frombuffer(image.data, np.uint8).reshape(image.height, image.step)[:, : image.width]
        gripper = next((part for part in parts.parts if part.name == "gripper"), None)
        if parts.state == PartMasks.TRACKING and gripper is not None and gripper.present:
            where = f"at ({gripper.centroid.x:.1f}, {gripper.centroid.y:.1f})"
            print(f"TRACKING gripper {where}, {(mask > 0).sum()} pixels, score {gripper.score:.2f}", flush=True)
        else:
            print(f"state {parts.state}: no gripper to go by", flush=True)


def main() -> None:
    """Run until interrupted."""
    rclpy.init()
    try:
        rclpy.spin(MaskSubscriber())
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
