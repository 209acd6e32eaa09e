# SPDX-License-Identifier: Apache-2.0
"""The GPU report on a CPU with small models: every section runs or says why not, and nothing found is lost."""

import dataclasses
import json
import time

import numpy as np
import pytest
import torch
from small_models import SMALL, small_model
from tiny_base import TINY

from robotseg_core import cli
from robotseg_core.bench import gpu_report, gpu_sections
from robotseg_core.bench.gpu_attention import Shape, compare
from robotseg_core.bench.gpu_document import Report
from robotseg_core.bench.gpu_report import report
from robotseg_core.bench.gpu_sections import Bench, Way
from robotseg_core.bench.gpu_step import agreement, stage_gflop
from robotseg_core.bench.gpu_timing import Ceilings
from robotseg_core.config import BASE
from robotseg_core.model.robotseg_model import RobotSegModel

CPU = torch.device("cpu")


@pytest.fixture
def bench(monkeypatch):
    tiny = dataclasses.replace(TINY, image_size=64)
    models = {"tiny": RobotSegModel(tiny), "small": small_model()}
    monkeypatch.setattr(gpu_sections, "weighted", lambda config: models[config.name])
    return Bench(CPU, count=1, frames=2, nano_sizes=(64,), base=tiny, nano=SMALL)


def test_every_section_runs_or_says_why_not(bench, tmp_path):
    out = report(bench, tmp_path, 600, full=False)
    data = json.loads((tmp_path / "gpu.json").read_text())
    assert data == json.loads(json.dumps(out.data))
    sections = data["sections"]
    assert not [found for found in sections.values() if "failed" in found]
    for name in ("base", "nano 64"):
        rows = {row["way"]: row for row in sections[name]["rows"]}
        assert set(rows) == {"eager bf16", "eager fp32"}
        for row in rows.values():
            assert 0 < sum(row["stages"].values()) and row["step"]["ms"] > 0 and row["whole"]["ms"] > 0
            assert set(row["floor"]) == set(sections[name]["gflop"])
        assert min(rows["eager fp32"]["iou"]["mean"].values()) == 1.0
        assert sections[name]["one_part"]["step"]["ms"] > 0
    assert "TensorRT" in sections["TensorRT"]["skipped"]
    text = (tmp_path / "gpu.md").read_text()
    assert text.count("| eager bf16 |") == 2 and "GFLOP of a step" in text and "TensorRT is not installed" in text


def test_a_way_that_fails_leaves_its_traceback_and_the_next_one_runs(bench, tmp_path, monkeypatch):
    whole = gpu_sections.whole_step

    def fails(robotseg, frames, count):
        if robotseg.precision == "bf16":
            raise RuntimeError("no such kernel")
        return whole(robotseg, frames, count)

    monkeypatch.setattr(gpu_sections, "whole_step", fails)
    found = {}
    bench.model(SMALL, [Way("eager", "bf16"), Way("eager", "fp32")], found)
    first, second = found["rows"]
    assert first["failed"] == "RuntimeError: no such kernel" and "in fails" in first["traceback"]
    assert second["whole"]["ms"] > 0 and "failed" not in second


def test_a_section_ends_with_its_box_of_time_and_what_it_found_is_kept(tmp_path):
    out = Report(tmp_path, 60)

    def slow(found):
        found["rows"] = []
        while True:
            time.sleep(0.01)

    out.section("slow", slow, most=1)
    out.section("next", lambda found: found.update(good=True))
    sections = json.loads((tmp_path / "gpu.json").read_text())["sections"]
    assert "not done within its box of 1 s" in sections["slow"]["failed"] and sections["slow"]["rows"] == []
    assert sections["next"]["good"]
    out = Report(tmp_path, 0.5)
    out.section("late", lambda found: found.update(good=True), needs=3)
    assert "skipped" in json.loads((tmp_path / "gpu.json").read_text())["sections"]["late"]


def test_kernels_are_checked_against_float64():
    shape = Shape("some", 2, 16, 48, 32, 32)
    found = {way.kernel: way for way in compare(shape, CPU, torch.bfloat16, 1)}
    assert shape.gflop == pytest.approx(2 * 2 * 16 * 48 * 64 / 1e9)
    assert 0 < found["written out"].error < 2e-2
    assert all(way.reason or way.timing.ms > 0 for way in found.values())


def test_operations_of_base_are_those_counted_by_hand():
    gflop = stage_gflop(BASE)
    cells, keys = 64**2, 7 * 64**2 + 64
    # Two lookups in each of four layers, but for the last one's structure branch.
    scores = (4 * 2 - 1) * 3 * 2e-9 * cells * keys * (256 + 64)
    itself = 10 * 2e-9 * cells * cells * 512
    assert gflop["memory_attention"] > scores + itself
    # The rest: projections, MLP, pyramid.
    assert gflop["memory_attention"] < 1.15 * (scores + itself)


def test_floor_is_the_longer_of_operations_and_bytes():
    reached = Ceilings({"bf16": 500.0}, 2.0)
    assert reached.floor_ms(1000.0, 1.0, "bf16") == 2.0
    assert reached.floor_ms(1.0, 6.0, "bf16") == 3.0


def test_empty_masks_agree_with_empty_ones():
    masks, other = np.zeros((2, 3, 4, 4), bool), np.zeros((2, 3, 4, 4), bool)
    masks[0, 0, :2], other[0, 0, :1] = True, True
    found = agreement(masks, other)
    assert found.mean == {"arm": 0.75, "gripper": 1.0, "robot": 1.0}
    assert found.least["arm"] == 0.5


def test_command_writes_both_files(tmp_path, bench, monkeypatch, capsys):
    monkeypatch.setattr(gpu_report, "report", lambda *args, **kwargs: Report(tmp_path, 1))
    assert cli.main(["bench", "--gpu-report", str(tmp_path), "--device", "cpu"]) == 0
    assert "# GPU report" in capsys.readouterr().out
