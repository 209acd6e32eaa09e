# SPDX-License-Identifier: Apache-2.0
"""What is to be seen of the others: why nothing comes, whose clock it is, and who sends."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile

from robotseg_ros.common.qos import describe

CLOCK = "/clock"
HEARD_S = 2.0
"""Two senders are taken to go on for so long after they were last heard in turn."""
MAX_SENDERS = 16


def why_silent(node: Node, topic: str, kind: type, wanted: QoSProfile) -> str:
    """What the graph says about why nothing comes on a topic; empty when all looks well.

    Args:
        node: that listens.
        topic: its full name.
        kind: type of message that is expected.
        wanted: QoS of the subscription.
    """
    publishers = node.get_publishers_info_by_topic(topic)
    if not publishers:
        return "nobody publishes it"
    expected = f"{kind.__module__.partition('.')[0]}/msg/{kind.__name__}"
    types = sorted({publisher.topic_type for publisher in publishers})
    if expected not in types:
        return f"it is published as {', '.join(types)}, {expected} is expected"
    reasons = {describe(publisher.qos_profile, wanted) for publisher in publishers if publisher.topic_type == expected}
    # Where one of several would do, it simply sends nothing.
    return "" if "" in reasons else "; ".join(sorted(reasons))


def clock_advice(node: Node) -> str:
    """What a user should look at when stamps are far from the node's time."""
    simulated = bool(node.get_parameter("use_sim_time").value)
    published = node.count_publishers(node.resolve_topic_name(CLOCK)) > 0
    if simulated and not published:
        return (
            "use_sim_time is set, but nobody publishes /clock: play the bag with --clock, start the simulator, "
            "or set use_sim_time to false"
        )
    if simulated:
        seconds = node.get_clock().now().nanoseconds / 1e9
        return f"use_sim_time is set and /clock says {seconds:.3f} s: images and /clock are not of the same source"
    if published:
        return "/clock is published, but use_sim_time is not set here: set it for bags and simulators"
    return "the camera has another clock than this machine (for bags and simulators set use_sim_time)"


NOTHING_KNOWN: Mapping[str, Any] = {}
"""Of a message: what :meth:`Senders.hear` takes where the middleware says nothing."""


class Senders:
    """The senders of one topic that were heard of late, by the identities that the middleware gives them.

    Several send at once where one is heard again after another; one that only comes after another has taken its place.
    Publishers that are there but send nothing, as the remains of one that was killed, do not count.  A middleware that
    gives no identities has one sender.

    Attributes:
        changed: whether the last message was of another sender than the one before it of the same frame_id.

    Args:
        clock: seconds of a steady clock.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._heard: dict[bytes, tuple[float, str]] = {}
        self._last: dict[str, bytes] = {}
        self._mixed: dict[str, float] = {}
        self.changed = False

    def hear(self, info: Mapping[str, Any], frame_id: str) -> int:
        """Note the sender of a message.

        Args:
            info: what rclpy says of the message.
            frame_id: of its header: senders that differ in it can be told apart by whoever reads on.

        Returns:
            How many senders of this frame_id send at once, this one among them.
        """
        identity = info.get("publisher_gid")
        gid = bytes(identity["data"]) if identity else b""
        now, before = self._clock(), self._heard.pop(gid, None)
        self.changed = self._last.get(frame_id, gid) != gid
        if self.changed and before is not None and now - before[0] <= HEARD_S:
            self._mixed = {frame: when for frame, when in self._mixed.items() if now - when <= HEARD_S}
            self._mixed[frame_id] = now
        if frame_id not in self._last and len(self._last) >= MAX_SENDERS:
            self._last.clear()
        self._last[frame_id] = gid
        while len(self._heard) >= MAX_SENDERS:
            del self._heard[next(iter(self._heard))]
        self._heard[gid] = (now, frame_id)
        # The usual case: it is on the way of every image.
        if not self._mixed or now - self._mixed.get(frame_id, -math.inf) > HEARD_S:
            return 1
        alive = sum(frame == frame_id and now - when <= HEARD_S for when, frame in self._heard.values())
        return max(2, alive)
