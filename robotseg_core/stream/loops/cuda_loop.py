# SPDX-License-Identifier: Apache-2.0
"""The loop of a stream (all but the encoder) as CUDA graphs over a memory of fixed size.

Graphs need the same shapes at every frame: all slots of the memory are looked up, and those without a frame are masked
out.  So the first frame with a memory costs what the thousandth costs.  The host decides nothing on the way and the
device is never waited for.
"""

from __future__ import annotations

import copy
import functools
import logging
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from robotseg_core.cuda.recording import Recording, autocast, difference, tensor_cores, with_products_in
from robotseg_core.model.robotseg_model import Conditioned, Features, Memory, RobotSegModel
from robotseg_core.model.structure import edges
from robotseg_core.stream.frame_state import Answer
from robotseg_core.stream.loops.loop import Loop
from robotseg_core.stream.loops.torch_loop import TorchLoop
from robotseg_core.stream.memory_bank import Entry, MemoryBank
from robotseg_core.stream.prompting import decode
from robotseg_core.stream.stage_clock import StageClock

log = logging.getLogger(__name__)

TOLERANCE = {None: 1e-3, torch.float16: 1e-2, torch.bfloat16: 3e-2}
"""Largest relative difference from the loop operator by operator, by the type of products."""


def _as_it_is(function: Callable[[], tuple[Tensor, ...]]) -> Callable[[], tuple[Tensor, ...]]:
    return function


