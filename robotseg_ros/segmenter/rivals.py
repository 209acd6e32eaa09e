# SPDX-License-Identifier: Apache-2.0
"""Another node that publishes on a camera's output topics, as a second segmenter of the same name would.

Whoever listens would get two answers to one image, or the masks of another cell.  What counts is what is sent: the
remains of a node that was killed stay in the graph for a while, and do not keep its successor from answering.
"""

from __future__ import annotations

import time
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode

from robotseg_ros import msg as ros_msg
from robotseg_ros.common import qos
from robotseg_ros.segmenter.answers import Answers
from robotseg_ros.segmenter.publishers import Publishers

LOOK_PERIOD_S = 0.5
HEARD_S = 3.0
"""So long after its last message a rival is taken to be there."""


class Rivals:
    """Listens to the camera's own output while there is more than one publisher of it; otherwise it costs nothing.

    Args:
        node: that it belongs to.
        topics: of the node.
        publishers: of the camera.
        answers: that are withheld while somebody else answers, too.
    """

    def __init__(self, node: LifecycleNode, topics: qos.Topics, publishers: Publishers, answers: Answers) -> None:
        self._node, self._topics = node, topics
        self._publishers, self._answers = publishers, answers
        self._timer: Any = None
        self._listening: Any = None
        self._heard = 0.0

    def watch(self) -> None:
        """Begin to look."""
        self._timer = self._node.create_timer(LOOK_PERIOD_S, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
            self._timer = None
        self._ignore()

    def _look(self) -> None:
        topic = self._publishers.parts_topic
        several = self._node.count_publishers(topic) > 1
        if several and self._listening is None:
            self._listening = self._topics.subscribe(ros_msg.PartMasks, topic, self._on_parts, qos.output_qos(False))
        elif not several:
            self._ignore()
        if self._answers.contested and (not several or time.monotonic() - self._heard > HEARD_S):
            self._answers.contested = ""

    def _ignore(self) -> None:
        if self._listening is not None:
            self._topics.unsubscribe(self._listening)
            self._listening = None

    def _on_parts(self, message: ros_msg.PartMasks) -> None:
        if self._publishers.said(message):
            return
        self._heard = time.monotonic()
        if not self._answers.contested:
            own = self._node.get_fully_qualified_name()
            others = self._node.get_publishers_info_by_topic(self._publishers.parts_topic)
            names = [f"{other.node_namespace.rstrip('/')}/{other.node_name}" for other in others]
            if own in names:
                names.remove(own)
            self._answers.contested = ", ".join(sorted(names)[: qos.MOST_NAMED]) or "another node"
