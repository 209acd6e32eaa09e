# SPDX-License-Identifier: Apache-2.0
"""Who covers each quarter of a cell: what the network is told of a frame whatever is asked (its ``Instances``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from robotseg_core.instruct.candidates import COLOURS
from robotseg_core.instruct.small import tokens as tk
from robotseg_core.instruct.small.inputs import MOST_PIECES
from robotseg_core.instruct.small.network import FINDING_SIZES, QUARTERS
from robotseg_core.train.language.cache import CachedFrame
from robotseg_core.types import PARTS

SIDE = QUARTERS * tk.GRID
NUMBER_WEIGHT, BOX_WEIGHT, COLOUR_WEIGHT = 0.5, 5.0, 0.3


@dataclass(frozen=True, eq=False)
class InstanceMaps:
    """Of F frames, n = 24 quarters of cells along a side, for arm, gripper and robot.

    Attributes:
        there: [F, n, n, 3] share that somebody covers.
        numbers: [F, n, n, 3, 2], of who covers most of it, from the left and from the right, 0 to 3; -1: nobody.
        box: [F, n, n, 3, 4] from the middle of the quarter to the left, top, right and bottom of who is there, as steps
            of a distance over all steps.
        colour: [F, n, n, 3] place in the list of colours; -1: nobody, or none.
    """

    there: Tensor
    numbers: Tensor
    box: Tensor
    colour: Tensor


def instances_of(frame: CachedFrame) -> InstanceMaps:
    """Of one frame, F = 1; float16 and int8."""
    ids = frame.arrays["ids"]
    fine = ids.shape[0] // SIDE
    there = np.zeros((SIDE, SIDE, len(PARTS)), np.float32)
    numbers = np.full((SIDE, SIDE, len(PARTS), 2), -1, np.int64)
    box = np.zeros((SIDE, SIDE, len(PARTS), 4), np.float32)
    colour = np.full((SIDE, SIDE, len(PARTS)), -1, np.int64)
    middle = (np.arange(SIDE) + 0.5) / SIDE
    for column, part in enumerate(PARTS):
        seen = [e for e in frame.entities if e.kind == part and any(i in frame.boxes for i in e.leaves)]
        most = np.zeros((SIDE, SIDE))
        for i, entity in enumerate(seen):
            mask = np.isin(ids, entity.leaves).astype(np.float32)
            share = mask.reshape(SIDE, fine, SIDE, fine).mean((1, 3))
            there[..., column] += share
            here = share > most
            most = np.maximum(most, share)
            numbers[here, column] = (min(i, MOST_PIECES - 1), min(len(seen) - 1 - i, MOST_PIECES - 1))
            colour[here, column] = COLOURS.index(entity.colour) if entity.colour in COLOURS else -1
            sides = np.array([frame.boxes[leaf] for leaf in entity.leaves if leaf in frame.boxes])
            (x0, y0), (x1, y1) = sides[:, :2].min(0).tolist(), sides[:, 2:].max(0).tolist()
            sides_of = (middle - x0, middle[:, None] - y0, x1 - middle, y1 - middle[:, None])
            far = np.stack(np.broadcast_arrays(*sides_of), -1)
            box[here, column] = tk.share_of_steps(far[here])
    # Thousands of frames lie in memory.
    small = (np.minimum(there, 1).astype(np.float16), numbers.astype(np.int8), box.astype(np.float16))
    maps = (*small, colour.astype(np.int8))
    return InstanceMaps(*(torch.from_numpy(values)[None] for values in maps))


def stack_maps(maps: Sequence[InstanceMaps]) -> InstanceMaps:
    """Of several frames, as the loss wants them."""
    return InstanceMaps(
        torch.cat([one.there for one in maps]).float(),
        torch.cat([one.numbers for one in maps]).long(),
        torch.cat([one.box for one in maps]).float(),
        torch.cat([one.colour for one in maps]).long(),
    )


def instance_loss(found: Tensor, maps: InstanceMaps) -> Tensor:
    """Weighted losses [4] of presence, numbers, boxes and colours: what was found [F, C, 4, 3, n] and what is there."""
    grid = found.float().unflatten(1, (tk.GRID, tk.GRID)).unflatten(3, (QUARTERS, QUARTERS))
    grid = grid.permute(0, 1, 3, 2, 4, 5, 6).flatten(1, 2).flatten(2, 3)
    there, left, right, box, colour = grid.split(FINDING_SIZES, -1)
    presence = F.binary_cross_entropy_with_logits(there[..., 0], maps.there, reduction="none")
    # A gripper's few places count as much as the empty rest.
    weight = 1 + 4 * maps.there
    presence = (presence * weight).mean()
    here = maps.numbers[..., 0] >= 0
    none = found.new_zeros((), dtype=torch.float32)
    number = distance = none
    if bool(here.any()):
        ways = [F.cross_entropy(logits[here], maps.numbers[here][:, way]) for way, logits in enumerate((left, right))]
        number = ways[0] + ways[1]
        distance = F.smooth_l1_loss(box[here], maps.box[here], beta=0.05)
    called = maps.colour >= 0
    name = F.cross_entropy(colour[called], maps.colour[called]) if bool(called.any()) else none
    return torch.stack([presence, NUMBER_WEIGHT * number, BOX_WEIGHT * distance, COLOUR_WEIGHT * name])
