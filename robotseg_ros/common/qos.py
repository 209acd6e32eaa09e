# SPDX-License-Identifier: Apache-2.0
"""QoS of every topic, what of it can be overridden by parameters, and plain words where two ends do not match."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from typing import Any

from rclpy.callback_groups import CallbackGroup, MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSCompatibility,
    QoSPolicyKind,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
    qos_policy_name_from_kind,
)
from rclpy.qos_overriding_options import QoSOverridingOptions

from robotseg_ros.common.camera_log import CameraLog

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # ROS 2 Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks

# A line for each such partner that comes; why nothing arrives is said by who listens.
_SAID_ELSEWHERE: dict[str, Any] = (
    {"incompatible_type": lambda event: None}
    if "incompatible_type" in signature(SubscriptionEventCallbacks.__init__).parameters
    else {}
)

OVERRIDABLE = (QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH, QoSPolicyKind.RELIABILITY, QoSPolicyKind.DURABILITY)
MOST_NAMED = 4
"""Partners that are named in one line."""
UNEXPLAINED_S = 2.0
"""How long an incompatibility may wait for the graph to say who the other end is."""


# Functions, because rclpy writes the overrides into the profile that it is given.
def camera_qos(replay: bool) -> QoSProfile:
    """Of images: only the newest counts, anything queued would be answered late; for replay every one counts."""
    if replay:
        return QoSProfile(history=HistoryPolicy.KEEP_ALL, depth=100, reliability=ReliabilityPolicy.RELIABLE)
    return QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)


def info_qos() -> QoSProfile:
    """Of camera_info: the last one will do."""
    return QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)


def depth_qos(replay: bool) -> QoSProfile:
    """Of depth images beside a camera's: some wait, as they come before or after the image of their stamp."""
    reliability = ReliabilityPolicy.RELIABLE if replay else ReliabilityPolicy.BEST_EFFORT
    return QoSProfile(depth=8, reliability=reliability)


def output_qos(replay: bool) -> QoSProfile:
    """Of what is published.

    Reliable serves subscribers of both kinds (rviz asks for reliable).  A reader that falls behind loses old masks,
    except in replay.
    """
    history = HistoryPolicy.KEEP_ALL if replay else HistoryPolicy.KEEP_LAST
    return QoSProfile(history=history, depth=5, reliability=ReliabilityPolicy.RELIABLE)


def latched_qos() -> QoSProfile:
    """Of what is published once and is for those who come later, too."""
    return QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def command_qos() -> QoSProfile:
    """Of prompts and clicks."""
    return QoSProfile(depth=10)


class Gate(MutuallyExclusiveCallbackGroup):
    """A callback group that lets messages wait in the middleware while it is closed.

    Args:
        is_open: asked before the executor waits for a message, and before it takes one.
    """

    def __init__(self, is_open: Callable[[], bool]) -> None:
        super().__init__()
        self._is_open = is_open

    def can_execute(self, entity: Any) -> bool:
        """Whether a callback may run now."""
        return self._is_open() and super().can_execute(entity)


MOST_LOST = 100_000
"""Messages that can be lost between two reports; a larger number is none."""


def believable(count: int) -> int:
    """How many messages were lost, by what the middleware says has been added to its count.

    Fast DDS counts in 32 bits with a sign, and where images of other sizes lie between those it loses, it says numbers
    about 2^31 and their negatives.  That something was lost is all that such a number says.
    """
    return count if 0 <= count <= MOST_LOST else 1


def describe(publisher: QoSProfile, subscriber: QoSProfile) -> str:
    """Why a subscriber gets nothing from a publisher, in plain words; empty when it does get messages."""
    compatible, words = qos_check_compatible(publisher, subscriber)
    if compatible != QoSCompatibility.ERROR:
        return ""
    reasons = []
    if publisher.reliability == ReliabilityPolicy.BEST_EFFORT and subscriber.reliability == ReliabilityPolicy.RELIABLE:
        reasons.append("the publisher sends best effort, the subscriber insists on reliable")
    if publisher.durability == DurabilityPolicy.VOLATILE and subscriber.durability == DurabilityPolicy.TRANSIENT_LOCAL:
        reasons.append(
            "the publisher keeps nothing for latecomers (volatile), the subscriber insists (transient local)"
        )
    # Deadlines and liveliness are rare: what the middleware says about them will do.
    return "; ".join(reasons) or words.strip()


@dataclass
class _Suspect:
    """One of our subscriptions, of which the middleware has said that some publisher does not match."""

    qos: QoSProfile
    policy: str
    since: float
    said: str = ""


