# SPDX-License-Identifier: Apache-2.0
"""How long the stages of a step take, on the CPU and on CUDA."""

from __future__ import annotations

import time
from collections.abc import Mapping

import torch

from robotseg_core.types import StageTimes


class StageClock:
    """Time between the stages of a step.

    On CUDA, work is only queued when a stage returns: events in the queue give the times, and the host waits for
    them once, at the end.
    """

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._began = self._now()
        self._laps: list[tuple[str, float | torch.cuda.Event, float | torch.cuda.Event]] = []

    def _now(self) -> float | torch.cuda.Event:
        if not self._cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def lap(self, stage: str) -> None:
        """Book the time since the last lap, or since :meth:`skip`, on ``stage``."""
        now = self._now()
        self._laps.append((stage, self._began, now))
        self._began = now

    def lap_shared(self, shares: Mapping[str, float]) -> None:
        """Book the time since the last lap on several stages by their ``shares``, which add up to 1 (CPU only)."""
        now, began = self._now(), self._began
        assert isinstance(now, float) and isinstance(began, float)
        for stage, share in shares.items():
            self._laps.append((stage, 0.0, share * (now - began)))
        self._began = now

    def skip(self) -> None:
        """Book the time since the last lap on nothing: it was another camera's."""
        self._began = self._now()

    def times(self) -> StageTimes:
        """All stages so far."""
        if self._cuda:
            torch.cuda.synchronize()
        total: dict[str, float] = {}
        for stage, began, ended in self._laps:
            if isinstance(began, torch.cuda.Event):
                assert isinstance(ended, torch.cuda.Event)
                spent = began.elapsed_time(ended)
            else:
                assert isinstance(ended, float)
                spent = 1e3 * (ended - began)
            total[stage] = total.get(stage, 0.0) + spent
        return StageTimes(**total)
