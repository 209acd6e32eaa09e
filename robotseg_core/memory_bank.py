# SPDX-License-Identifier: Apache-2.0
"""Memory bank of a stream: a ring of fixed size, allocated once (SPEC 7.2).

Slot 0 holds each part's conditioning frame, the other slots the latest frames.  The order of slots does not
matter to attention; their age enters through the time code.  The thousandth frame costs what the tenth did.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robotseg_core.config import ModelConfig
from robotseg_core.model import Memory, ProjectedKeys


class MemoryBank:
    """Memory of ``parts`` parts.

    What is valid is known on the host, so that looking it up never waits for the device.

    Args:
        config: of the model.
        parts: how many parts.
        device: where it lies.
        dtype: of features, tokens and pointers.
        time_keys: [A, T, N, e] of ``RobotSegModel.time_keys``; the keys of the frames are kept in its type.
        slots: frames to keep, 1 to ``config.memory_frames``.
    """

    def __init__(
        self, config: ModelConfig, parts: int, device: torch.device, dtype: torch.dtype, time_keys: Tensor, slots: int
    ) -> None:
        self.config = config
        self._time_keys = time_keys
        pointers, cells = config.max_pointers, config.grid**2
        lookups, _, _, width = time_keys.shape
        self.features = torch.zeros(parts, slots, cells, config.mem_dim, device=device, dtype=dtype)
        self.object_tokens = torch.zeros(parts, slots, config.rpg_regions, config.d_model, device=device, dtype=dtype)
        self.keys = torch.zeros(lookups, parts, slots, cells, width, device=device, dtype=time_keys.dtype)
        longest = slots * cells + pointers * config.pointer_tokens
        self._key_space = torch.zeros(parts, longest, width, device=device, dtype=time_keys.dtype)
        self.pointers = torch.zeros(parts, pointers, config.d_model, device=device, dtype=dtype)
        self._frame = np.zeros((parts, slots), np.int64)
        self._valid = np.zeros((parts, slots), bool)
        self._pointer_frame = np.zeros((parts, pointers), np.int64)
        self._pointer_valid = np.zeros((parts, pointers), bool)
        self._writes = 0

    @property
    def started(self) -> NDArray[np.bool_]:
        """Which parts have a conditioning frame, [parts]."""
        return self._valid[:, 0].copy()

    def reset(self, part: int | None = None) -> None:
        """Forget everything, or everything of one part; nothing is reallocated."""
        rows = slice(None) if part is None else part
        self._valid[rows] = False
        self._pointer_valid[rows] = False
        if not self._valid.any():
            self._writes = 0

    def view(self, frame: int) -> Memory | None:
        """What frame number ``frame`` may look at; None while there is nothing."""
        if not self._valid.any():
            return None
        slots = min(1 + self._writes, self._valid.shape[1])
        pointers = min(1 + self._writes, self._pointer_valid.shape[1])
        last = self.config.memory_frames - 1
        # Ring slots hold the same frame for all parts; the newest valid part tells which.
        age = frame - self._frame[:, 1:slots].max(0)
        time_index = np.concatenate([[last], np.clip(age - 1, 0, max(0, last - 1))])
        offsets = (frame - self._pointer_frame[:, :pointers]).astype(np.float32)
        limit = self.config.max_pointers - 1
        if self.config.bounded_age:
            offsets = offsets.clip(0, limit)
        if (offsets == offsets[:1]).all():
            offsets = offsets[:1]
        device = self.features.device
        valid, pointer_valid = self._valid[:, :slots], self._pointer_valid[:, :pointers]
        whole = bool(valid.all() and pointer_valid.all())
        return Memory(
            features=self.features[:, :slots],
            time_index=torch.from_numpy(time_index).to(device, non_blocking=True),
            pointers=self.pointers[:, :pointers],
            offsets=torch.from_numpy(offsets / max(1, limit)).to(device, non_blocking=True),
            object_tokens=self.object_tokens[:, :slots],
            keys=ProjectedKeys(self.keys[:, :, :slots], self._time_keys, self._key_space),
            empty=None if whole else torch.from_numpy(~valid).to(device, non_blocking=True),
            empty_pointers=None if whole else torch.from_numpy(~pointer_valid).to(device, non_blocking=True),
        )

    def store(
        self,
        frame: int,
        features: Tensor,
        keys: Tensor,
        object_tokens: Tensor,
        pointer: Tensor,
        started: NDArray[np.bool_],
    ) -> None:
        """Keep a frame: features [parts, N, m], keys [A, parts, N, e], object_tokens [parts, R, d], pointer [parts, d].

        Parts in ``started`` [parts] take it as their conditioning frame, parts that already have one as their
        latest frame; the others forget it.
        """
        running = self._valid[:, 0] & ~started
        for part in np.flatnonzero(started):
            self.features[part, 0] = features[part]
            self.keys[:, part, 0] = keys[:, part]
            self.object_tokens[part, 0] = object_tokens[part]
            self.pointers[part, 0] = pointer[part]
            self._frame[part, 0] = self._pointer_frame[part, 0] = frame
            self._valid[part], self._pointer_valid[part] = False, False
            self._valid[part, 0] = self._pointer_valid[part, 0] = True
        if not running.any():
            return
        ring, pointer_ring = self._valid.shape[1] - 1, self._pointer_valid.shape[1] - 1
        if ring:
            slot = 1 + self._writes % ring
            self.features[:, slot] = features
            self.keys[:, :, slot] = keys
            self.object_tokens[:, slot] = object_tokens
            self._frame[:, slot] = frame
            self._valid[:, slot] = running
        if pointer_ring:
            slot = 1 + self._writes % pointer_ring
            self.pointers[:, slot] = pointer
            self._pointer_frame[:, slot] = frame
            self._pointer_valid[:, slot] = running
        self._writes += 1
