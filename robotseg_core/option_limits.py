# SPDX-License-Identifier: Apache-2.0
"""Numbers that the options of commands take: looked at before anything is read, made or waited for."""

from __future__ import annotations

MOST_SEED = 2**63 - 1
MOST_ITEMS = 10_000_000
"""Videos, samples or frames that a run can be asked for: more than any data set has."""
MOST_PROCESSES = 256
MOST_DEPTH_M = 100.0
"""How far away a robot can be that is meant, as in the node."""


def check_option(option: str, value: float | None, least: float, most: float) -> None:
    """Look at a number that the user may have given.

    Args:
        option: as the user writes it.
        value: what was given; None: nothing.
        least, most: what is allowed, both included.

    Raises:
        ValueError: it is out of this range, or not a number.
    """
    if value is not None and not least <= value <= most:
        raise ValueError(f"{option} is {value}, must be {least} to {most}")
