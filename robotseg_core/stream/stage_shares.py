# SPDX-License-Identifier: Apache-2.0
"""Which share of a graph's time each stage in it takes: measured once, when the graph is made, and kept with it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robotseg_core.backends.encoder import Graph
from robotseg_core.storage.user_cache import kept

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


def kept_shares(graph: Graph, name: str, inputs: dict[str, NDArray[Any]], stages: tuple[str, ...]) -> dict[str, float]:
    """The shares noted in the user's cache under ``name``; measured on ``inputs`` if they are not yet."""

    def measure(path: Path) -> None:
        found = [shares(graph.profile(inputs), stages) for _ in range(REPEATS)]
        middle = {stage: float(np.median([one.get(stage, 0.0) for one in found])) for stage in stages}
        total = sum(middle.values())
        path.write_text(json.dumps({stage: share / total for stage, share in middle.items()}))

    try:
        known = json.loads(kept(name, measure))
        return {stage: float(known[stage]) for stage in stages}
    except Exception as error:
        log.warning("times in %s are booked on its first stage alone: %s", name, error)
        return {stages[0]: 1.0}
