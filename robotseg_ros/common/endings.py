# SPDX-License-Identifier: Apache-2.0
"""A closed terminal ends a node as SIGTERM does: rclpy knows SIGINT and SIGTERM alone."""

from __future__ import annotations

import os
import signal
import socket
import threading


def end_on_hangup() -> None:
    """Have SIGHUP end this process in order; call it when rclpy's signal handlers are in place.

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
