# SPDX-License-Identifier: Apache-2.0
"""Who covers which cells: numbers from both sides, boxes, colours, and the loss that is none where all is right."""

import numpy as np
import pytest
import torch

from robotseg_core.instruct.candidates import COLOURS
from robotseg_core.instruct.small import tokens as tk
from robotseg_core.instruct.small.network import FINDINGS
from robotseg_core.train.language.cache import CachedFrame, Seen
from robotseg_core.train.language.instances import SIDE, InstanceMaps, instance_loss, instances_of, stack_maps

ARM, GRIPPER, ROBOT = range(3)


def frame():
    """Two arms, the left one white, from column 8 to 24 and 56 to 72 of 96; the right one has a gripper."""
    ids = np.zeros((96, 96), np.uint16)
    ids[16:64, 8:24], ids[16:64, 56:72], ids[64:72, 56:72] = 1, 2, 3
    boxes = {1: (8 / 96, 16 / 96, 24 / 96, 64 / 96), 2: (56 / 96, 16 / 96, 72 / 96, 64 / 96)}
    boxes[3] = (56 / 96, 64 / 96, 72 / 96, 72 / 96)
    entities = (
        Seen("arm", (1,), "white"), Seen("arm", (2,), None), Seen("gripper", (3,), "black"),
        Seen("robot", (1,), "white"), Seen("robot", (2, 3), None),
    )  # fmt: skip
    return CachedFrame("x", {"ids": ids}, (), entities, boxes, (96, 96))


def perfect(maps):
    """Findings that say what the maps say, as the network would."""
    count = maps.there.shape[0]
    found = torch.full((count, SIDE, SIDE, 3, FINDINGS), -20.0)
    found[..., 0] = torch.where(maps.there > 0.5, 20.0, -20.0)
    for way in range(2):
        found[..., 1 + 4 * way : 5 + 4 * way].scatter_(-1, maps.numbers[..., way].clamp(min=0)[..., None], 20.0)
    found[..., 9:13] = maps.box
    found[..., 13:].scatter_(-1, maps.colour.clamp(min=0)[..., None], 20.0)
    cells = found.unflatten(1, (tk.GRID, 2)).unflatten(3, (tk.GRID, 2)).transpose(2, 3)
    return cells.flatten(3, 4).flatten(1, 2)


def test_each_place_knows_who_covers_it():
    maps = instances_of(frame())
    assert maps.there.shape == (1, SIDE, SIDE, 3)
    left, right, nobody = (5, 3), (5, 15), (5, 10)
    assert maps.numbers[0, 5, 3, ARM].tolist() == [0, 1] and maps.numbers[0, 5, 15, ARM].tolist() == [1, 0]
    assert maps.numbers[0, 17, 15, GRIPPER].tolist() == [0, 0] and maps.numbers[0, 17, 15, ARM].tolist() == [-1, -1]
    assert [float(maps.there[0][at][ARM]) for at in (left, right, nobody)] == [1, 1, 0]
    assert maps.colour[0][left][ARM] == COLOURS.index("white") and maps.colour[0][right][ARM] == -1
    # The right robot's box ends below its gripper; distances are from the middle of the quarter.
    steps = maps.box[0][right][ROBOT].float() * (tk.DISTANCES - 1)
    x, y = (15 + 0.5) / SIDE, (5 + 0.5) / SIDE
    told = [float(tk.to_distance(step)) for step in steps]
    assert told == pytest.approx([x - 56 / 96, y - 16 / 96, 72 / 96 - x, 72 / 96 - y], abs=1e-3)


def test_the_loss_is_nothing_where_all_is_right_and_names_what_is_wrong():
    maps = stack_maps([instances_of(frame()), instances_of(frame())])
    found = perfect(maps)
    assert found.shape == (2, tk.GRID**2, 4, 3, FINDINGS)
    assert float(instance_loss(found, maps).max()) < 1e-3
    for values, which in ((slice(0, 1), 0), (slice(1, 9), 1), (slice(9, 13), 2), (slice(13, None), 3)):
        wrong = found.clone()
        wrong[..., values] = -wrong[..., values] + 1
        losses = instance_loss(wrong, maps)
        assert float(losses[which]) > 0.05
        assert float(losses.sum() - losses[which]) < 1e-3


def test_a_frame_without_a_robot_teaches_that_nobody_is_there():
    bare = CachedFrame("bare", {"ids": np.zeros((96, 96), np.uint16)}, (), (), {}, (96, 96))
    maps = stack_maps([instances_of(bare)])
    found = torch.zeros(1, tk.GRID**2, 4, 3, FINDINGS, requires_grad=True)
    losses = instance_loss(found, maps)
    losses.sum().backward()
    assert isinstance(maps, InstanceMaps) and losses[1:].tolist() == [0, 0, 0]
    assert float(losses[0].detach()) > 0.5 and found.grad is not None and bool((found.grad[..., 0] > 0).all())
