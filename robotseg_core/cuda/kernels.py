# SPDX-License-Identifier: Apache-2.0
"""Triton kernels of the memory attention (SPEC 5.2).  Import it only where Triton is installed.

Base's cross attention has keys 256 wide over values 64 wide.  The fused kernels of PyTorch want both of one width, or
are made for older GPUs; here the scores stay on the chip and values stay narrow, which is 75 instead of 120 GFLOP for
a part and a lookup at 1024 pixels.  Keys are cut into ``SPLIT`` spans, because 4096 queries of three parts alone do not
fill a GPU of 132 multiprocessors evenly; a second kernel joins the spans.

A block takes ROWS queries and goes through a span of TILES times COLUMNS keys; WIDTH is that of queries and keys,
NARROW that of values.
"""

from __future__ import annotations

import triton
import triton.language as tl

DEAD = tl.constexpr(-1e30)
"""Stands for minus infinity where a difference of two of them must not be NaN."""


@triton.jit
def attend_spans(
    q_ptr,
    k_ptr,
    v_ptr,
    bias_ptr,
    found_ptr,
    peak_ptr,
    total_ptr,
    q_batch,
    k_batch,
    v_batch,
    bias_batch,
    queries,
    keys,
    scale,
    BIAS: tl.constexpr,
    SPLIT: tl.constexpr,
    TILES: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    WIDTH: tl.constexpr,
    NARROW: tl.constexpr,
):
    """ROWS queries of one part over one span of keys: mean of values, highest score, sum of weights (base 2)."""
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    split, batch = tl.program_id(1), tl.program_id(2).to(tl.int64)
    wide, narrow = tl.arange(0, WIDTH), tl.arange(0, NARROW)
    within = rows < queries
    q = tl.load(q_ptr + batch * q_batch + rows[:, None] * WIDTH + wide[None, :], mask=within[:, None], other=0.0)
    peak = tl.full([ROWS], DEAD, tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    found = tl.zeros([ROWS, NARROW], tl.float32)
    k_ptr += batch * k_batch
    v_ptr += batch * v_batch
    for tile in range(TILES):
        start = (split * TILES + tile) * COLUMNS
        columns = start + tl.arange(0, COLUMNS)
        inside = columns < keys
        k = tl.load(k_ptr + columns[None, :] * WIDTH + wide[:, None], mask=inside[None, :], other=0.0)
        scores = tl.dot(q, k) * scale
        if BIAS:
            bias = tl.load(bias_ptr + batch * bias_batch + columns, mask=inside, other=DEAD)
            scores += tl.maximum(bias, DEAD)[None, :]
        else:
            scores = tl.where(inside[None, :], scores, DEAD)
        higher = tl.maximum(peak, tl.max(scores, 1))
        weights = tl.exp2(scores - higher[:, None])
        kept = tl.exp2(peak - higher)
        total = total * kept + tl.sum(weights, 1)
        v = tl.load(v_ptr + columns[:, None] * NARROW + narrow[None, :], mask=inside[:, None], other=0.0)
        found = tl.dot(weights.to(v.dtype), v, found * kept[:, None])
        peak = higher
    place = (batch * SPLIT + split) * queries + rows
    tl.store(peak_ptr + place, peak, mask=within)
    tl.store(total_ptr + place, total, mask=within)
    tl.store(found_ptr + place[:, None] * NARROW + narrow[None, :], found / total[:, None], mask=within[:, None])


@triton.jit
def attend_spans_tma(
    q_ptr,
    k_tiles,
    v_tiles,
    bias_ptr,
    found_ptr,
    peak_ptr,
    total_ptr,
    q_batch,
    bias_batch,
    k_rows,
    v_rows,
    queries,
    keys,
    scale,
    BIAS: tl.constexpr,
    SPLIT: tl.constexpr,
    TILES: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    WIDTH: tl.constexpr,
    NARROW: tl.constexpr,
):
    """The same through the copy engine of Hopper GPUs; ``k_rows`` and ``v_rows`` are rows of a part in the tables."""
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    split, batch = tl.program_id(1), tl.program_id(2)
    wide, narrow = tl.arange(0, WIDTH), tl.arange(0, NARROW)
    within = rows < queries
    q_ptr += batch.to(tl.int64) * q_batch
    q = tl.load(q_ptr + rows[:, None] * WIDTH + wide[None, :], mask=within[:, None], other=0.0)
    peak = tl.full([ROWS], DEAD, tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    found = tl.zeros([ROWS, NARROW], tl.float32)
    for tile in range(TILES):
        start = (split * TILES + tile) * COLUMNS
        columns = start + tl.arange(0, COLUMNS)
        inside = columns < keys
        k = k_tiles.load([batch * k_rows + start, 0])
        scores = tl.dot(q, k.T) * scale
        if BIAS:
            bias = tl.load(bias_ptr + batch * bias_batch + columns, mask=inside, other=DEAD)
            scores += tl.maximum(bias, DEAD)[None, :]
        else:
            scores = tl.where(inside[None, :], scores, DEAD)
        higher = tl.maximum(peak, tl.max(scores, 1))
        weights = tl.exp2(scores - higher[:, None])
        kept = tl.exp2(peak - higher)
        total = total * kept + tl.sum(weights, 1)
        v = v_tiles.load([batch * v_rows + start, 0])
        found = tl.dot(weights.to(v.dtype), v, found * kept[:, None])
        peak = higher
    place = (batch.to(tl.int64) * SPLIT + split) * queries + rows
    tl.store(peak_ptr + place, peak, mask=within)
    tl.store(total_ptr + place, total, mask=within)
    tl.store(found_ptr + place[:, None] * NARROW + narrow[None, :], found / total[:, None], mask=within[:, None])


@triton.jit
def join_spans(
    found_ptr,
    peak_ptr,
    total_ptr,
    out_ptr,
    queries,
    SPLIT: tl.constexpr,
    ROWS: tl.constexpr,
    NARROW: tl.constexpr,
):
    """Mean of the spans' means, each with its sum of weights brought to the highest score of all."""
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    batch = tl.program_id(1).to(tl.int64)
    narrow, within = tl.arange(0, NARROW), rows < queries
    peak = tl.full([ROWS], DEAD, tl.float32)
    for split in tl.static_range(SPLIT):
        place = (batch * SPLIT + split) * queries + rows
        peak = tl.maximum(peak, tl.load(peak_ptr + place, mask=within, other=DEAD))
    weight = tl.zeros([ROWS], tl.float32)
    found = tl.zeros([ROWS, NARROW], tl.float32)
    for split in tl.static_range(SPLIT):
        place = (batch * SPLIT + split) * queries + rows
        own = tl.load(peak_ptr + place, mask=within, other=DEAD)
        share = tl.exp2(own - peak) * tl.load(total_ptr + place, mask=within, other=1.0)
        weight += share
        part = tl.load(found_ptr + place[:, None] * NARROW + narrow[None, :], mask=within[:, None], other=0.0)
        found += part * share[:, None]
    place = batch * queries + rows
    found = found / weight[:, None]
    tl.store(
        out_ptr + place[:, None] * NARROW + narrow[None, :], found.to(out_ptr.dtype.element_ty), mask=within[:, None]
    )


@triton.jit
def turn_pairs(
    x_ptr,
    cos_ptr,
    sin_ptr,
    out_ptr,
    rows,
    cells,
    ROWS: tl.constexpr,
    HALF: tl.constexpr,
):
    """Rotary code: pairs (2c, 2c + 1) of x [rows, 2 HALF] turned by the tables [cells, HALF] of row modulo cells."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    within = (row < rows)[:, None]
    pair = tl.arange(0, HALF)[None, :]
    wide = tl.arange(0, 2 * HALF)[None, :]
    table = (row % cells)[:, None] * HALF + pair
    cos = tl.load(cos_ptr + table, mask=within, other=0.0)
    sin = tl.load(sin_ptr + table, mask=within, other=0.0)
    x = tl.load(x_ptr + row[:, None] * (2 * HALF) + wide, mask=within, other=0.0).to(tl.float32)
    re, im = tl.split(tl.reshape(x, [ROWS, HALF, 2]))
    turned = tl.reshape(tl.join(re * cos - im * sin, re * sin + im * cos), [ROWS, 2 * HALF])
    tl.store(out_ptr + row[:, None] * (2 * HALF) + wide, turned.to(out_ptr.dtype.element_ty), mask=within)
