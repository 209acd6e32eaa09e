# SPDX-License-Identifier: Apache-2.0
"""Texts of others on a terminal: names in bags, weights and folders may hold what it obeys."""

from __future__ import annotations

import logging

LONGEST = 4000
"""Characters of one text."""


def shown(text: str) -> str:
    """The text with nothing in it but what can be read; its middle is left out where it is very long."""
    if len(text) > LONGEST:
        text = f"{text[: LONGEST // 2]} [... {len(text) - LONGEST} characters ...] {text[-LONGEST // 2 :]}"
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)


class ShownFormatter(logging.Formatter):
    """Lines of a log as :func:`shown`."""

    def format(self, record: logging.LogRecord) -> str:
        """One record."""
        return shown(super().format(record))
