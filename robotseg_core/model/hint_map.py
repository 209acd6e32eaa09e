# SPDX-License-Identifier: Apache-2.0
"""Clicks and boxes as a map of logits, for the path of the mask prompt.  Ours; the reference has tokens alone.

A token says where a click was by a code that attention must learn to compare with the codes of the image's cells.  A
small model learns that slowly; a mark in the cell itself it understands at once (interactive segmentation by disks:
Sofiiuk et al. 2021, "Reviving Iterative Training with Mask Guidance").
"""

from __future__ import annotations

import torch
from torch import Tensor

STRIDE = 4
"""Pixels of the model's image to a cell of the map."""
RADIUS = 10.0
"""Of a click's disk, pixels of the model's image."""
CLICK_LOGIT = 20.0
"""Inside a click's disk, its negative for a click beside."""
BOX_LOGIT = 5.0
"""Inside a box, its negative outside."""


def hint_map(coords: Tensor, labels: Tensor, before: Tensor | None, cells: int) -> Tensor:
    """Draw hints into the mask so far.

    Args:
        coords: [B, n, 2] pixels of the model's image.
        labels: [B, n]; 1 on the part, 0 off it, 2 and 3 the corners of a box, -1 none.
        before: [B, 1, cells, cells] logits of the mask so far, which a box does not change; None: nothing is known.
        cells: side of the map.

    Returns:
        [B, 1, cells, cells] logits.
    """
    # (0, 0) is the centre of the first pixel.
    centres = (torch.arange(cells, device=coords.device, dtype=coords.dtype) + 0.5) * STRIDE - 0.5
    x, y = centres[None, None, None], centres[None, None, :, None]
    at_x, at_y = coords[..., 0, None, None], coords[..., 1, None, None]
    if before is None:
        drawn = torch.zeros(len(coords), cells, cells, device=coords.device, dtype=coords.dtype)
        first, last = (labels == 2)[..., None, None], (labels == 3)[..., None, None]
        inside = (~first | ((x >= at_x) & (y >= at_y))) & (~last | ((x <= at_x) & (y <= at_y)))
        boxed = (labels == 2).any(1)[:, None, None]
        drawn = torch.where(boxed, torch.where(inside.all(1), BOX_LOGIT, -BOX_LOGIT), drawn)
    else:
        drawn = before[:, 0].to(coords.dtype)
    disk = (x - at_x).square() + (y - at_y).square() <= RADIUS**2
    for label, logit in ((0, -CLICK_LOGIT), (1, CLICK_LOGIT)):
        marked = (disk & (labels == label)[..., None, None]).any(1)
        drawn = torch.where(marked, logit, drawn)
    return drawn[:, None]
