# SPDX-License-Identifier: Apache-2.0
"""What a stream holds of a frame: its features, the answer for each part, what corrections of the last frame need."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robotseg_core.cuda.transfer import OnTheWay
from robotseg_core.masks.nearest import Depth
from robotseg_core.model.mask_decoder import ABSENT_LOGIT
from robotseg_core.model.robotseg_model import Conditioned, Features
from robotseg_core.stream.memory_bank import Entry
from robotseg_core.stream.stage_clock import StageClock


@dataclass(frozen=True)
class EncodedFrame:
    """A frame that has been through the image encoder, alone or together with those of other cameras.

    Attributes:
        size: (height, width) of the frame, pixels.
        image: [1, 3, S, S] float32, normalised.
        features: of this frame.
        clock: the time that it has taken so far.
    """

    size: tuple[int, int]
    image: Tensor
    features: Features
    clock: StageClock

    def again(self) -> EncodedFrame:
        """The same frame for another stream, with a clock of its own."""
        return dataclasses.replace(self, clock=StageClock(self.image.device))


@dataclass(frozen=True)
class Answer:
    """Of B parts: logits [B, h, w], predicted iou [B], object_logit [B], pointer [B, d]; rows are written into."""

    logits: Tensor
    iou: Tensor
    object_logit: Tensor
    pointer: Tensor

    def put(self, row: int, one: Answer) -> None:
        """Put the answer for one part into a row."""
        for name in ("logits", "iou", "object_logit", "pointer"):
            getattr(self, name)[row] = getattr(one, name)[0]

    def copy(self) -> Answer:
        """The same in storage of its own."""
        return Answer(self.logits.clone(), self.iou.clone(), self.object_logit.clone(), self.pointer.clone())

    def sent(self, sound: Tensor) -> OnTheWay:
        """On the way to the host: present [B] bool, scores [B], logits [B, h, w], and whether ``sound`` is finite."""
        scores = (self.iou * self.object_logit.sigmoid()).float()
        return OnTheWay(self.object_logit > 0, scores, self.logits.float(), sound.isfinite())

    def without(self, cells: Tensor, pointer: Tensor) -> Answer:
        """Where none of ``cells`` [B, h, w] bool is marked; parts of which nothing is left then are not in view.

        ``pointer`` [1, d] is the one of absent parts.
        """
        logits = torch.where(cells, ABSENT_LOGIT, self.logits)
        gone = cells.any(dim=(1, 2)) & ~(logits > 0).any(dim=(1, 2))
        return Answer(
            logits=logits,
            iou=self.iou,
            object_logit=torch.where(gone, self.object_logit.clamp(max=-1.0), self.object_logit),
            pointer=torch.where(gone[:, None], pointer.to(self.pointer.dtype), self.pointer),
        )

    def absent_where(self, doubtful: Tensor, pointer: Tensor) -> Answer:
        """The answer of the decoder for parts that are not in view, where ``doubtful`` [] bool.

        ``pointer`` [1, d] is the one of absent parts.
        """
        return Answer(
            logits=torch.where(doubtful, torch.full_like(self.logits, ABSENT_LOGIT), self.logits),
            iou=self.iou,
            object_logit=torch.where(doubtful, self.object_logit.clamp(max=-1.0), self.object_logit),
            pointer=torch.where(doubtful, pointer.to(self.pointer.dtype), self.pointer),
        )


@dataclass(frozen=True)
class Received:
    """An answer on the host: which of B parts are present [B], their scores [B], their logits [B, h, w]."""

    present: NDArray[np.bool_]
    scores: NDArray[np.float32]
    logits: NDArray[np.float32]


@dataclass(frozen=True)
class LastFrame:
    """What corrections of the last frame need.

    ``tracked`` [parts]: which parts were found with their memory; the others were looked for without.  ``depth``
    [H, W]: its depth image, if it was given and is used.
    """

    index: int
    stamp: int
    size: tuple[int, int]
    features: Features
    conditioned: Conditioned
    answer: Answer
    tracked: NDArray[np.bool_]
    depth: Depth | None = None


def health(*values: Features | Answer | Entry) -> Tensor:
    """A number that is finite where all of the numbers given are: their sum, on the device, without waiting for it."""
    tensors = [getattr(value, field.name) for value in values for field in dataclasses.fields(value)]
    return torch.stack([tensor.sum(dtype=torch.float32) for tensor in tensors]).sum()
