# SPDX-License-Identifier: Apache-2.0
"""What is said about a camera or a node in the log: nothing over and over, and nothing at length.

Whoever can reach a topic can have lines written about what is sent there.  So every such line is about a subject, on
which there is silence for a while afterwards, and texts of others are cut.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from rclpy.node import Node

LOG_PERIOD_S = 5.0
"""A camera that sends garbage at 30 Hz is reported this often."""
MAX_LINE = 600
"""Characters of a line at most; room for two topics and a reason."""
MAX_SUBJECTS = 64
"""Subjects that are remembered; some are named by others."""


def cut(text: str, length: int = MAX_LINE) -> str:
    """A text on one line, its middle left out where it is longer than ``length`` (at least 80) characters."""
    # What lies beyond is not looked at: it may be megabytes.
    head, tail = text[: length + 1], ""
    if len(text) > length:
        kept = length - 40
        head, tail = text[: kept - kept // 4], f" [... {len(text) - kept} characters ...] {text[-(kept // 4) :]}"
    # On one line, and nothing that a terminal obeys.
    return "".join(c if c.isprintable() else "?" for c in " ".join((head + tail).split()))


def in_a_line(error: Exception) -> str:
    """What an exception says, on one line; with its name where that is not one of those that are meant for users."""
    words = cut(str(error), 2000)
    named = isinstance(error, (ValueError, OSError, RuntimeError)) or type(error).__module__.startswith("rclpy")
    return words if named and words else f"{type(error).__name__}: {words}"


class CameraLog:
    """Lines about one camera; each is about a subject, on which nothing is said again for :data:`LOG_PERIOD_S`.

    Args:
        node: whose log it is.
        camera: name of the camera among several, else empty.
    """

    def __init__(self, node: Node, camera: str = "") -> None:
        self._node = node
        self._prefix = f"camera {camera}: " if camera else ""
        self._said: dict[str, float] = {}
        self._held_back: dict[str, int] = {}

    def info(self, subject: str, words: str | Callable[[], str]) -> None:
        """Say what is as it should be; ``words`` may be a function, called only when the line is written."""
        line = self._line(subject, words)
        if line:
            self._node.get_logger().info(line)

    def warning(self, subject: str, words: str | Callable[[], str]) -> None:
        """Say what a user should look at."""
        line = self._line(subject, words)
        if line:
            self._node.get_logger().warning(line)

    def error(self, subject: str, words: str | Callable[[], str]) -> None:
        """Say what has failed."""
        line = self._line(subject, words)
        if line:
            self._node.get_logger().error(line)

    def _line(self, subject: str, words: str | Callable[[], str]) -> str:
        """The line to write; empty where there is to be silence."""
        now = time.monotonic()
        if now - self._said.get(subject, -LOG_PERIOD_S) < LOG_PERIOD_S:
            self._held_back[subject] = self._held_back.get(subject, 0) + 1
            return ""
        held_back = self._held_back.pop(subject, 0)
        self._said.pop(subject, None)
        while len(self._said) >= MAX_SUBJECTS:
            self._held_back.pop(next(iter(self._said)), None)
            self._said.pop(next(iter(self._said)))
        self._said[subject] = now
        line = cut(words() if callable(words) else words)
        more = f" (and {held_back} lines like it not written since the last one)" if held_back else ""
        return f"{self._prefix}{line}{more}"
