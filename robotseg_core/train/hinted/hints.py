# SPDX-License-Identifier: Apache-2.0
"""Hints as a user gives them, made from the truth on the device: clicks, boxes, clicks beside, wrong masks to mend.

Shape glossary: N rows, h x w cells at stride 4, coverage in [0, 1]; coordinates in pixels of the model's input.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from robotseg_core.train.data.prompts import BOX_NOISE, Points, pick_cell

STRIDE = 4
PROMPT_LOGIT = 6.0
"""Logit of a wrong mask that a click has to mend."""


def inside(coverage: Tensor) -> Tensor:
    """Cells that are the row's, [N, h, w] bool; of what fills no cell the best ones."""
    most = coverage.amax((1, 2), keepdim=True)
    return (coverage >= torch.minimum(most * 0.99, most.new_full((), 0.5))) & (coverage > 0.01)


def visible(coverage: Tensor) -> Tensor:
    """Rows of which enough is seen to hint at it, [N] bool."""
    return coverage.sum((1, 2)) > 2.0


def click(coverage: Tensor, generator: torch.Generator | None, *, central: float = 0.5) -> Tensor:
    """A point on each row's target, [N, 1, 2]: anywhere, or with probability ``central`` well inside."""
    on = inside(coverage)
    u = torch.rand(len(coverage), 2, device=coverage.device, generator=generator)
    # How much of its surroundings is inside tells how deep a cell lies.
    depth = F.avg_pool2d(on[:, None].float(), 9, 1, 4)[:, 0]
    deepest = (depth * on).amax((1, 2), keepdim=True)
    deep = on & (depth >= 0.9 * deepest)
    where = torch.where((u[:, 1] < central)[:, None, None], deep, on)
    nothing = ~where.flatten(1).any(1)
    return pick_cell(where | nothing[:, None, None], u[:, 0], STRIDE)


def box(coverage: Tensor, generator: torch.Generator | None) -> Tensor:
    """The box of each row's target with noise, [N, 2, 2] corners."""
    on = inside(coverage)
    h, w = on.shape[-2:]
    columns, lines = on.any(1).float(), on.any(2).float()
    x0, y0 = columns.argmax(1).float(), lines.argmax(1).float()
    x1, y1 = w - columns.flip(1).argmax(1).float(), h - lines.flip(1).argmax(1).float()
    corners = torch.stack([torch.stack([x0, y0], -1), torch.stack([x1, y1], -1)], 1) * STRIDE
    reach = BOX_NOISE * (corners[:, 1] - corners[:, 0])
    u = torch.rand(corners.shape, device=coverage.device, generator=generator)
    # As often exact as not.
    loose = torch.rand(len(corners), 1, 1, device=coverage.device, generator=generator) < 0.5
    return (corners + loose * (2 * u - 1) * reach[:, None]).clamp(0, STRIDE * w - 1)


def around(coverage: Tensor) -> Tensor:
    """Cells beside the target, [N, h, w] in {0, 1}: where a click off it is worth most."""
    on = inside(coverage)[:, None].float()
    wide = F.max_pool2d(on, 17, 1, 8)
    near = F.max_pool2d(on, 5, 1, 2)
    return (wide - near)[:, 0].clamp(min=0)


def labelled(coords: Tensor, labels: Tensor, valid: Tensor) -> Points:
    """coords [N, n, 2], labels [n] or [N, n] -> points; rows that are not ``valid`` [N] get none."""
    labels = labels.expand(coords.shape[:2])
    return coords, torch.where(valid[:, None], labels, -1)


def points(hint: str, coverage: Tensor, off: Tensor, generator: torch.Generator | None) -> Points:
    """The points of a hint: one click, box, three clicks, or one beside (``off`` [N, h, w] is what it is on)."""
    device, rows = coverage.device, len(coverage)
    valid = visible(coverage)
    one = torch.ones(1, 1, dtype=torch.long, device=device)
    if hint == "click":
        return labelled(click(coverage, generator), one, valid)
    if hint == "box":
        return labelled(box(coverage, generator), torch.cat([2 * one, 3 * one], 1), valid)
    if hint == "negative":
        return labelled(click(off, generator), 0 * one, visible(off))
    assert hint == "clicks", hint
    # One on it; the others on it, beside it, or on something else.
    other = torch.where(visible(off)[:, None, None], off, around(coverage))
    found, labels = [click(coverage, generator)], [one.expand(rows, 1)]
    for _ in range(2):
        u = torch.rand(rows, 1, 1, device=device, generator=generator)
        positive, near = u < 0.45, u > 0.75
        where = torch.where(positive, coverage, torch.where(near, around(coverage), other))
        found.append(click(where, generator, central=0.2))
        labels.append(torch.where(visible(where)[:, None], positive[:, :, 0].long(), -1))
    coords, label = torch.cat(found, 1), torch.cat(labels, 1)
    return coords, torch.where(valid[:, None], label, -1)


def wrong_mask(coverage: Tensor, off: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Points]:
    """A mask that has too much or too little, and the click that mends it: logits [N, 1, h, w] and one point.

    Too much: what is in ``off`` [N, h, w] as well.  Too little: one side of the target is missing.
    """
    rows, (h, w) = len(coverage), coverage.shape[-2:]
    device = coverage.device
    u = torch.rand(rows, 4, device=device, generator=generator)
    on, beside = inside(coverage), inside(off) & ~inside(coverage)
    point = click(coverage, generator, central=0.0)[:, 0]
    y = torch.arange(h, device=device)[None, :, None] * STRIDE - point[:, 1, None, None]
    x = torch.arange(w, device=device)[None, None, :] * STRIDE - point[:, 0, None, None]
    angle = u[:, 0, None, None] * 6.2832
    half = (x * angle.cos() + y * angle.sin()) > 0
    add = ((u[:, 1] < 0.6) & visible(beside.float()))[:, None, None]
    mask = torch.where(add, on | beside, on & half)
    error = mask ^ on
    wrong = error.flatten(1).any(1)
    coords = pick_cell(error | ~wrong[:, None, None], u[:, 2], STRIDE)
    label = torch.where(add[:, :, 0], 0, 1)
    soft = F.avg_pool2d(mask[:, None].float(), 3, 1, 1)
    logits = (2 * soft - 1) * PROMPT_LOGIT * (0.5 + u[:, 3, None, None, None])
    return logits, (coords, torch.where(wrong[:, None], label, -1))


def correction(found: Tensor, coverage: Tensor, generator: torch.Generator | None) -> Points:
    """A click into the error of ``found`` [N, h, w] bool, often in its middle; no point where there is none."""
    truth = coverage > 0.5
    error = found ^ truth
    # Cells that the border cuts are nobody's error.
    error &= (coverage - 0.5).abs() > 0.3
    wrong = error.flatten(1).any(1)
    coords = click(error.float(), generator)
    cell = ((coords[:, 0] + 0.5) / STRIDE).long()
    rows = torch.arange(len(truth), device=truth.device)
    on = truth[rows, cell[:, 1].clamp(max=truth.shape[1] - 1), cell[:, 0].clamp(max=truth.shape[2] - 1)]
    return coords, torch.where(wrong, on.long(), -1)[:, None]
