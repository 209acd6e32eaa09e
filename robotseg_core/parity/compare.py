# SPDX-License-Identifier: Apache-2.0
"""Comparing recorded arrays with ours: what differs by how much, and how much may it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robotseg_core.parity.items import split_item

# Largest difference allowed in fp32 runs, by item (reference report, section e; items that it does not name have the
# tolerance of what they are made of).
TOLERANCES: dict[str, float] = {
    "logits": 1e-3,
    "all_logits4": 1e-3,
    "logits_stats": 1e-3,
    "mask_bits": 20,
    "obj_ptr": 1e-4,
    "ious": 1e-4,
    "all_ious4": 1e-4,
    "object_score": 1e-4,
    "stability": 1e-3,
    "chosen": 0,
    "multimask": 0,
    "num_obj_ptr_tokens": 0,
    "memory_len": 0,
    "memory_pos": 1e-4,
    "memory_pos_ptr": 1e-4,
    "sparse": 1e-4,
    "rpg_tokens": 1e-3,
    "ma_out_tokens": 5e-3,
    "structure": 5e-2,
    # Where the picture is flat every pixel has magnitude 1e-3 and rounding decides which one is the ridge; a cell is
    # the mean of four pixels.
    "edges_small": 1.1e-3,
    "maskmem": 1e-2,
    "maskmem_stats": 1e-3,
    "input": 1e-6,
    "trunk": 1e-3,
    "fpn": 1e-3,
    "fpn_stats": 1e-5,
    "pos": 1e-5,
    "dense_pe": 1e-5,
}
RMS_TOLERANCES: dict[str, float] = {"maskmem": 1e-4, "ma_out_tokens": 1e-4, "edges_small": 2e-5}
FIRST_FRAME_LOGITS = 1e-4
BF16_FACTOR = 20
"""bfloat16 memory rounds, so differences flip last bits: such runs show that nothing is grossly wrong, no more."""


@dataclass(frozen=True)
class Row:
    """A line of the table: the worst of all frames of one item of one run."""

    run: str
    item: str
    where: str
    difference: float
    tolerance: float

    @property
    def frame(self) -> int:
        """Number of the frame."""
        return frame_of(self.where)

    @property
    def passed(self) -> bool:
        """False also where the difference is not a number."""
        return self.difference <= self.tolerance

    @property
    def severity(self) -> float:
        """Difference over tolerance; infinite where that is no number."""
        return float("inf") if np.isnan(self.difference) else self.difference / max(self.tolerance, 1e-30)


def frame_of(tag: str) -> int:
    """Frame number of a tag such as ``f4call0``; 0 where it has none."""
    match = re.match(r"f(\d+)", tag)
    return int(match[1]) if match else 0


def compare(item: str, ours: NDArray[Any], golden: NDArray[Any]) -> float:
    """Largest difference of an item; infinite where the shapes differ."""
    if ours.shape != golden.shape:
        return float("inf")
    if item == "mask_bits":
        return float(np.unpackbits(ours ^ golden).sum())
    difference = np.abs(ours.astype(np.float64) - golden.astype(np.float64))
    if golden.dtype == np.float16:
        # What half precision loses is not a difference between the models.
        difference = np.maximum(difference - np.abs(golden.astype(np.float64)) * 2.0**-11, 0)
    if item.endswith("fpn_stats"):
        difference = difference / np.maximum(np.abs(golden), 1)
    return float(difference.max())


def rows_of(run: str, tag: str, item: str, ours: NDArray[Any], golden: NDArray[Any], *, loose: bool) -> list[Row]:
    """Lines for one array: its largest difference and, for some items, the root of the mean square."""
    stem = re.sub(r"\d+$", "", split_item(item)[0]) if run == "enc" else split_item(item)[0]
    stem = re.sub(r"^fpn\d_stats$", "fpn_stats", stem)
    factor = BF16_FACTOR if loose else 1
    tolerance = TOLERANCES[stem] * (5 if loose and stem == "mask_bits" else factor)
    if stem == "logits" and tag.startswith("f0") and not loose:
        tolerance = FIRST_FRAME_LOGITS
    rows = [Row(run, item, tag, compare(stem, ours, golden), tolerance)]
    if stem in RMS_TOLERANCES and ours.shape == golden.shape:
        rms = float(np.sqrt(np.square(ours.astype(np.float64) - golden).mean()))
        rows.append(Row(run, f"{item} rms", tag, rms, RMS_TOLERANCES[stem] * factor))
    return rows


def worst_of(rows: Iterable[Row]) -> list[Row]:
    """For every item the row nearest to its tolerance, or furthest beyond it."""
    worst: dict[str, Row] = {}
    for row in rows:
        kept = worst.get(row.item)
        if kept is None or row.severity > kept.severity:
            worst[row.item] = row
    return list(worst.values())
