# SPDX-License-Identifier: Apache-2.0
"""One thread that always works on the newest item; older ones that it never got to are counted, not queued."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

log = logging.getLogger(__name__)

Item = TypeVar("Item")


class NewestWorker(Generic[Item]):
    """Calls ``process(item, dropped)`` in a thread of its own, for the newest item that was put.

    Args:
        process: the work; ``dropped`` is the number of items replaced by a newer one since the last call.  It should
            not raise: an exception is logged with its traceback, and the thread goes on with the next item.
        name: of the thread.
    """

    def __init__(self, process: Callable[[Item, int], None], name: str) -> None:
        self._process = process
        self._changed = threading.Condition()
        self._newest: Item | None = None
        self._dropped = 0
        self._stopping = False
        # A daemon, so that a process can end although a model hangs in native code.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, item: Item) -> None:
        """Leave an item for the thread, in place of one that it has not taken yet.  Never blocks for long."""
        with self._changed:
            if self._newest is not None:
                self._dropped += 1
            self._newest = item
            self._changed.notify()

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

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or self._newest is not None)
                if self._stopping:
                    return
                item, self._newest = self._newest, None
                dropped, self._dropped = self._dropped, 0
            assert item is not None
            try:
                self._process(item, dropped)
            except Exception:
                log.exception("%s failed on an item", self._thread.name)
