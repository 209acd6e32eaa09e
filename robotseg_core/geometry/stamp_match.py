# SPDX-License-Identifier: Apache-2.0
"""Join two streams by stamp when one of them comes later and not for every image: masks and depth, for example."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")
Partner = TypeVar("Partner")


@dataclass(frozen=True)
class Match(Generic[Item, Partner]):
    """An item that has waited long enough.

    Attributes:
        stamp: of the item, ns.
        item: as it was put in.
        partner: the partner of the same stamp, or the nearest one within ``slop``; None when there is none.
    """

    stamp: int
    item: Item
    partner: Partner | None


@dataclass(frozen=True)
class _Waiting(Generic[Item]):
    stamp: int
    item: Item
    since: float


class StampMatcher(Generic[Item, Partner]):
    """Gives every item, in order, the partner of its stamp.

    An item waits until a partner within ``slop`` is here, until one of a later stamp is here (so that none can come
    any more: both streams are in the order of their stamps), until it has waited ``patience``, or until more than
    ``depth`` items wait.  Memory is bounded.  A stamp that goes back by more than ``slop`` (a bag that starts again)
    lets go of everything before it.

    Args:
        slop: how far apart the stamps of an item and its partner may be, ns.  Below half the period of the partners
            it leaves no choice; above, the nearest of those that are here is taken.
        patience: how long an item waits for its partner, seconds of the clock given to the methods.
        depth: how many items and how many partners are kept.
    """

    def __init__(self, *, slop: int, patience: float, depth: int) -> None:
        self.slop, self.patience, self.depth = slop, patience, depth
        self._waiting: deque[_Waiting[Item]] = deque()
        self._partners: deque[tuple[int, Partner]] = deque(maxlen=depth)
        self._newest_item = -1

    def __len__(self) -> int:
        """How many items wait."""
        return len(self._waiting)

    def put_item(self, stamp: int, item: Item, now: float) -> Iterator[Match[Item, Partner]]:
        """Take an item; yields the items that are decided by it, the oldest first."""
        if stamp < self._newest_item - self.slop:
            yield from self.flush()
            self._partners.clear()
        self._newest_item = stamp
        self._waiting.append(_Waiting(stamp, item, now))
        yield from self.decide(now)

    def put_partner(self, stamp: int, partner: Partner, now: float) -> Iterator[Match[Item, Partner]]:
        """Take a partner; yields the items that are decided by it, the oldest first."""
        if self._partners and stamp < self._partners[-1][0] - self.slop:
            yield from self.flush()
            self._partners.clear()
            # The items will follow: that is no second new start.
            self._newest_item = -1
        self._partners.append((stamp, partner))
        yield from self.decide(now)

    def decide(self, now: float) -> Iterator[Match[Item, Partner]]:
        """The items that need not or may not wait any more; to be called from time to time."""
        while self._waiting and self._is_decided(self._waiting[0], now):
            yield self._match(self._waiting.popleft())

    def flush(self) -> Iterator[Match[Item, Partner]]:
        """All items that wait, as they are."""
        while self._waiting:
            yield self._match(self._waiting.popleft())

    def _is_decided(self, waiting: _Waiting[Item], now: float) -> bool:
        if now - waiting.since >= self.patience or len(self._waiting) > self.depth:
            return True
        return any(stamp >= waiting.stamp - self.slop for stamp, _ in self._partners)

    def _match(self, waiting: _Waiting[Item]) -> Match[Item, Partner]:
        nearest = min(self._partners, key=lambda p: abs(p[0] - waiting.stamp), default=None)
        if nearest is None or abs(nearest[0] - waiting.stamp) > self.slop:
            return Match(waiting.stamp, waiting.item, None)
        return Match(waiting.stamp, waiting.item, nearest[1])
