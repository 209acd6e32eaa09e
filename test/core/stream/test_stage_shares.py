# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from robotseg_core.stream.stage_shares import kept_shares, shares

STAGES = ("memory_attention", "decoder")
OPERATORS = [
    ("/Concat", 1.0),
    ("/memory_attention/layers.0/MatMul", 2.0),
    ("Gelu_token_3", 1.0),
    ("/sam_mask_decoder/transformer/MatMul", 3.0),
    ("Gelu_token_4", 1.0),
    ("/model/obj_ptr_proj/Gemm", 1.0),
    # Of a stage that the graph does not hold.
    ("/robot_prompt_generator/Expand", 1.0),
]


class Graph:
    inputs = {"x"}

    def __init__(self, operators):
        self.operators, self.runs = operators, 0

    def run(self, inputs):
        raise AssertionError("not asked for")

    def profile(self, inputs):
        self.runs += 1
        if self.operators is None:
            raise RuntimeError("no times here")
        return self.operators


def test_what_names_no_module_belongs_to_the_stage_before_it():
    assert shares(OPERATORS, STAGES) == {"memory_attention": 0.5, "decoder": 0.5}
    assert shares([], STAGES) == {"memory_attention": 1.0}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_they_are_measured_once_and_a_damaged_note_is_made_anew(tmp_path):
    first, second = Graph(OPERATORS), Graph(OPERATORS)
    found = kept_shares(first, "find.json", {"x": np.zeros(1)}, STAGES)
    assert found == pytest.approx({"memory_attention": 0.5, "decoder": 0.5}) and first.runs > 0
    assert kept_shares(second, "find.json", {}, STAGES) == found and second.runs == 0
    (tmp_path / "robotseg" / "find.json").write_text("{}")
    assert kept_shares(second, "find.json", {}, STAGES) == found and second.runs > 0


def test_without_times_all_is_the_first_stages_and_the_log_says_so(caplog):
    assert kept_shares(Graph(None), "find.json", {}, STAGES) == {"memory_attention": 1.0}
    assert "no times here" in caplog.text
