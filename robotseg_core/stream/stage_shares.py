# SPDX-License-Identifier: Apache-2.0
"""Which share of a graph's time each stage in it takes: measured once, when the graph is made, and kept beside it."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robotseg_core.backends.encoder import Graph

log = logging.getLogger(__name__)

MODULES = {
    "memory_attention": "memory_attention",
    "sam_prompt_encoder": "decoder",
    "sam_mask_decoder": "decoder",
    "obj_ptr_proj": "decoder",
    "memory_encoder": "memory_encoder",
    "robot_prompt_generator": "prompt_generator",
}
"""Stage of each module of the model, whose name an operator's begins with."""
REPEATS = 5


def shares(operators: Iterable[tuple[str, float]], stages: tuple[str, ...]) -> dict[str, float]:
    """Shares of ``stages``, which add up to 1.

    Args:
        operators: (name, time) in the order in which they ran; one whose name tells no module (runtimes rename what
            they fuse) belongs to the stage of the one before it.
        stages: that the graph holds; the first one counts what runs before any that is known, and what belongs to
            none of them.
    """
    spent = dict.fromkeys(stages, 0.0)
    stage = stages[0]
    for name, time in operators:
        module = next((part for part in name.split("/") if part in MODULES), None)
        if module is not None:
            stage = MODULES[module] if MODULES[module] in stages else stages[0]
        spent[stage] += time
    total = sum(spent.values())
    return {name: time / total for name, time in spent.items()} if total else {stages[0]: 1.0}


def kept_shares(
    graph: Graph, path: Path, backend: str, inputs: dict[str, NDArray[Any]], stages: tuple[str, ...]
) -> dict[str, float]:
    """The shares noted beside the graph's file ``path`` for a backend; measured on ``inputs`` if they are not yet."""
    note = path.with_suffix(f".{backend}.json")
    try:
        known = json.loads(note.read_text())
        return {stage: float(known[stage]) for stage in stages}
    except (OSError, ValueError, KeyError, TypeError):
        pass
    try:
        found = [shares(graph.profile(inputs), stages) for _ in range(REPEATS)]
        measured = {stage: float(np.median([one.get(stage, 0.0) for one in found])) for stage in stages}
        total = sum(measured.values())
        measured = {stage: share / total for stage, share in measured.items()}
        partial = note.with_name(f".{note.name}.{os.getpid()}.part")
        partial.write_text(json.dumps(measured))
        os.replace(partial, note)
    except Exception as error:
        log.warning("times of %s are booked on its first stage alone: %s", path.name, error)
        return {stages[0]: 1.0}
    return measured
