# SPDX-License-Identifier: Apache-2.0
"""What a user corrects on the last frame, and what the memory then keeps of that frame (SPEC 8)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from robotseg_core.masks.excluded import Excluded
from robotseg_core.stream.frame_state import Answer, LastFrame, health
from robotseg_core.stream.loaded_model import LoadedModel
from robotseg_core.stream.loops.torch_loop import TorchLoop
from robotseg_core.stream.memory_bank import Entry, MemoryBank
from robotseg_core.stream.pending_prompts import PartPrompt
from robotseg_core.stream.prompting import Chosen, choose_pieces, decode_prompt, without_things
from robotseg_core.stream.stage_clock import StageClock


class Corrections:
    """The corrected parts of one frame; a part that is corrected again goes on from its last correction.

    Args:
        robotseg: the stream's model.
        bank: the stream's memory, which is read; what it is to keep is in :meth:`entries`.
        classes: [parts] int64, the parts' class tokens.
        choose: clicks take away the pieces that they do not mean.
    """

    def __init__(self, robotseg: LoadedModel, bank: MemoryBank, classes: Tensor, *, choose: bool) -> None:
        self._robotseg, self._bank, self._classes, self._choose = robotseg, bank, classes, choose
        self._answers: dict[int, Answer] = {}
        self._chosen: dict[int, Chosen] = {}

    def __contains__(self, row: int) -> bool:
        """Whether the part of this row is corrected."""
        return row in self._answers

    def clear(self) -> None:
        """Take all of them back."""
        self._answers.clear()
        self._chosen.clear()

    def drop(self, row: int) -> None:
        """Take back what was asked for one part."""
        self._answers.pop(row, None)
        self._chosen.pop(row, None)

    def answer(self, last: LastFrame, prompts: Sequence[PartPrompt]) -> tuple[Answer, Tensor]:
        """Decode the prompted parts anew.

        A part that was tracked is decoded with its memory; any other is prompted as on a first frame.

        Returns:
            The answer for all parts, corrected ones in their places, and of what was decoded now its
            :func:`~robotseg_core.stream.frame_state.health`.
        """
        sound, size = torch.zeros((), device=self._classes.device), self._robotseg.model.config.image_size
        for asked in prompts:
            row, part = asked.row, self._classes[asked.row : asked.row + 1]
            before = self._answers.get(row)
            seen = last.answer.logits[row : row + 1] if before is None else before.logits
            fed = seen if before is not None or self._bank.started[row] else None
            if fed is not None and self._choose:
                fed = without_things(asked, fed, size)
            found = decode_prompt(
                self._robotseg.model,
                asked,
                last.features,
                part,
                conditioned=last.conditioned if last.tracked[row] and self._bank.started[row] else None,
                previous=fed,
            )
            sound = sound + health(found)
            if self._choose:
                self._chosen[row] = choose_pieces(asked, part, found, seen, size)
                found = self._chosen[row].answer
            self._answers[row] = found
        answer = last.answer.copy()
        for row, one in self._answers.items():
            answer.put(row, one)
        return answer, sound

    def note(self, excluded: Excluded) -> None:
        """Have what was taken away stay away."""
        for row, chosen in self._chosen.items():
            chosen.note(row, excluded)

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
