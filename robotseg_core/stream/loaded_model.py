# SPDX-License-Identifier: Apache-2.0
"""What a stream asks of the model that it shares with other streams."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from robotseg_core.model.robotseg_model import RobotSegModel
from robotseg_core.stream.frame_state import EncodedFrame
from robotseg_core.stream.loops.loop import Loop
from robotseg_core.stream.memory_bank import MemoryBank


class LoadedModel(Protocol):
    """What a stream asks of its model; :class:`~robotseg_core.stream.robotseg.RobotSeg` is one.

    Attributes:
        model: the weights.
        time_keys: what every time code adds to a frame's keys, [A, T, N, e].
        memory_frames: frames that a frame looks up.
    """

    model: RobotSegModel
    time_keys: Tensor
    memory_frames: int

    @property
    def preset(self) -> str:
        """Name of the preset."""
        ...

    @property
    def device(self) -> str:
        """Device of the model."""
        ...

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """Within it, products are of the model's precision."""
        ...

    def encode_frames(self, frames: Sequence[NDArray[np.uint8]]) -> list[EncodedFrame]:
        """Frames [H, W, 3] uint8 RGB through the encoder at once."""
        ...

    def loop(self, bank: MemoryBank) -> Loop:
        """What runs after the encoder with a memory of this size."""
        ...
