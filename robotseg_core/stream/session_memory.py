# SPDX-License-Identifier: Apache-2.0
"""What a session gives for each frame, what it keeps of it, and what later frames see of that (SPEC 7.2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robotseg_core.config import ModelConfig
from robotseg_core.model.mask_decoder import Candidates, Choice
from robotseg_core.model.robotseg_model import Conditioned, Memory


@dataclass(frozen=True)
class Trace:
    """How an output came about: what the parity check compares beside the result.

    Attributes:
        sparse: [1, n, d] prompt tokens.
        conditioned: the decoder's input.
        candidates: the decoder's raw output.
        choice: the chosen mask, before hole filling.
        multimask: whether the choice was among masks 1..3.
        memory: what was looked up; None on initial frames.
    """

    sparse: Tensor
    conditioned: Conditioned
    candidates: Candidates
    choice: Choice
    multimask: bool
    memory: Memory | None


@dataclass(frozen=True)
class Output:
    """Result of one frame.

    Attributes:
        logits: [1, h, w] stored low-res logits, holes filled.
        pointer: [1, d] object pointer.
        object_logit: [1]; the part is in view where it is above 0.
        iou: [1] predicted quality of the mask; 1 for a mask given by the user.
        memory: [1, M, m] memory features as they are kept, None until the frame has been committed to memory.
        object_tokens: [1, R, d] RPG tokens of that memory.
        trace: how it came about; dropped when the output is stored.
    """

    logits: Tensor
    pointer: Tensor
    object_logit: Tensor
    iou: Tensor
    memory: Tensor | None = None
    object_tokens: Tensor | None = None
    trace: Trace | None = None


class SessionMemory:
    """The outputs that can be read again: of conditioning frames all, of others the latest.

    Attributes:
        conditioning: outputs of prompted frames, by number of the frame.
        others: of tracked ones.

    Args:
        config: of the model.
        pointers: how many object pointers a frame sees.
    """

    def __init__(self, config: ModelConfig, pointers: int) -> None:
        self.config, self.pointers = config, pointers
        self.conditioning: dict[int, Output] = {}
        self.others: dict[int, Output] = {}

    def get(self, index: int) -> Output | None:
        """What is remembered of a frame."""
        return self.conditioning.get(index) or self.others.get(index)

    def oldest_seen(self, index: int) -> int:
        """The oldest tracked frame that frame ``index``, which may yet be corrected, and later ones can read."""
        return index - max(self.pointers - 1, self.config.memory_frames - 1)

    def forget(self, index: int) -> None:
        """Drop what frame ``index`` and later ones cannot read (SPEC 7.2, last paragraph)."""
        for old in [i for i in self.others if i < self.oldest_seen(index)]:
            del self.others[old]

    def look_up(self, index: int) -> Memory:
        """What frame ``index`` sees of the past."""
        slots = self.config.memory_frames
        frames = [(slots - 1, output) for output in self.conditioning.values()]
        for back in range(slots - 1, 0, -1):
            output = self.others.get(index - back)
            if output is not None:
                frames.append((back - 1, output))
        pointers = [(index - i, output.pointer) for i, output in self.conditioning.items() if i <= index]
        for back in range(1, self.pointers):
            output = self.others.get(index - back)
            if output is not None:
                pointers.append((back, output.pointer))

        features = [output.memory for _, output in frames if output.memory is not None]
        tokens = [output.object_tokens for _, output in frames if output.object_tokens is not None]
        device = features[0].device
        offsets = torch.tensor([float(offset) for offset, _ in pointers], device=device)
        if self.config.bounded_age:
            offsets = offsets.clamp(0, self.config.max_pointers - 1)
        return Memory(
            features=torch.stack(features, 1).float(),
            time_index=torch.tensor([row for row, _ in frames], device=device),
            pointers=torch.stack([pointer for _, pointer in pointers], 1),
            offsets=offsets[None] / max(1, self.pointers - 1),
            object_tokens=torch.stack(tokens, 1),
        )
