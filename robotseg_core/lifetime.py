# SPDX-License-Identifier: Apache-2.0
"""How a process ends: by every usual signal in order, and not later than the process that started it."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import threading
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, the usual request to end, and the terminal being closed."""

# From sys/prctl.h.
_PR_SET_PDEATHSIG = 1
# Looked up at once: after a fork other threads may hold the loader's lock for ever.
_prctl = getattr(ctypes.CDLL(None), "prctl", None)


def end_in_order() -> None:
    """Have :data:`SIGNALS` raise KeyboardInterrupt in the main thread, so that ``finally`` clauses run.

    The first one counts: while a process takes its things down, a closing terminal or a supervisor sends more, which
    would break that off.  Ctrl-C does break it off.  SIGHUP stays ignored where it was, as under ``nohup``.  Does
    nothing in another thread, to which signals never come.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for number in SIGNALS:
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    for other in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(other, signal.SIG_IGN)
    raise KeyboardInterrupt


def end_with(parent: int) -> None:
    """Have the kernel send SIGTERM to this process when the thread of ``parent`` that started it is gone.

    To be called first thing in a child: SIGKILL leaves its parent no time to end it.  Does nothing where the kernel is
    not Linux.
    """
    if _prctl is None:
        return
    _prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
    if os.getppid() != parent:
        # Gone already, before the kernel was asked.
        os._exit(1)


def hangup_ends() -> None:
    """Have SIGHUP end this process as SIGTERM does, where something else than Python handles that one, as rclpy does.

    Ignored where it was ignored at the start, as under ``nohup``.
    """
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return
    # Python's own handlers run between two lines of Python, and a node waits in C. A byte comes at once.
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    signal.signal(signal.SIGHUP, lambda number, frame: None)
    signal.set_wakeup_fd(sender.detach(), warn_on_full_buffer=False)

    def wait() -> None:
        while True:
            for number in receiver.recv(64):
                if number == signal.SIGHUP:
                    os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="hangup", daemon=True).start()
