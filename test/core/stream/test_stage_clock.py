# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools

import pytest
import torch

from robotseg_core.stream import stage_clock
from robotseg_core.stream.stage_clock import StageClock


class FakeEvent:
    """Stands for a CUDA event: its time is known only after the host has waited."""

    waited = False
    ticks = itertools.count()

    def __init__(self, enable_timing: bool) -> None:
        assert enable_timing
        self.tick: int | None = None

    def record(self) -> None:
        self.tick = next(self.ticks)

    def elapsed_time(self, end: FakeEvent) -> float:
        assert FakeEvent.waited and self.tick is not None and end.tick is not None
        return float(end.tick - self.tick)


def test_laps_of_a_stage_add_up(monkeypatch):
    times = iter([1.0, 1.5, 1.75, 2.75])
    monkeypatch.setattr(stage_clock.time, "perf_counter", lambda: next(times))
    clock = StageClock(torch.device("cpu"))
    for stage in ("encoder", "decoder", "encoder"):
        clock.lap(stage)
    assert clock.times().encoder == pytest.approx(1500) and clock.times().decoder == pytest.approx(250)


def test_on_cuda_the_host_waits_once_and_events_give_the_times(monkeypatch):
    monkeypatch.setattr(torch.cuda, "Event", FakeEvent)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: setattr(FakeEvent, "waited", True))
    clock = StageClock(torch.device("cuda"))
    clock.lap("encoder")
    clock.lap("decoder")
    assert not FakeEvent.waited
    assert clock.times().encoder == 1 and clock.times().decoder == 1
