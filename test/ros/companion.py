# SPDX-License-Identifier: Apache-2.0
"""A node beside the segmenter in a thread, and a client that feeds it and hears it."""

from collections import defaultdict

from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from ros_client import Spinner, wait_until
from std_msgs.msg import Header

from robotseg_ros.common.executor import SteadyExecutor


def header(stamp, frame_id="wrist_camera"):
    made = Header(frame_id=frame_id)
    made.stamp.sec, made.stamp.nanosec = divmod(stamp, 1_000_000_000)
    return made


class Running(Spinner):
    """A node class of ours with parameters, spinning."""

    def __init__(self, context, kind, **parameters):
        overrides = [Parameter(name, value=value) for name, value in parameters.items()]
        super().__init__(context, kind(context=context, parameter_overrides=overrides), SteadyExecutor)

    def close(self):
        super().close()
        assert not self.executor.failures


class Peer(Spinner):
    """Publishes on any topic and keeps what it hears, by topic, in ``heard``."""

    def __init__(self, context):
        self.heard = defaultdict(list)
        self.publishers = {}
        super().__init__(context, Node("peer", context=context))

    def listen(self, kind, topic, node=None):
        """Subscribe, and wait until the publisher is known here, and with its ``node`` until it knows us."""
        self.node.create_subscription(kind, topic, self.heard[topic].append, 50)
        wait_until(lambda: self.node.count_publishers(topic) > 0, f"publisher of {topic}")
        if node is not None:
            (publisher,) = (p for p in node.publishers if p.topic_name == topic)
            wait_until(lambda: publisher.get_subscription_count() > 0, f"{topic} knowing its subscriber")
        return self.heard[topic]

    def advertise(self, kind, topic, reliable=True):
        reliability = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        publisher = self.node.create_publisher(kind, topic, QoSProfile(depth=50, reliability=reliability))
        wait_until(lambda: publisher.get_subscription_count() > 0, f"subscriber of {topic}")
        return publisher
