# SPDX-License-Identifier: Apache-2.0
"""What a node beside the segmenter listens to: who sends, and what is said in the log and on /diagnostics if not."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile

from robotseg_ros.common.camera_log import CameraLog, cut
from robotseg_ros.common.graph import Senders, why_silent
from robotseg_ros.common.messages import too_long
from robotseg_ros.common.qos import PublisherEventCallbacks, Topics

SILENCE_S = 2.0
"""So long without any message is worth a warning."""
PERIOD_S = 1.0
MAX_WORDS = 300

Status = tuple[bytes, str, dict[str, str]]
"""Level, message and values of a diagnostic status."""


@dataclass
class Input:
    """A topic that is listened to.

    Attributes:
        what: comes on it, for the log: "depth image".
        topic: its full name, after remapping.
        kind: type of its messages.
        qos: of the subscription.
        needed: whether the node is of no use without it.
        subscription: of rclpy.
        senders: who sends.
        since: begin of the present silence, by ``time.monotonic``.
        count: messages so far.
        refused: messages that were not what they said, or of several senders at once.
        reason: why the last one was refused, and why nothing comes; empty when all is well.
    """

    what: str
    topic: str
    kind: type
    qos: QoSProfile
    needed: bool
    subscription: Any = None
    senders: Senders = field(default_factory=Senders)
    since: float = field(default_factory=time.monotonic)
    count: int = 0
    refused: int = 0
    last_refusal: str = ""
    silent: str = ""


class Inputs:
    """All topics of a node.  Once a second it looks for those on which nothing comes, and publishes diagnostics.

    Args:
        node: that listens.
        status: what the node says of itself.
    """

    def __init__(self, node: Node, status: Callable[[], Status]) -> None:
        self._node, self._status = node, status
        self.log = CameraLog(node)
        self._topics = Topics(node, overridable=False)
        self._inputs: list[Input] = []
        self._publisher = node.create_publisher(
            DiagnosticArray,
            "/diagnostics",
            QoSProfile(depth=10),
            event_callbacks=PublisherEventCallbacks(use_default_callbacks=False),
        )
        # By the steady clock: it goes on where the node's clock stands still.
        node.create_timer(PERIOD_S, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def subscribe(
        self,
        kind: type,
        topic: str,
        callback: Callable[[Any], None],
        qos: QoSProfile,
        *,
        what: str,
        needed: bool = True,
        one_sender: bool = True,
        heard: Callable[[str, Mapping[str, Any]], None] = lambda topic, info: None,
    ) -> Input:
        """Listen to a topic.

        Args:
            kind: type of its messages, which have a header.
            topic: its name, before remapping.
            callback: called with each message.
            qos: of the subscription.
            what: comes on it, for the log.
            needed: whether the node is of no use without it.
            one_sender: whether messages of several senders that are heard in turn are refused.
            heard: called with the topic and what rclpy says of each message, before the message is looked at.
        """
        entry = Input(what, self._node.resolve_topic_name(topic), kind, qos, needed)

        def take(message: Any, info: Mapping[str, Any]) -> None:
            entry.since = time.monotonic()
            entry.count += 1
            heard(entry.topic, info)
            long = too_long(message.header)
            if long:
                self.refuse(entry, long)
                return
            # Of whatever frame: what waits for one half of a pair is no place for images of several cameras.
            senders = entry.senders.hear(info, "")
            if one_sender and senders > 1:
                frame = cut(repr(message.header.frame_id), 80)
                self.refuse(entry, f"{senders} publishers send it on {entry.topic}, this one of frame {frame}")
            else:
                callback(message)

        entry.subscription = self._topics.subscribe(kind, topic, take, qos)
        self._inputs.append(entry)
        return entry

    def unsubscribe(self, entry: Input) -> None:
        """Listen to a topic no more."""
        self._inputs.remove(entry)
        self._topics.unsubscribe(entry.subscription)

    def refuse(self, entry: Input, error: Exception | str) -> None:
        """Count and log a message that is not what it says."""
        # Said before it is counted: whoever sees the count finds the reason in the log.
        entry.last_refusal, count = cut(str(error), MAX_WORDS), entry.refused + 1
        self.log.warning(
            f"refused {entry.what}", f"{entry.what} refused: {entry.last_refusal} ({count} refused so far)"
        )
        entry.refused = count

    @property
    def refused(self) -> int:
        """Messages refused so far, of all topics."""
        return sum(entry.refused for entry in self._inputs)

    def _look(self) -> None:
        now = time.monotonic()
        problems = self._topics.problems()
        for entry in self._inputs:
            before, entry.silent = entry.silent, self._why_silent(entry, now)
            if entry.silent and entry.silent != before:
                self.log.warning(
                    f"silent {entry.what} {entry.silent[:80]}", f"no {entry.what} on {entry.topic} {entry.silent}"
                )
        array = DiagnosticArray(status=[self._of_node(), *(self._of_input(e, problems) for e in self._inputs)])
        array.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(array)

    def _why_silent(self, entry: Input, now: float) -> str:
        if now - entry.since <= SILENCE_S:
            return ""
        why = cut(why_silent(self._node, entry.topic, entry.kind, entry.qos), MAX_WORDS)
        return f"for {SILENCE_S:.0f} s{': ' + why if why else ', although it is published'}"

    def _of_node(self) -> DiagnosticStatus:
        level, message, values = self._status()
        silent = [entry for entry in self._inputs if entry.silent and entry.needed]
        if silent:
            level, message = DiagnosticStatus.STALE, f"no {silent[0].what} on {silent[0].topic} {silent[0].silent}"
        return self._made(level, self._node.get_name(), message, "", values)

    def _of_input(self, entry: Input, problems: dict[str, str]) -> DiagnosticStatus:
        level, message = DiagnosticStatus.OK, "comes"
        if entry.silent:
            level = DiagnosticStatus.STALE if entry.needed else DiagnosticStatus.WARN
            message = f"none {entry.silent}"
        elif entry.topic in problems:
            level, message = DiagnosticStatus.WARN, problems[entry.topic]
        values = {
            "received": str(entry.count),
            "refused": str(entry.refused),
            "last_refusal": entry.last_refusal,
            "publishers": str(self._node.count_publishers(entry.topic)),
        }
        return self._made(level, entry.what, message, entry.topic, values)

    def _made(self, level: bytes, what: str, message: str, hardware: str, values: dict[str, str]) -> DiagnosticStatus:
        pairs = [KeyValue(key=key, value=value) for key, value in values.items()]
        name = f"{self._node.get_fully_qualified_name()}: {what}"
        return DiagnosticStatus(level=level, name=name, message=message, hardware_id=hardware, values=pairs)
