# SPDX-License-Identifier: Apache-2.0
"""Memory bank of a stream: slots of fixed number, allocated once (SPEC 7.2).

The first slots hold each part's conditioning frames, filled from the last of them to the first, so that the slots in
use lie side by side; the others are a ring of the latest frames.  The order of slots does not matter to attention;
their age enters through the time code.  The thousandth frame costs what the tenth did.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robotseg_core.config import ModelConfig
from robotseg_core.model.robotseg_model import Memory, ProjectedKeys


@dataclass(frozen=True)
class Entry:
    """One frame of B parts: features [B, M, m], keys [A, B, M, e], object_tokens [B, R, d], pointer [B, d]."""

    features: Tensor
    keys: Tensor
    object_tokens: Tensor
    pointer: Tensor


class MemoryBank:
    """Memory of ``parts`` parts.

    What is valid is known on the host, so that looking it up never waits for the device.

    Args:
        config: of the model.
        parts: how many parts.
        time_keys: [A, T, M, e] of ``RobotSegModel.time_keys``; keys are kept in its type and on its device, all
            else in float32.
        frames: frames to look up, one of them a conditioning frame: 1 to ``config.memory_frames``.
        conditioning: conditioning frames to keep for each part, the latest ones.
    """

    def __init__(
        self, config: ModelConfig, parts: int, time_keys: Tensor, *, frames: int, conditioning: int = 1
    ) -> None:
        self.config, self.conditioning = config, conditioning
        self._time_keys = time_keys
        slots, pointers = conditioning + frames - 1, conditioning + config.max_pointers - 1
        lookups, _, cells, width = time_keys.shape
        device = time_keys.device
        self.features = torch.zeros(parts, slots, cells, config.mem_dim, device=device)
        self.object_tokens = torch.zeros(parts, slots, config.rpg_regions, config.d_model, device=device)
        self.keys = torch.zeros(lookups, parts, slots, cells, width, device=device, dtype=time_keys.dtype)
        longest = slots * cells + pointers * config.pointer_tokens
        self._key_space = torch.zeros(parts, longest, width, device=device, dtype=time_keys.dtype)
        self.pointers = torch.zeros(parts, pointers, config.d_model, device=device)
        self._frame = np.zeros((parts, slots), np.int64)
        self._valid = np.zeros((parts, slots), bool)
        self._pointer_frame = np.zeros((parts, pointers), np.int64)
        self._pointer_valid = np.zeros((parts, pointers), bool)
        self._writes = 0
        # Slots of each part's latest entry (features, pointer); -1 where a ring has no room.
        self._latest = np.full((parts, 2), -1)

    @property
    def started(self) -> NDArray[np.bool_]:
        """Which parts have a conditioning frame, [parts]."""
        return np.asarray(self._valid[:, : self.conditioning].any(1))

    def reset(self, part: int | None = None) -> None:
        """Forget everything, or everything of one part; nothing is reallocated."""
        rows = slice(None) if part is None else part
        self._valid[rows] = False
        self._pointer_valid[rows] = False
        if not self._valid.any():
            self._writes = 0

    def wipe(self) -> None:
        """Forget everything and overwrite it: a number that is not finite would spoil attention from an empty slot."""
        self.reset()
        for storage in (self.features, self.object_tokens, self.keys, self._key_space, self.pointers):
            storage.zero_()

    def view(self, frame: int) -> Memory | None:
        """What frame number ``frame`` may look at; None while there is nothing."""
        if not self._valid.any():
            return None
        first, start = self.conditioning, self.first_slot
        slots = slice(start, min(first + self._writes, self._valid.shape[1]))
        seen = slice(start, min(first + self._writes, self._pointer_valid.shape[1]))
        memory = self._look_up(frame, slots, seen)
        if self._valid[:, slots].all() and self._pointer_valid[:, seen].all():
            return replace(memory, empty=None, empty_pointers=None)
        return memory

    @property
    def first_slot(self) -> int:
        """The first slot in which a part has a frame: those of further conditioning frames come before it."""
        return int(self._valid.any(0).argmax())

    def whole(self, frame: int, start: int = 0) -> Memory:
        """The same with all slots from ``start`` on, those without a frame marked empty: always of the same shape."""
        return self._look_up(frame, *self._from(start))

    def put_indices(self, frame: int, memory: Memory) -> None:
        """What frame number ``frame`` may look at, into ``memory``, which :meth:`whole` has given; nothing waits."""
        start = self._valid.shape[1] - memory.features.shape[1]
        for name, array in self._indices(frame, *self._from(start)).items():
            getattr(memory, name).copy_(torch.from_numpy(array), non_blocking=True)

    def _from(self, start: int) -> tuple[slice, slice]:
        return slice(start, self._valid.shape[1]), slice(start, self._pointer_valid.shape[1])

    def fill_with_noise(self) -> None:
        """All slots full, as if there had been frames: what runs over the memory is compared over it."""
        for storage in (self.features, self.object_tokens, self.keys, self.pointers):
            storage.normal_()
        self._valid[:] = self._pointer_valid[:] = True
        self._writes = self._valid.shape[1] + self._pointer_valid.shape[1]

    def fill_with_blanks(self, keys_of: Callable[[Tensor], Tensor], frames: int) -> int:
        """As if many frames had been seen, ``frames`` if that is more than fit: their number enters the time codes.

        ``keys_of`` projects features [parts, M, m] to keys [A, parts, M, e].  Returns the next frame's number.
        """
        features, tokens, pointer = (
            torch.zeros_like(x[:, 0]) for x in (self.features, self.object_tokens, self.pointers)
        )
        entry = Entry(features, keys_of(features), tokens, pointer)
        held = max(self.config.memory_frames, self.config.max_pointers)
        following = max(frames, held)
        for index in (0, *range(following - held + 1, following)):
            self.store(index, entry, np.full(len(features), index == 0))
        return following

    def _indices(self, frame: int, slots: slice, seen: slice) -> dict[str, NDArray[np.generic]]:
        """The part of :class:`Memory` that the host knows, by name."""
        first, start = self.conditioning, slots.start
        last = self.config.memory_frames - 1
        # Ring slots hold the same frame for all parts; the newest part tells which.
        age = frame - self._frame[:, first : slots.stop].max(0)
        time_index = np.concatenate([np.full(first - start, last), np.clip(age - 1, 0, max(0, last - 1))])
        offsets = (frame - self._pointer_frame[:, seen]).astype(np.float32)
        limit = self.config.max_pointers - 1
        if self.config.bounded_age:
            offsets = offsets.clip(0, limit)
        return {
            "time_index": time_index,
            "offsets": offsets / max(1, limit),
            "empty": ~self._valid[:, slots],
            "empty_pointers": ~self._pointer_valid[:, seen],
        }

    def _look_up(self, frame: int, slots: slice, seen: slice) -> Memory:
        device = self.features.device
        return Memory(
            features=self.features[:, slots],
            pointers=self.pointers[:, seen],
            object_tokens=self.object_tokens[:, slots],
            keys=ProjectedKeys(self.keys[:, :, slots], self._time_keys, self._key_space),
            **{
                name: torch.from_numpy(array).to(device, non_blocking=True)
                for name, array in self._indices(frame, slots, seen).items()
            },
        )

    def store(self, frame: int, entry: Entry, started: NDArray[np.bool_]) -> None:
        """Keep a frame of all parts.

        Parts in ``started`` [parts] take it as a conditioning frame, parts that already have one as their latest
        frame; the others forget it.
        """
        running = self.started & ~started
        for part in np.flatnonzero(started):
            self._begin(int(part), frame, entry)
        # The ring moves on also without a frame for it: what is in it grows older.
        if running.any() or self._valid[:, self.conditioning :].any():
            self._extend(frame, entry, running)

    def amend(self, part: int, frame: int, entry: Entry) -> None:
        """Put ``entry`` of one part in the place of its latest one; a part without any begins with it."""
        if not self.started[part]:
            self._begin(part, frame, entry, row=0)
            return
        slot, pointer_slot = self._latest[part]
        if slot >= 0:
            self._write(part, slot, entry, 0)
        if pointer_slot >= 0:
            self.pointers[part, pointer_slot] = entry.pointer[0]

    def _write(self, part: int, slot: int, entry: Entry, row: int) -> None:
        self.features[part, slot] = entry.features[row]
        self.keys[:, part, slot] = entry.keys[:, row]
        self.object_tokens[part, slot] = entry.object_tokens[row]

    def _begin(self, part: int, frame: int, entry: Entry, row: int | None = None) -> None:
        row = part if row is None else row
        if self.conditioning == 1:
            self._valid[part] = self._pointer_valid[part] = False
        used = self._valid[part, : self.conditioning]
        # From the last slot to the first; then the oldest frame makes room.
        free = np.flatnonzero(~used)
        slot = int(free[-1]) if len(free) else int(self._frame[part, : self.conditioning].argmin())
        self._write(part, slot, entry, row)
        self.pointers[part, slot] = entry.pointer[row]
        self._frame[part, slot] = self._pointer_frame[part, slot] = frame
        self._valid[part, slot] = self._pointer_valid[part, slot] = True
        self._latest[part] = slot

    def _extend(self, frame: int, entry: Entry, running: NDArray[np.bool_]) -> None:
        first = self.conditioning
        ring, pointer_ring = self._valid.shape[1] - first, self._pointer_valid.shape[1] - first
        self._latest[running] = -1
        if ring:
            slot = first + self._writes % ring
            self.features[:, slot] = entry.features
            self.keys[:, :, slot] = entry.keys
            self.object_tokens[:, slot] = entry.object_tokens
            self._frame[:, slot] = frame
            self._valid[:, slot] = running
            self._latest[running, 0] = slot
        if pointer_ring:
            slot = first + self._writes % pointer_ring
            self.pointers[:, slot] = entry.pointer
            self._pointer_frame[:, slot] = frame
            self._pointer_valid[:, slot] = running
            self._latest[running, 1] = slot
        self._writes += 1
