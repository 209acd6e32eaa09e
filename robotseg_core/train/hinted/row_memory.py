# SPDX-License-Identifier: Apache-2.0
"""What rows of a clip remember: the memory bank of training, through which gradients flow.

Shape glossary: N rows, M cells and m channels of a memory frame, d model width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robotseg_core.model.robotseg_model import Features, Memory, RobotSegModel


class RowMemory:
    """What N rows remember: each its conditioning frame, and the latest frames since.

    A row begins with the first frame on which it finds something, or is hinted at; a hint begins it anew.  This is
    :class:`robotseg_core.stream.memory_bank.MemoryBank` with gradients.
    """

    def __init__(
        self, model: RobotSegModel, rows: int, device: torch.device, generator: torch.Generator | None
    ) -> None:
        self.model = model
        # -1: not begun.
        self.start = torch.full((rows,), -1, device=device)
        self.aged = torch.rand(rows, device=device, generator=generator) < 0.4
        self.first: tuple[Tensor, Tensor, Tensor] | None = None
        self.frames: list[tuple[Tensor, Tensor, Tensor]] = []
        config = model.config
        steps = torch.arange(max(config.memory_frames, config.max_pointers) + 1, device=device)
        self._steps = steps

    def store(
        self, features: Features, logits: Tensor, object_logit: Tensor, pointer: Tensor, begins: Tensor, hard: Tensor
    ) -> None:
        """Commit frame number ``len(frames)``.

        Rows in ``begins`` [N] take it as their conditioning frame, those in ``hard`` [N] with a hard mask.
        """
        memory = self.model.remember(features, logits, object_logit, hard)
        entry = self.model.pool_memory(memory), self.model.object_tokens(memory.float(), logits), pointer
        number = len(self.frames)
        self.frames.append(entry)
        self.start = torch.where(begins, number, self.start)
        if self.first is None:
            self.first = entry
        else:
            old = self.first
            wide = begins[:, None, None]
            self.first = (
                torch.where(wide, entry[0], old[0].to(entry[0].dtype)),
                torch.where(wide, entry[1], old[1].to(entry[1].dtype)),
                torch.where(begins[:, None], entry[2], old[2].to(entry[2].dtype)),
            )

    def look_up(self) -> Memory:
        """For the next frame."""
        assert self.first is not None
        config, now = self.model.config, len(self.frames)
        # Frame 0 is nobody's but as a conditioning frame.
        ring = range(max(1, now - config.memory_frames + 1), now)
        seen = range(max(1, now - config.max_pointers + 1), now)
        limit = config.max_pointers - 1
        begun = self.start >= 0
        steps = self._steps
        age = (now - self.start).clamp(max=limit)
        # Now and then the first frame is long ago, as it is in a stream.
        age = torch.where(self.aged, limit, age)
        later = now - steps[: len(seen)].flip(0) - 1
        offsets = torch.cat([age[:, None], (steps[: len(seen)].flip(0) + 1).expand(len(age), -1)], 1)
        # Frame numbers of the ring's slots; those before a row's start are none of its own, nor is the start itself.
        slots = now - steps[: len(ring)].flip(0) - 1
        return Memory(
            features=torch.stack([self.first[0], *(self.frames[f][0] for f in ring)], 1),
            time_index=torch.cat([steps[config.memory_frames - 1 :][:1], steps[: len(ring)].flip(0)]),
            pointers=torch.stack([self.first[2], *(self.frames[f][2] for f in seen)], 1),
            offsets=offsets.float() / max(1, limit),
            object_tokens=torch.stack([self.first[1], *(self.frames[f][1] for f in ring)], 1),
            empty=torch.cat([~begun[:, None], ~begun[:, None] | (slots[None] <= self.start[:, None])], 1),
            empty_pointers=torch.cat([~begun[:, None], ~begun[:, None] | (later[None] <= self.start[:, None])], 1),
        )
