# SPDX-License-Identifier: Apache-2.0
"""The order that people mean by the names of files: 2 before 10."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

_DIGITS = re.compile(r"([0-9]+)")


def natural(name: str) -> tuple[tuple[tuple[int, int, str], ...], str]:
    """Sort key: runs of digits count as numbers; of names that are equal so (``1``, ``01``) the name decides."""
    parts = _DIGITS.split(name)
    # Text and numbers alternate, text first: at each place only like is compared with like.
    return tuple((1, int(part), "") if i % 2 else (0, 0, part) for i, part in enumerate(parts)), name


def in_order(files: Iterable[Path]) -> list[Path]:
    """Files of one folder in the natural order of their names."""
    return sorted(files, key=lambda file: (natural(file.stem), file.name))
