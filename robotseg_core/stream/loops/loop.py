# SPDX-License-Identifier: Apache-2.0
"""What a stream asks of the loop: all of a step but the encoder and the masks."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from robotseg_core.model.robotseg_model import Conditioned, Features
from robotseg_core.stream.frame_state import Answer
from robotseg_core.stream.memory_bank import Entry, MemoryBank
from robotseg_core.stream.stage_clock import StageClock


class Loop(Protocol):
    """What runs between the encoder and the masks."""

    def find(
        self, image: Tensor, features: Features, bank: MemoryBank, frame: int, classes: Tensor, clock: StageClock
    ) -> tuple[Conditioned, Answer]:
        """Find all parts of a frame, without prompts.

        Args:
            image: [1, 3, S, S] float32, normalised.
            features: of the image, float32.
            bank: what is remembered of the frames before.
            frame: number of this frame, from 0 on.
            classes: [parts] int64, the parts' class tokens.
            clock: gets the time of each stage.

        Returns:
            The decoder's input, which later corrections of the frame start from, and its answer.
        """
        ...

    def keep(self, features: Features, answer: Answer, binary: Tensor, clock: StageClock) -> Entry:
        """Make what the memory keeps of a frame; parts in ``binary`` [parts] bool enter it with a hard mask."""
        ...