class Topics:
    """Makes the publishers and subscriptions of a node, and knows which of them have partners that do not match.

    Publishers of a lifecycle node are its lifecycle publishers.

    Every QoS can be overridden by parameters ``qos_overrides.<topic>.<publisher|subscription>.<policy>``, unless
    ``overridable`` is False.
    """

    def __init__(self, node: Node, *, overridable: bool = True) -> None:
        self._node = node
        self._overridable = overridable
        self._log = CameraLog(node)
        # By topic.
        self._suspects: dict[str, _Suspect] = {}
        self._outputs: dict[str, tuple[Any, QoSProfile]] = {}
        self._output_problems: dict[str, str] = {}
        self._lock = threading.Lock()

    def subscribe(
        self,
        kind: type,
        topic: str,
        callback: Callable[..., None],
        qos: QoSProfile,
        *,
        lost: Callable[[int], None] | None = None,
        group: CallbackGroup | None = None,
    ) -> Any:
        """Make a subscription.

        Args:
            kind: of the messages.
            topic: name as it was given, before remapping.
            callback: called with a message, or with a message and what rclpy says of it.
            qos: unless parameters say something else.
            lost: called with how many messages the middleware says it has lost.
            group: of its callback.
        """
        name = self._node.resolve_topic_name(topic)
        return self._node.create_subscription(
            kind,
            topic,
            callback,
            qos,
            callback_group=group,
            qos_overriding_options=QoSOverridingOptions(OVERRIDABLE) if self._overridable else None,
            event_callbacks=SubscriptionEventCallbacks(
                incompatible_qos=lambda event: self._suspect(name, qos, event),
                message_lost=None if lost is None else lambda event: lost(believable(event.total_count_change)),
                **_SAID_ELSEWHERE,
            ),
        )

    def unsubscribe(self, subscription: Any) -> None:
        """Take a subscription down."""
        with self._lock:
            self._suspects.pop(subscription.topic_name, None)
        self._node.destroy_subscription(subscription)

    def advertise(self, kind: type, topic: str, qos: QoSProfile) -> Any:
        """Make a publisher."""
        create: Any = getattr(self._node, "create_lifecycle_publisher", self._node.create_publisher)
        publisher = create(
            kind,
            topic,
            qos,
            qos_overriding_options=QoSOverridingOptions(OVERRIDABLE),
            # No events: the executor goes through all of them several times for every image.
            event_callbacks=PublisherEventCallbacks(use_default_callbacks=False),
        )
        with self._lock:
            self._outputs[publisher.topic_name] = publisher, qos
        return publisher

    def unadvertise(self, publisher: Any) -> None:
        """Take a publisher down."""
        with self._lock:
            self._outputs.pop(publisher.topic_name, None)
            self._output_problems.pop(publisher.topic_name, None)
        getattr(self._node, "destroy_lifecycle_publisher", self._node.destroy_publisher)(publisher)

    def problems(self) -> dict[str, str]:
        """Topics with partners that do not match, in plain words; new ones are said in the log."""
        with self._lock:
            suspects = tuple(self._suspects.items())
        for topic, suspect in suspects:
            words = self._explain(topic, False, suspect.qos)
            if not words and time.monotonic() - suspect.since < UNEXPLAINED_S:
                # The graph may hear of the other end only after the event.
                words = suspect.said
            elif not words and not suspect.said:
                words = f"a partner that is gone again did not match in {suspect.policy}"
            if words and words != suspect.said:
                self._warn(topic, words)
            gone = not words and time.monotonic() - suspect.since >= UNEXPLAINED_S
            suspect.said = words
            if gone:
                with self._lock:
                    self._suspects.pop(topic, None)
        return {topic: suspect.said for topic, suspect in suspects if suspect.said} | self._look_at_outputs()

    def _look_at_outputs(self) -> dict[str, str]:
        """Outputs with subscribers that do not match: those who subscribe and are not served."""
        # Held throughout, so that no publisher goes away meanwhile.
        with self._lock:
            problems = {}
            for topic, (publisher, qos) in self._outputs.items():
                if self._node.count_subscribers(topic) > publisher.get_subscription_count():
                    problems[topic] = self._explain(topic, True, qos)
            problems = {topic: words for topic, words in problems.items() if words}
            new = {topic: words for topic, words in problems.items() if words != self._output_problems.get(topic)}
            self._output_problems = problems
        for topic, words in new.items():
            self._warn(topic, words)
        return problems

    def _warn(self, topic: str, words: str) -> None:
        self._log.warning(f"qos {topic}", f"incompatible QoS on {topic}: {words}")

    def _suspect(self, topic: str, qos: QoSProfile, event: Any) -> None:
        try:
            policy = qos_policy_name_from_kind(event.last_policy_kind).lower()
        except ValueError:
            policy = f"policy {event.last_policy_kind}"
        with self._lock:
            said = self._suspects[topic].said if topic in self._suspects else ""
            self._suspects[topic] = _Suspect(qos, policy, time.monotonic(), said)

    def _explain(self, topic: str, publishing: bool, ours: QoSProfile) -> str:
        """Who on the other end of a topic does not match, and why."""
        if publishing:
            others = self._node.get_subscriptions_info_by_topic(topic)
            found = [(other, describe(ours, other.qos_profile)) for other in others]
        else:
            others = self._node.get_publishers_info_by_topic(topic)
            found = [(other, describe(other.qos_profile, ours)) for other in others]
        who = [f"{other.node_namespace.rstrip('/')}/{other.node_name}: {why}" for other, why in found if why]
        if not who:
            return ""
        # Anybody may be there, any number of times.
        who = who[:MOST_NAMED] + ([f"{len(who) - MOST_NAMED} more"] if len(who) > MOST_NAMED else [])
        end = "publisher" if publishing else "subscription"
        verb = "gets no messages from here" if publishing else "sends messages that cannot come here"
        here = f", or here with parameters qos_overrides.{topic}.{end}.*" if self._overridable else ""
        return f"{', '.join(who)} ({verb}; change it there{here})"
