# SPDX-License-Identifier: Apache-2.0
"""What a user corrects on the last frame, and what the memory then keeps of that frame (SPEC 8)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from robotseg_core.stream.frame_state import Answer, LastFrame, health
from robotseg_core.stream.loaded_model import LoadedModel
from robotseg_core.stream.loops.torch_loop import TorchLoop
from robotseg_core.stream.memory_bank import Entry, MemoryBank
from robotseg_core.stream.pending_prompts import PartPrompt
from robotseg_core.stream.prompting import decode_prompt
from robotseg_core.stream.stage_clock import StageClock


class Corrections:
    """The corrected parts of one frame; a part that is corrected again goes on from its last correction.

    Args:
        robotseg: the stream's model.
        bank: the stream's memory, which is read; what it is to keep is in :meth:`entries`.
        classes: [parts] int64, the parts' class tokens.
    """

    def __init__(self, robotseg: LoadedModel, bank: MemoryBank, classes: Tensor) -> None:
        self._robotseg, self._bank, self._classes = robotseg, bank, classes
        self._answers: dict[int, Answer] = {}

    def __contains__(self, row: int) -> bool:
        """Whether the part of this row is corrected."""
        return row in self._answers

    def clear(self) -> None:
        """Take all of them back."""
        self._answers.clear()

    def drop(self, row: int) -> None:
        """Take back what was asked for one part."""
        self._answers.pop(row, None)

    def answer(self, last: LastFrame, prompts: Sequence[PartPrompt]) -> tuple[Answer, Tensor]:
        """Decode the prompted parts anew.

        A part that was tracked is decoded with its memory; any other is prompted as on a first frame.

        Returns:
            The answer for all parts, corrected ones in their places, and of what was decoded now its
            :func:`~robotseg_core.stream.frame_state.health`.
        """
        sound = torch.zeros((), device=self._classes.device)
        for asked in prompts:
            row = asked.row
            before = self._answers.get(row)
            if before is not None:
                logits: Tensor | None = before.logits
            else:
                logits = last.answer.logits[row : row + 1] if self._bank.started[row] else None
            self._answers[row] = decode_prompt(
                self._robotseg.model,
                asked,
                last.features,
                self._classes[row : row + 1],
                conditioned=last.conditioned if last.tracked[row] and self._bank.started[row] else None,
                previous=logits,
            )
            sound = sound + health(self._answers[row])
        answer = last.answer.copy()
        for row, one in self._answers.items():
            answer.put(row, one)
        return answer, sound

    def entries(self, last: LastFrame, *, absent_too: bool) -> Iterator[tuple[int, Entry]]:
        """What the memory is to keep of each corrected part, with a hard mask.

        ``absent_too``: also of a part without a memory that the correction has not found.
        """
        # With one part at a time there is no graph of the loop's.
        loop = TorchLoop(self._robotseg.model, self._robotseg.autocast)
        hard = torch.ones(1, dtype=torch.bool, device=self._classes.device)
        for row, answer in self._answers.items():
            if absent_too or self._bank.started[row] or bool(answer.object_logit > 0):
                yield row, loop.keep(last.features, answer, hard, StageClock(self._classes.device))
