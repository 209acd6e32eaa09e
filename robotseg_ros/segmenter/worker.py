# SPDX-License-Identifier: Apache-2.0
"""One inference thread for several cameras, which take turns.

Live, each camera has room for its newest image; older ones that the thread never got to are counted, not queued.
For replay each camera has a queue instead, from which nothing is dropped: who fills it stops while it is full.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from robotseg_ros.segmenter.counters import Counters

log = logging.getLogger(__name__)

SAY_PERIOD_S = 5.0


class Session(Protocol):
    """What works on the items of one camera.

    It should not raise: an exception is logged with its traceback.
    """

    counters: Counters

    def process(self, item: Any, dropped: int) -> None:
        """Work on an item; ``dropped`` were replaced by a newer one since the last call."""
        ...

    def begin(self, item: Any, dropped: int) -> Any | None:
        """The first half of it, before the encoder; None where there is no second half."""
        ...

    def finish(self, begun: Any, encoded: Any) -> None:
        """The second half, with what the encoder has made of it together with others."""
        ...


@dataclass(frozen=True)
class Turn:
    """An item whose turn it is, and how many of its camera were dropped before it."""

    session: Session
    item: Any
    dropped: int


class Together(Protocol):
    """What serves several cameras at once, ``size`` at most.  It should not raise either."""

    size: int

    def process(self, turns: Sequence[Turn]) -> None:
        """Work on an item of each of two cameras or more."""
        ...


class Lane:
    """The items of one camera that wait for the thread; made by :meth:`FairWorker.lane`.

    Args:
        session: works on them.
        changed: of the worker.
        depth: 0 keeps the newest item only; otherwise the number of items from which on the lane says it is full.
        on_room: called in the thread when a full lane has room again.
    """

    def __init__(
        self,
        session: Session,
        changed: threading.Condition,
        depth: int,
        on_room: Callable[[], None],
    ) -> None:
        self._session = session
        self._changed = changed
        self._depth = depth
        self._on_room = on_room
        self._waiting: deque[Any] = deque()
        self._dropped = 0

    def put(self, item: Any) -> None:
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

    def take(self) -> Turn:
        """The next item; called with the worker's lock held."""
        dropped, self._dropped = self._dropped, 0
        return Turn(self._session, self._waiting.popleft(), dropped)

    def say_room(self) -> None:
        """Tell who fills the lane that it may go on, if it had stopped."""
        if self._depth and len(self._waiting) == self._depth - 1:
            self._on_room()


class FairWorker:
    """A thread that serves its lanes in turn: after a camera has been served, all others that wait come first.

    Args:
        name: of the thread.
        together: serves cameras that wait at the same time; None: one after the other.
    """

    def __init__(self, name: str, together: Together | None = None) -> None:
        self._together = together
        self._changed = threading.Condition()
        self._lanes: list[Lane] = []
        self._next = 0
        self._stopping = False
        # A daemon, so that a process can end although a model hangs in native code.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def lane(self, session: Session, *, depth: int = 0, on_room: Callable[[], None] = lambda: None) -> Lane:
        """Add a camera; the arguments are those of :class:`Lane`."""
        lane = Lane(session, self._changed, depth, on_room)
        with self._changed:
            self._lanes.append(lane)
        return lane

    def stop(self, timeout: float) -> bool:
        """End the thread after what it is working on.

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

    def _choose(self) -> list[Lane]:
        """The lanes with an item, from the one after the last served; as many as are served together."""
        most = 1 if self._together is None else self._together.size
        lanes = self._lanes[self._next :] + self._lanes[: self._next]
        chosen = [lane for lane in lanes if lane.waiting][:most]
        if chosen:
            self._next = self._lanes.index(chosen[-1]) + 1
        return chosen

    def _run(self) -> None:
        said = -SAY_PERIOD_S
        while True:
            with self._changed:
                while not self._stopping and not (lanes := self._choose()):
                    self._changed.wait()
                if self._stopping:
                    return
                turns = [lane.take() for lane in lanes]
            try:
                for lane in lanes:
                    lane.say_room()
                if self._together is not None and len(turns) > 1:
                    self._together.process(turns)
                else:
                    (turn,) = turns
                    turn.session.process(turn.item, turn.dropped)
            except Exception:
                # At most so often: what fails may fail on every image.
                if time.monotonic() - said >= SAY_PERIOD_S:
                    said = time.monotonic()
                    log.exception("%s failed on an item", self._thread.name)
