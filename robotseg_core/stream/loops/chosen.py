# SPDX-License-Identifier: Apache-2.0
"""Which loop a memory gets: operator by operator, as ONNX graphs on a CPU, as CUDA graphs on a GPU."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from robotseg_core.backends.choose import graph_opener
from robotseg_core.backends.encoder import EncoderBackend
from robotseg_core.model.robotseg_model import RobotSegModel
from robotseg_core.stream.choices import PRECISIONS
from robotseg_core.stream.loops.cuda_loop import graphed_or_plain
from robotseg_core.stream.loops.loop import Loop
from robotseg_core.stream.loops.onnx_loop import make_loop
from robotseg_core.stream.loops.torch_loop import TorchLoop
from robotseg_core.stream.memory_bank import MemoryBank


@dataclass(frozen=True)
class Way:
    """How a loop runs.

    Attributes:
        precision: one of :data:`~robotseg_core.stream.choices.PRECISIONS`.
        loop: one of :data:`~robotseg_core.stream.choices.LOOPS`.
        graphs: whether it runs as graphs at all.
        threads: of the runtime of graphs on a CPU.
    """

    precision: str
    loop: str
    graphs: bool
    threads: int


class Loops:
    """What runs after the encoder of one model; on a CPU memories of one size share it.

    Args:
        model: whose loop it is.
        encoder: whose runtime graphs run in on a CPU.
        time_keys: what every time code adds to a frame's keys, [A, T, N, e].
        autocast: within it, products are of the model's precision.
        way: how it runs.
    """

    def __init__(
        self,
        model: RobotSegModel,
        encoder: EncoderBackend,
        time_keys: Tensor,
        autocast: Callable[[], contextlib.AbstractContextManager[object]],
        way: Way,
    ) -> None:
        self._model, self._encoder, self._time_keys, self._way = model, encoder, time_keys, way
        self._made: dict[tuple[int, ...], Loop] = {}
        self.plain = TorchLoop(model, autocast)
        """Operator by operator."""

    def of(self, bank: MemoryBank) -> Loop:
        """The loop of a memory."""
        way = self._way
        if not way.graphs:
            return self.plain
        if self._time_keys.device.type == "cuda":
            # Graphs know where the memory lies: each stream has its own.
            return graphed_or_plain(self._model, bank, PRECISIONS[way.precision], self.plain, way.loop)
        shape = tuple(bank.features.shape)
        if shape not in self._made:
            opener = graph_opener(self._encoder, way.threads, way.precision)
            self._made[shape] = make_loop(self._model, bank, self._time_keys, opener)
        return self._made[shape]
