# SPDX-License-Identifier: Apache-2.0
"""One inference thread for several cameras, which take turns.

Live, each camera has room for its newest image; older ones that the thread never got to are counted, not queued.
For replay each camera has a queue instead, from which nothing is dropped: who fills it stops while it is full.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

log = logging.getLogger(__name__)

Item = TypeVar("Item")


class Lane(Generic[Item]):
    """The items of one camera that wait for the thread; made by :meth:`FairWorker.lane`.

    Args:
        process: the work, called as ``process(item, dropped)``; ``dropped`` is the number of items replaced by a
            newer one since the last call.  It should not raise: an exception is logged with its traceback.
        changed: of the worker.
        depth: 0 keeps the newest item only; otherwise the number of items from which on the lane says it is full.
        on_room: called in the thread when a full lane has room again.
    """

    def __init__(
        self,
        process: Callable[[Item, int], None],
        changed: threading.Condition,
        depth: int,
        on_room: Callable[[], None],
    ) -> None:
        self.process = process
        self._changed = changed
        self._depth = depth
        self._on_room = on_room
        self._waiting: deque[Item] = deque()
        self._dropped = 0

    def put(self, item: Item) -> None:
        """Leave an item for the thread.  Never blocks for long."""
        with self._changed:
            if not self._depth and self._waiting:
                self._waiting.clear()
                self._dropped += 1
            self._waiting.append(item)
            self._changed.notify()

    @property
    def waiting(self) -> int:
        """How many items wait."""
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """Whether nothing more should be put now; never so when only the newest item is kept."""
        return bool(self._depth) and len(self._waiting) >= self._depth

    def clear(self) -> None:
        """Forget what waits."""
        with self._changed:
            self._waiting.clear()

    def take(self) -> tuple[Item, int]:
        """The next item and the number dropped before it; called with the worker's lock held."""
        dropped, self._dropped = self._dropped, 0
        return self._waiting.popleft(), dropped

    def say_room(self) -> None:
        """Tell who fills the lane that it may go on, if it had stopped."""
        if self._depth and len(self._waiting) == self._depth - 1:
            self._on_room()


class FairWorker(Generic[Item]):
    """A thread that serves its lanes in turn: after a camera has been served, all others that wait come first.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._changed = threading.Condition()
        self._lanes: list[Lane[Item]] = []
        self._next = 0
        self._stopping = False
        # A daemon, so that a process can end although a model hangs in native code.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def lane(
        self, process: Callable[[Item, int], None], *, depth: int = 0, on_room: Callable[[], None] = lambda: None
    ) -> Lane[Item]:
        """Add a camera; the arguments are those of :class:`Lane`."""
        lane = Lane(process, self._changed, depth, on_room)
        with self._changed:
            self._lanes.append(lane)
        return lane

    def stop(self, timeout: float) -> bool:
        """End the thread after the item that it is working on.

        Args:
            timeout: how long to wait for it, seconds.

        Returns:
            Whether the thread has ended.
        """
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _turn(self) -> Lane[Item] | None:
        """The first lane with an item, from the one after the last served."""
        for offset in range(len(self._lanes)):
            index = (self._next + offset) % len(self._lanes)
            if self._lanes[index].waiting:
                self._next = index + 1
                return self._lanes[index]
        return None

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._stopping and (lane := self._turn()) is None:
                    self._changed.wait()
                if self._stopping:
                    return
                assert lane is not None
                item, dropped = lane.take()
            try:
                lane.say_room()
                lane.process(item, dropped)
            except Exception:
                log.exception("%s failed on an item", self._thread.name)
