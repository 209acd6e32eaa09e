# SPDX-License-Identifier: Apache-2.0
"""Whose masks a monitor believes: those of one node and one camera, which have to be the same all the time.

Names of topics are the same in every cell.  Where cells share a network, the masks of another one look like those of
the own; so does what a bag plays.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rclpy.node import Node

OVERLAP_S = 1.0
"""Two senders that are heard in turn within this time send at once."""
MAX_NAMED = 4


class Source:
    """The publishers of some topics that one node is to publish, and what makes them doubtful.

    The first node that is heard while it is alone, and the frame_id of its first masks, are the right ones from then
    on.  That node may end and come back.  Where two have sent at once, only one that was there before, alone, is
    believed again; who is left over otherwise could be either of them.

    Attributes:
        doubt: why nothing is to be believed now; empty where there is no reason.

    Args:
        node: that listens.
        topics: their full names.
        frame_id: of the masks; empty: that of the first ones.
        clock: seconds of a steady clock.
    """

    def __init__(
        self, node: Node, topics: Sequence[str], frame_id: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._node, self._topics, self._clock = node, tuple(topics), clock
        self._frame_id = frame_id
        self._name = self._present = ""
        self._heard: dict[str, dict[bytes, float]] = {topic: {} for topic in topics}
        self._last: dict[str, bytes] = dict.fromkeys(topics, b"")
        self._trusted: dict[str, bytes] = {}
        self._mixed = ""
        self.doubt = ""

    def hear(self, topic: str, info: Mapping[str, Any]) -> None:
        """Note who has sent a message on one of the topics, by what rclpy says of it."""
        identity = info.get("publisher_gid")
        gid, now = bytes(identity["data"]) if identity else b"", self._clock()
        heard = self._heard[topic]
        # Heard before another one, and again after it: neither has taken the other's place.
        again = gid in heard and self._last[topic] != gid and now - heard[gid] <= OVERLAP_S
        heard[gid], self._last[topic] = now, gid
        for other in [other for other, when in heard.items() if now - when > OVERLAP_S]:
            del heard[other]
        if again:
            self._mixed = f"{len(heard)} publishers send on {topic}"
            self.doubt = self._mixed
        elif self._mixed and self._back():
            self._mixed = ""

    def _back(self) -> bool:
        """Whether those who send now are those who were trusted, alone on all topics."""
        now = self._clock()
        for topic, heard in self._heard.items():
            alive = [gid for gid, when in heard.items() if now - when <= OVERLAP_S]
            if not self._trusted or alive != [self._trusted[topic]]:
                return False
        return True

    def look(self) -> str:
        """See who is there; to be called often.  Returns :attr:`doubt`."""
        self.doubt = self._why()
        return self.doubt

    def _why(self) -> str:
        names: set[str] = set()
        for topic in self._topics:
            found = [
                f"{p.node_namespace.rstrip('/')}/{p.node_name}" for p in self._node.get_publishers_info_by_topic(topic)
            ]
            if len(found) > 1:
                listed = ", ".join(sorted(found)[:MAX_NAMED]) + (", ..." if len(found) > MAX_NAMED else "")
                return f"{len(found)} publishers on {topic} ({listed})"
            names.update(found)
        if self._mixed:
            return f"{self._mixed} at once, and those that are left were not there alone before: restart the monitor"
        if len(names) > 1:
            return f"{' and '.join(self._topics)} are of different nodes: {', '.join(sorted(names))}"
        if self._name and names and names != {self._name}:
            return f"masks come from {', '.join(names)}, those before came from {self._name}"
        self._present = next(iter(names), "")
        return ""

    def accepts(self, frame_id: str) -> str:
        """Whether masks of this frame_id are to be believed; the first ones decide.  Returns why not."""
        if self.doubt:
            return self.doubt
        if self._frame_id and frame_id != self._frame_id:
            return f"masks are of frame {frame_id!r}, those to be watched of {self._frame_id!r}"
        if not self._name:
            # Looked at again: it is what everything is measured by later on.
            if self.look():
                return self.doubt
            self._name = self._present
        self._frame_id = self._frame_id or frame_id
        now = self._clock()
        for topic, heard in self._heard.items():
            alive = [gid for gid, when in heard.items() if now - when <= OVERLAP_S]
            if len(alive) == 1:
                self._trusted[topic] = alive[0]
        return ""
