# SPDX-License-Identifier: Apache-2.0
"""A thread that looks at everything again and again, also while the model hangs or the executor is busy."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

SAY_PERIOD_S = 5.0


class Watch:
    """Calls ``look`` every ``period`` seconds of steady time, whatever ROS's clock says.

    Args:
        look: must not wait for what it watches.  An exception is logged with its traceback, and the thread goes on.
        period: seconds.
        name: of the thread.
    """

    def __init__(self, look: Callable[[], None], period: float, name: str) -> None:
        self._look = look
        self._period = period
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def stop(self, timeout: float) -> bool:
        """End the thread; returns whether it has ended within ``timeout`` seconds."""
        self._stopping.set()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        said = -SAY_PERIOD_S
        while not self._stopping.wait(self._period):
            try:
                self._look()
            except Exception:
                # At most so often: what fails may fail at every look.
                if not self._stopping.is_set() and time.monotonic() - said >= SAY_PERIOD_S:
                    said = time.monotonic()
                    log.exception("%s failed", self._thread.name)
