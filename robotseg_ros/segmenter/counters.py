# SPDX-License-Identifier: Apache-2.0
"""What one camera's session has counted and timed, for diagnostics and for tests."""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import dataclass, field

import numpy as np

RATE_WINDOW_S = 5.0
"""Rates are those of this long a time."""
MAX_EVENTS = 1000
MAX_LATENCIES = 200
"""Percentiles are those of the last so many answers."""


class Rate:
    """Events a second over the last :data:`RATE_WINDOW_S`."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._times: deque[float] = deque(maxlen=MAX_EVENTS)

    def count(self) -> None:
        """Count one event, now."""
        self._times.append(time.monotonic())

    @property
    def hz(self) -> float:
        """Events a second; 0 when there was none."""
        now = time.monotonic()
        recent = [when for when in tuple(self._times) if now - when <= RATE_WINDOW_S]
        # At most MAX_EVENTS are kept: for faster ones the window is the time that they took.
        full = len(recent) == MAX_EVENTS
        window = now - recent[0] if full else min(RATE_WINDOW_S, max(now - self._since, 0.1))
        return len(recent) / window


@dataclass(frozen=True)
class Percentiles:
    """Median, 95th and 99th percentile; NaN when there are no values."""

    p50: float
    p95: float
    p99: float


class Latencies:
    """The last :data:`MAX_LATENCIES` durations, ms."""

    def __init__(self) -> None:
        self._values: deque[float] = deque(maxlen=MAX_LATENCIES)

    def add(self, ms: float) -> None:
        """Add one."""
        self._values.append(ms)

    @property
    def percentiles(self) -> Percentiles:
        """Of those that are kept."""
        values = tuple(self._values)
        if not values:
            return Percentiles(*[float("nan")] * 3)
        return Percentiles(*(float(value) for value in np.percentile(values, (50, 95, 99))))


@dataclass
class Counters:
    """Of one camera since the node was activated.

    Attributes:
        received: images that came.
        answered: results published as current.
        encoded_with_others: images that went through the encoder together with those of other cameras.
        dropped: images replaced by a newer one before the model had time for them.
        lost: images lost on their way, as far as the middleware tells.
        refused: images refused, by reason.
        too_old: results not published as current because they were older than ``max_age``.
        in_future: likewise, because their stamp was ahead of the node's clock by more than ``max_age``.
        outdated: results not published because of a reset, or because images were not wanted meanwhile.
        contested: results not published because another node publishes on the same topics.
        faults: images that the model failed on.
        unpublished: answers that could not be published.
        restarts: how often the memory was given up, by reason.
        prompts_refused: hints refused.
        images_in, answers_out: rates.
        age: from the stamp of an image to its answer being published.
        work: from taking an image up to its answer being published.
    """

    received: int = 0
    answered: int = 0
    encoded_with_others: int = 0
    dropped: int = 0
    lost: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    too_old: int = 0
    in_future: int = 0
    outdated: int = 0
    contested: int = 0
    faults: int = 0
    unpublished: int = 0
    restarts: Counter[str] = field(default_factory=Counter)
    prompts_refused: int = 0
    images_in: Rate = field(default_factory=Rate)
    answers_out: Rate = field(default_factory=Rate)
    age: Latencies = field(default_factory=Latencies)
    work: Latencies = field(default_factory=Latencies)
