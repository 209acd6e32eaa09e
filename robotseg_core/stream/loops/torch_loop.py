# SPDX-License-Identifier: Apache-2.0
"""The loop of a stream (all but the encoder) in PyTorch: find the parts of a frame, make what is remembered of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from robotseg_core.model.robotseg_model import Conditioned, Features, RobotSegModel
from robotseg_core.model.structure import edges
from robotseg_core.stream.frame_state import Answer
from robotseg_core.stream.memory_bank import Entry, MemoryBank
from robotseg_core.stream.prompting import decode
from robotseg_core.stream.stage_clock import StageClock


class TorchLoop:
    """Operator by operator, on any device.

    Args:
        model: whose loop it is.
        autocast: precision of the memory attention, nearly all of the work of a large model; the decoder and the
            memory encoder stay in float32, for they are small and draw the border of the mask.
    """

    def __init__(
        self,
        model: RobotSegModel,
        autocast: Callable[[], contextlib.AbstractContextManager[object]] = contextlib.nullcontext,
    ) -> None:
        self.model, self._autocast = model, autocast
        self._last_gate = not model.memory_attention.last_gate_cancels

    def find(
        self, image: Tensor, features: Features, bank: MemoryBank, frame: int, classes: Tensor, clock: StageClock
    ) -> tuple[Conditioned, Answer]:
        """See :class:`~robotseg_core.stream.loops.loop.Loop`."""
        memory = bank.view(frame)
        if memory is None:
            conditioned = self.model.initial(features, len(classes))
        else:
            edge = edges(image, self.model.config)
            with self._autocast():
                conditioned = self.model.condition(features, edge, memory, last_gate=self._last_gate)
            # The bank's own storage changes with this frame, which corrections of it must not see.
            tokens = conditioned.object_tokens.clone()
            conditioned = replace(conditioned, image=conditioned.image.float(), object_tokens=tokens)
        clock.lap("memory_attention")
        decoded = decode(self.model, features, conditioned, classes)
        clock.lap("decoder")
        return conditioned, decoded.answer

    def keep(self, features: Features, answer: Answer, binary: Tensor, clock: StageClock) -> Entry:
        """See :class:`~robotseg_core.stream.loops.loop.Loop`."""
        kept = self.model.remember(features, answer.logits, answer.object_logit, binary)
        clock.lap("memory_encoder")
        # Keys and the RPG's tokens of a frame depend on that frame alone: made once, when it enters.
        tokens = self.model.object_tokens(kept, answer.logits)
        clock.lap("prompt_generator")
        kept = self.model.pool_memory(kept)
        with self._autocast():
            keys = self.model.frame_keys(kept)
        clock.lap("memory_encoder")
        return Entry(kept, keys, tokens, answer.pointer)
