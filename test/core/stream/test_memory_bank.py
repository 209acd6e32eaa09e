# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import torch
from small_models import SMALL

from robotseg_core.stream.memory_bank import Entry, MemoryBank

ALL, NONE = np.ones(3, bool), np.zeros(3, bool)


def filled(value: float) -> Entry:
    """A frame, all of one value."""
    features = torch.full((3, SMALL.grid**2, SMALL.mem_dim), value)
    keys = torch.full((2, 3, SMALL.grid**2, SMALL.attention_dim), value)
    tokens, pointer = torch.full((3, 3, SMALL.d_model), value), torch.full((3, SMALL.d_model), value)
    return Entry(features, keys, tokens, pointer)


def bank(conditioning: int = 1) -> MemoryBank:
    time_keys = torch.zeros(2, SMALL.memory_frames, SMALL.grid**2, SMALL.attention_dim)
    return MemoryBank(SMALL, 3, time_keys, frames=SMALL.memory_frames, conditioning=conditioning)


def test_holds_the_first_and_the_latest_frames_with_their_ages():
    memory = bank()
    assert memory.view(0) is None
    memory.store(0, filled(0), ALL)
    for frame in range(1, 12):
        memory.store(frame, filled(frame), NONE)
    view = memory.view(12)
    assert view is not None and view.empty is None
    held = view.features[0, :, 0, 0].tolist()
    assert held[0] == 0 and sorted(held[1:]) == [10, 11]
    # The time code of slot t is its age minus one; the conditioning frame has the last row.
    assert view.time_index.tolist() == [2, *(12 - int(f) - 1 for f in held[1:])]
    pointers = view.pointers[0, :, 0].tolist()
    assert pointers[0] == 0 and sorted(pointers[1:]) == [9, 10, 11]
    offsets = (view.offsets[0] * (SMALL.max_pointers - 1)).round().tolist()
    # Nano clamps the age of the conditioning pointer.
    assert offsets == [3, *(12 - f for f in pointers[1:])]


def test_a_part_that_appears_later_has_its_own_first_frame():
    memory = bank()
    memory.store(0, filled(0), np.array([True, False, True]))
    memory.store(1, filled(1), NONE)
    memory.store(2, filled(2), np.array([False, True, False]))
    memory.store(3, filled(3), NONE)
    view = memory.view(4)
    assert view is not None and view.empty is not None
    assert view.features[:, 0, 0, 0].tolist() == [0, 2, 0]
    # Ring: frames 2 and 3 for the first part, only 3 for the late one (2 is its first frame).
    assert sorted(view.features[0, 1:, 0, 0].tolist()) == [2, 3]
    late = [float(f) for f, gone in zip(view.features[1, :, 0, 0], view.empty[1], strict=True) if not gone]
    assert late == [2, 3]
    assert view.offsets.shape[0] == 3


def test_reset_of_a_part_keeps_the_others_and_reset_of_all_keeps_the_storage():
    memory = bank()
    memory.store(0, filled(0), ALL)
    storage = memory.features.data_ptr()
    memory.reset(1)
    assert memory.started.tolist() == [True, False, True]
    memory.reset()
    assert memory.view(1) is None and memory.features.data_ptr() == storage
