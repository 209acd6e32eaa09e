# SPDX-License-Identifier: Apache-2.0
"""One part through one video with every way of prompting: the state machine of the reference (SPEC 7, 8).

This is the plain form, in which each rule can be read and checked against golden data frame by frame;
:mod:`robotseg_core.stream.stream` is the fast form for several parts at once.  Only what can be read again is kept,
so a session may run for ever.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from robotseg_core.masks.holes import fill_holes
from robotseg_core.model.robotseg_model import Conditioned, Features, Memory, RobotSegModel
from robotseg_core.model.structure import edges
from robotseg_core.stream.prompting import Decoded, decode, decode_mask, fed_back, raw_frame
from robotseg_core.stream.session_memory import Output, SessionMemory, Trace
from robotseg_core.types import ModelFault

Compat = Literal["reference", "fixed"]


@dataclass(frozen=True)
class Frame:
    """What all parts share of one frame: encoder features and edge strength [1, 1, g, g]."""

    features: Features
    edge: Tensor


@dataclass(frozen=True)
class _Pending:
    """A prompted output that the next :meth:`Session.preflight` commits."""

    output: Output
    frame: Frame
    conditioning: bool


def encode_frame(model: RobotSegModel, image: Tensor) -> Frame:
    """Normalised image [1, 3, S, S] -> what every session needs of this frame."""
    return Frame(features=model.encode(image), edge=edges(image, model.config))


class Session:
    """Tracks one part.  Prompts first, then :meth:`track` frame by frame; corrections at any time.

    Args:
        model: in eval mode; calls are made under ``torch.inference_mode`` by the caller.
        part: row of the class token (0 arm, 1 gripper, 2 robot).
        video_length: number of frames, where it is known; the reference makes pointers depend on it below 16
            (SPEC 7.2).  A stream has none.
        memory_dtype: type in which memory features are stored; bfloat16 is what the reference does.
        fill_area: holes up to this many low-res cells are filled; the reference says 8, but only with its CUDA
            extension.
        compat: ``reference`` keeps its quirks: a first frame without the part is remembered as such, a correction
            of a conditioning frame is lost, a correction that was not accepted enters memory all the same.
            ``fixed`` does the opposite in these three cases.
    """

    def __init__(
        self,
        model: RobotSegModel,
        part: int,
        *,
        video_length: int | None = None,
        memory_dtype: torch.dtype = torch.float32,
        fill_area: int = 0,
        compat: Compat = "reference",
    ) -> None:
        self.model = model
        self.part = part
        limit = model.config.max_pointers
        self.memory = SessionMemory(model.config, min(video_length, limit) if video_length else limit)
        self.memory_dtype = memory_dtype
        self.fill_area = fill_area
        self.compat = compat
        self._pending: dict[int, _Pending] = {}
        self._tracked: set[int] = set()

    # ------------------------------------------------------------------------------------ prompts
    def prompt_auto(self, index: int, frame: Frame) -> Output:
        """Find the part by its category alone."""
        return self._prompt(index, frame, None)

    def prompt_points(self, index: int, frame: Frame, coords: Tensor, labels: Tensor) -> Output:
        """Clicks and box corners, all of this frame at each call.

        Args:
            index: number of the frame.
            frame: its features.
            coords: [n, 2] float32 x, y in pixels of the model's image.
            labels: [n] int64; 1 on the part, 0 off it, 2 and 3 top left and bottom right of a box, which come first.
        """
        if coords.shape != (labels.shape[0], 2) or not len(labels):
            raise ValueError(f"coords {tuple(coords.shape)} and labels {tuple(labels.shape)} must be [n, 2] and [n]")
        return self._prompt(index, frame, (coords[None], labels[None]))

    def prompt_mask(self, index: int, frame: Frame, mask: Tensor) -> Output:
        """A mask [H, W], 0 to 1 of any size, taken as it is; the decoder yields only the pointer (SPEC 8)."""
        decoded = decode_mask(self.model, frame.features, mask)
        output = self._output(decoded, raw_frame(self.model, frame.features), None, None)
        self._pending[index] = _Pending(output, frame, conditioning=index not in self._tracked)
        return output

    def discard(self, index: int) -> None:
        """Take back the prompts of a frame that were not accepted; under ``reference`` they stay (SPEC 8)."""
        if self.compat == "fixed":
            self._pending.pop(index, None)

    def adjust(self, index: int, change: Tensor) -> None:
        """Add ``change`` [h, w] to the logits of a prompted frame that is not yet committed to memory.

        For comparing two implementations: the hard mask of a prompted frame has pixels whose sign rounding decides.
        """
        pending = self._pending[index]
        output = dataclasses.replace(pending.output, logits=pending.output.logits + change)
        self._pending[index] = dataclasses.replace(pending, output=output)

    def _prompt(self, index: int, frame: Frame, points: tuple[Tensor, Tensor] | None) -> Output:
        correction = index in self._tracked
        if points is None:
            previous = None
        else:
            pending = self._pending.get(index)
            known = pending.output if pending else self.memory.get(index)
            previous = fed_back(known.logits) if known else None
        output = self._decode(frame, self.memory.look_up(index) if correction else None, points, previous)
        if self.compat == "fixed" and points is None and not correction and not bool(output.object_logit > 0):
            return output
        self._pending[index] = _Pending(output, frame, conditioning=not correction)
        return output

    def preflight(self) -> None:
        """Commit prompted frames to memory, with hard masks; called before tracking and after a correction."""
        for index, pending in self._pending.items():
            output = self._remember(pending.frame, pending.output, pending.output.logits, binary=True)
            fixes_first = self.compat == "fixed" and index in self.memory.conditioning
            table = self.memory.conditioning if pending.conditioning or fixes_first else self.memory.others
            table[index] = output
        self._pending.clear()
        for index in self.memory.conditioning:
            self.memory.others.pop(index, None)

    # ------------------------------------------------------------------------------------ tracking
    @property
    def ready(self) -> bool:
        """Whether there is a frame to track from."""
        return bool(self.memory.conditioning) or any(pending.conditioning for pending in self._pending.values())

    def track(self, index: int, frame: Frame) -> Output:
        """Result of the next frame; a conditioning frame's is the stored one.

        Prompts are committed first; under ``reference`` only at the start, later ones wait for :meth:`preflight`.

        Raises:
            RuntimeError: nothing was prompted yet (see :attr:`ready`).
        """
        if self.compat == "fixed" or not self.memory.conditioning:
            self.preflight()
        if not self.memory.conditioning:
            raise RuntimeError("a session cannot track before a frame has been prompted")
        self._tracked.add(index)
        if index in self.memory.conditioning:
            return self.memory.conditioning[index]
        output = self._decode(frame, self.memory.look_up(index), None, None)
        assert output.trace is not None
        # The memory sees the mask before hole filling (SPEC 7.1).
        trace = output.trace
        stored = self._remember(frame, output, trace.choice.logits, binary=False)
        self.memory.others[index] = stored
        self.memory.forget(index)
        oldest = self.memory.oldest_seen(index)
        self._tracked = {i for i in self._tracked if i >= oldest or i in self.memory.conditioning}
        return dataclasses.replace(stored, trace=trace)

    def stored(self, index: int) -> Output | None:
        """What is remembered of a frame."""
        return self.memory.get(index)

    # ------------------------------------------------------------------------------------ steps
    def _conditioned(self, frame: Frame, memory: Memory | None) -> Conditioned:
        if memory is None:
            return self.model.initial(frame.features, 1)
        return self.model.condition(frame.features, frame.edge, memory)

    def _decode(
        self, frame: Frame, memory: Memory | None, points: tuple[Tensor, Tensor] | None, previous: Tensor | None
    ) -> Output:
        conditioned = self._conditioned(frame, memory)
        part = torch.tensor([self.part], device=conditioned.image.device)
        decoded = decode(self.model, frame.features, conditioned, part, points=points, mask_logits=previous)
        return self._output(decoded, conditioned, points, memory)

    def _output(
        self,
        decoded: Decoded,
        conditioned: Conditioned,
        points: tuple[Tensor, Tensor] | None,
        memory: Memory | None,
    ) -> Output:
        numbers = (decoded.logits, decoded.iou, decoded.object_logit, decoded.pointer)
        if not all(bool(number.isfinite().all()) for number in numbers):
            raise ModelFault("the model gives numbers that are not finite")
        if points is None:
            device = decoded.logits.device
            points = torch.zeros(1, 0, 2, device=device), torch.zeros(1, 0, dtype=torch.long, device=device)
        return Output(
            logits=fill_holes(decoded.logits, self.fill_area),
            pointer=decoded.pointer,
            object_logit=decoded.object_logit,
            iou=decoded.iou,
            trace=Trace(
                sparse=self.model.sam_prompt_encoder.points(*points),
                conditioned=conditioned,
                candidates=decoded.candidates,
                choice=decoded.choice,
                multimask=decoded.multimask,
                memory=memory,
            ),
        )

    def _remember(self, frame: Frame, output: Output, logits: Tensor, *, binary: bool) -> Output:
        hard = torch.full((1,), binary, device=logits.device)
        memory = self.model.remember(frame.features, logits, output.object_logit, hard)
        # Rounded first: the RPG reads the features as they are stored (SPEC 6).
        memory = memory.to(self.memory_dtype)
        tokens = self.model.object_tokens(memory.to(logits.dtype), output.logits)
        kept = self.model.pool_memory(memory)
        return dataclasses.replace(output, memory=kept, object_tokens=tokens, trace=None)
