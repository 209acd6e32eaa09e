# SPDX-License-Identifier: Apache-2.0
"""A node that waits for topics on which nothing comes says so, and why, as far as the graph knows."""

from __future__ import annotations

import time
from dataclasses import dataclass

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile

from robotseg_ros.common.qos import describe

SILENCE_S = 5.0
"""How long nothing may come before it is said."""
LOOK_PERIOD_S = 1.0


def why_nothing_comes(node: Node, topic: str, kind: type, qos: QoSProfile) -> str:
    """What the graph says about why a subscription gets nothing; empty: all is as it should be."""
    publishers = node.get_publishers_info_by_topic(node.resolve_topic_name(topic))
    expected = f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}"
    types = {publisher.topic_type for publisher in publishers}
    if not publishers:
        return "nobody publishes it"
    if expected not in types:
        return f"it is published as {', '.join(sorted(types))}, {expected} is expected"
    reasons = {describe(publisher.qos_profile, qos) for publisher in publishers if publisher.topic_type == expected}
    # Where one of several would do, it simply sends nothing.
    return "" if "" in reasons else "; ".join(sorted(reasons))


@dataclass
class _Input:
    what: str
    kind: type
    qos: QoSProfile
    heard: float
    said: str | None = None


class Silence:
    """Says it once for each silence and each reason, as a warning.

    Args:
        node: that waits.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._inputs: dict[str, _Input] = {}
        # By the steady clock: it goes on where the node's clock stands still.
        node.create_timer(LOOK_PERIOD_S, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def watch(self, topic: str, what: str, kind: type, qos: QoSProfile) -> None:
        """Watch a topic; ``what`` comes on it, in words."""
        self._inputs[topic] = _Input(what, kind, qos, time.monotonic())

    def heard(self, topic: str) -> None:
        """A message has come, whatever it was."""
        self._inputs[topic].heard, self._inputs[topic].said = time.monotonic(), None

    def _look(self) -> None:
        for topic, waiting in self._inputs.items():
            if time.monotonic() - waiting.heard < SILENCE_S:
                continue
            why = why_nothing_comes(self._node, topic, waiting.kind, waiting.qos)
            if why != waiting.said:
                waiting.said = why
                name = self._node.resolve_topic_name(topic)
                because = f": {why}" if why else ", although it is published"
                self._node.get_logger().warning(f"no {waiting.what} on {name} for {SILENCE_S:.0f} s{because}")