class GraphedLoop:
    """Memory attention, decoder, memory encoder and prompt generator, each a recording.

    One loop serves one stream: its graphs read that stream's memory where it lies.

    Args:
        model: whose loop it is.
        bank: memory of the stream, still empty.
        dtype: of the memory attention's products; None is float32.  With another one the float32 products of decoder
            and memory encoder may run as TF32.
        compiled: through ``torch.compile`` before they are recorded, which takes minutes.

    Raises:
        RuntimeError: it cannot be recorded, or gives another answer than operator by operator.
    """

    @torch.inference_mode()
    def __init__(
        self, model: RobotSegModel, bank: MemoryBank, dtype: torch.dtype | None, *, compiled: bool = False
    ) -> None:
        if bank.started.any():
            raise RuntimeError("a loop is recorded before its memory holds anything")
        self._device, self._dtype, self._bank = bank.features.device, dtype, bank
        self._plain = TorchLoop(model, lambda: autocast(self._device, dtype))
        self._last_gate = not model.memory_attention.last_gate_cancels
        self._model = copy.copy(model)
        # Shares everything with the model but the memory attention, whose weights are cast once instead of each time.
        self._model._modules = dict(model._modules)
        self._model.memory_attention = with_products_in(model.memory_attention, dtype)  # type: ignore[assignment]
        self._compiled = functools.partial(torch.compile, dynamic=False) if compiled else _as_it_is
        config, parts = model.config, bank.features.shape[0]
        g, d = config.grid, config.d_model

        def holder(*shape: int) -> Tensor:
            return torch.randn(*shape, device=self._device)

        self._image = holder(1, 3, config.image_size, config.image_size)
        self._features = Features(holder(1, d // 8, 4 * g, 4 * g), holder(1, d // 4, 2 * g, 2 * g), holder(1, d, g, g))
        self._classes = torch.zeros(parts, dtype=torch.long, device=self._device)
        self._logits, self._object_logit = holder(parts, 4 * g, 4 * g), holder(parts)
        self._binary = torch.zeros(parts, dtype=torch.bool, device=self._device)
        with tensor_cores(dtype is not None):
            self._remember = Recording(self._compiled(self._make_memory), self._device)
            self._remember()
            self._token = Recording(self._compiled(self._make_tokens), self._device, before=self._remember)
            self._key = Recording(self._compiled(self._make_keys), self._device, before=self._token)
        # By the first slot in use: with one conditioning frame the slots of others are not looked up.
        self._finds: dict[int, tuple[Memory, Recording, Recording]] = {}
        # Now, not when a prompt of the user's is waiting.
        for start in range(bank.conditioning):
            self._find(start)
        self._check()

    # ------------------------------------------------------------------------------------ recorded
    def _look_up(self, memory: Memory) -> tuple[Tensor, ...]:
        edge = edges(self._image, self._model.config)
        with autocast(self._device, self._dtype):
            conditioned = self._model.condition(self._features, edge, memory, last_gate=self._last_gate)
        assert conditioned.token_mask is not None
        return conditioned.image.float(), conditioned.object_tokens, conditioned.token_mask

    def _decode(self, image: Tensor, tokens: Tensor, token_mask: Tensor) -> tuple[Tensor, ...]:
        conditioned = Conditioned(image, tokens, token_mask, None)
        decoded = decode(self._model, self._features, conditioned, self._classes)
        return decoded.logits, decoded.iou, decoded.object_logit, decoded.pointer

    def _make_memory(self) -> tuple[Tensor, ...]:
        made = self._model.remember(self._features, self._logits, self._object_logit, self._binary)
        return made, self._model.pool_memory(made)

    def _make_tokens(self) -> tuple[Tensor, ...]:
        return (self._model.object_tokens(self._remember.outputs[0], self._logits),)

    def _make_keys(self) -> tuple[Tensor, ...]:
        with autocast(self._device, self._dtype):
            return (self._model.frame_keys(self._remember.outputs[1]),)

    def _find(self, start: int) -> tuple[Memory, Recording, Recording]:
        """Recordings for the slots from ``start`` on, made once, and where their index tensors lie."""
        if start not in self._finds:
            index = self._bank.whole(0, start)
            assert index.empty is not None and index.empty_pointers is not None
            # Of their own storage: filled anew for each frame.
            memory = replace(
                index,
                time_index=index.time_index.clone(),
                offsets=index.offsets.clone(),
                empty=index.empty.clone(),
                empty_pointers=index.empty_pointers.clone(),
            )
            if self._compiled is not _as_it_is and memory.keys is not None:
                # The compiler makes one kernel of what puts keys together, and knows no storage given for it.
                memory = replace(memory, keys=replace(memory.keys, space=None))
            with tensor_cores(self._dtype is not None):
                look_up = Recording(self._compiled(lambda: self._look_up(memory)), self._device)
                # Recording computes nothing yet.
                look_up()
                decoder = Recording(
                    self._compiled(lambda: self._decode(*look_up.outputs)), self._device, before=look_up
                )
            self._finds[start] = memory, look_up, decoder
        return self._finds[start]

    # ------------------------------------------------------------------------------------ Loop
    def find(
        self, image: Tensor, features: Features, bank: MemoryBank, frame: int, classes: Tensor, clock: StageClock
    ) -> tuple[Conditioned, Answer]:
        """See :class:`~robotseg_core.stream.loops.loop.Loop`."""
        if bank is not self._bank:
            raise ValueError("this loop was recorded for the memory of another stream")
        if not bank.started.any():
            return self._plain.find(image, features, bank, frame, classes, clock)
        memory, look_up, decoder = self._find(bank.first_slot)
        bank.put_indices(frame, memory)
        self._put(image, features, classes)
        conditioned = look_up()
        clock.lap("memory_attention")
        decoded = decoder()
        # Corrections of the frame may come after the next replay has begun to overwrite these.
        own, answer = [x.clone() for x in conditioned], Answer(*(x.clone() for x in decoded))
        clock.lap("decoder")
        return Conditioned(own[0], own[1], own[2], None), answer

    def keep(self, features: Features, answer: Answer, binary: Tensor, clock: StageClock) -> Entry:
        """See :class:`~robotseg_core.stream.loops.loop.Loop`; what it gives holds until the next call."""
        self._features.f16.copy_(features.f16)
        self._logits.copy_(answer.logits)
        self._object_logit.copy_(answer.object_logit)
        self._binary.copy_(binary)
        _, kept = self._remember()
        clock.lap("memory_encoder")
        (tokens,) = self._token()
        clock.lap("prompt_generator")
        (keys,) = self._key()
        clock.lap("memory_encoder")
        return Entry(kept, keys, tokens, answer.pointer)

    def _put(self, image: Tensor, features: Features, classes: Tensor) -> None:
        self._image.copy_(image)
        for name in ("h4", "h8", "f16"):
            getattr(self._features, name).copy_(getattr(features, name))
        self._classes.copy_(classes)

    # ------------------------------------------------------------------------------------ check
    def _check(self) -> None:
        """Compare with the loop operator by operator over a memory of noise; the memory is empty afterwards."""
        bank, clock = self._bank, StageClock(self._device)
        try:
            bank.fill_with_noise()
            noise = self._image.clone(), Features(*(x.clone() for x in vars(self._features).values()))
            classes = self._classes.clone()
            want, _ = self._plain.find(*noise, bank, 1, classes, clock)
            got, answer = self.find(*noise, bank, 1, classes, clock)
            # From the same tokens: noise over noise may choose another mask for a rounding.
            same = decode(self._plain.model, noise[1], got, classes)
            hard = self._binary.clone()
            kept = self._plain.keep(noise[1], answer, hard, clock)
            entry = self.keep(noise[1], answer, hard, clock)
            errors = {
                "memory attention": difference(got.image, want.image),
                # A part that is nearly undecided between two masks may take the other one for a rounding.
                "decoder": min(difference(*pair) for pair in zip(answer.logits, same.logits, strict=True)),
                "memory": difference(entry.features, kept.features),
                "keys": difference(entry.keys, kept.keys),
            }
            for name, error in errors.items():
                if not error <= TOLERANCE[self._dtype]:
                    raise RuntimeError(f"the recorded {name} differs by {error:.2e} from PyTorch's")
        finally:
            bank.wipe()


def graphed_or_plain(
    model: RobotSegModel, bank: MemoryBank, dtype: torch.dtype | None, plain: TorchLoop, wanted: str = "auto"
) -> Loop:
    """The loop as graphs where that works, else operator by operator, said in the log.

    ``wanted``: ``graphs`` or ``compiled`` raise where it does not work.
    """
    try:
        return GraphedLoop(model, bank, dtype, compiled=wanted == "compiled")
    except Exception as error:
        if wanted != "auto":
            raise
        log.warning("the loop cannot be recorded as CUDA graphs (%s); PyTorch runs it operator by operator", error)
        return plain
