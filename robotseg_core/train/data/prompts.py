# SPDX-License-Identifier: Apache-2.0
"""Prompts as a user would give them, simulated for training (SPEC 9.3).

What is random about a sample comes with the sample as uniform numbers, so that a resumed run, and a run on several
processes, give the prompts that one process would have given.

Shape glossary: R rows (parts of clips), h = w cells at stride 4, u uniform numbers in [0, 1).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

Mode = Literal["auto", "mask", "click", "box"]
"""How the first frame is prompted: category alone, a given mask, a click, a box."""

CORRECTIONS = 3
"""Clicks that follow a click or a box on the first frame."""
FROM_TRUTH = 0.1
"""Probability that a correction is drawn as if nothing had been found."""
BOX_NOISE, BOX_NOISE_LIMIT = 0.1, 20 / 1024
"""A corner of a box is off by up to this part of the side, and of the image."""
NUMBERS = 4 + 2 * CORRECTIONS
"""Uniform numbers that a row needs: a box's corners or a click, then the corrections."""

Points = tuple[Tensor, Tensor]
"""coords [R, n, 2] in pixels of the model's image, labels [R, n]: 1 on the part, 0 off it, 2 and 3 a box, -1 none."""


def draw_mode(rng: np.random.Generator, auto: float, *, video: bool) -> Mode:
    """One mode for all rows of a step; ``auto`` is the share of the category alone.  Images are given no masks."""
    u = rng.random()
    if u < auto:
        return "auto"
    if video and (u - auto) / (1 - auto) < 1 / 3:
        return "mask"
    return "box" if rng.random() < 0.5 else "click"


def pick_cell(weight: Tensor, u: Tensor, stride: float) -> Tensor:
    """A cell of ``weight`` [R, h, w] > 0, uniform by ``u`` [R] -> its centre [R, 1, 2] x, y in pixels."""
    w = weight.shape[-1]
    total = weight.flatten(1).float().cumsum(1)
    cell = torch.searchsorted(total, u[:, None] * total[:, -1:], right=True)[:, 0].clamp(max=total.shape[1] - 1)
    return (torch.stack([cell % w, cell // w], -1)[:, None] + 0.5) * stride - 0.5


def click(inside: Tensor, u: Tensor, size: int) -> Points:
    """A click inside the part, ``inside`` [R, h, w] bool; rows without the part get no point."""
    seen = inside.flatten(1).any(1)
    coords = pick_cell(inside | ~seen[:, None, None], u, size / inside.shape[-1])
    return coords, torch.where(seen, 1, -1)[:, None]


def box(inside: Tensor, u: Tensor, size: int) -> Points:
    """The part's box with noise by ``u`` [R, 4]; rows without the part get no points."""
    h, w = inside.shape[-2:]
    columns, lines = inside.any(1).float(), inside.any(2).float()
    x0, y0 = columns.argmax(1).float(), lines.argmax(1).float()
    x1, y1 = w - columns.flip(1).argmax(1).float(), h - lines.flip(1).argmax(1).float()
    corners = torch.stack([torch.stack([x0, y0], -1), torch.stack([x1, y1], -1)], 1) * (size / w)
    reach = (BOX_NOISE * (corners[:, 1] - corners[:, 0])).clamp(max=BOX_NOISE_LIMIT * size)
    noisy = corners + (2 * u.unflatten(1, (2, 2)) - 1) * reach[:, None]
    seen = inside.flatten(1).any(1)
    labels = torch.where(seen[:, None], torch.tensor([2, 3], device=inside.device), -1)
    return noisy.clamp(0, size - 1), labels


def correction(found: Tensor, truth: Tensor, u: Tensor, size: int) -> Points:
    """A click into the error of ``found`` against ``truth``, both [R, h, w] bool, by ``u`` [R, 2].

    On the part where it was missed, off it where too much was found; off the part where there is no error.
    """
    found = found & (u[:, 1] >= FROM_TRUTH)[:, None, None]
    error = found ^ truth
    wrong = error.flatten(1).any(1)
    where = torch.where(wrong[:, None, None], error, ~truth)
    # A part that fills the picture and was found has neither: any cell, and no point.
    none = ~where.flatten(1).any(1)
    coords = pick_cell(where | none[:, None, None], u[:, 0], size / truth.shape[-1])
    cell = ((coords[:, 0] + 0.5) * truth.shape[-1] / size).long()
    on = truth[torch.arange(len(truth), device=truth.device), cell[:, 1], cell[:, 0]]
    return coords, torch.where(none, -1, on.long())[:, None]
