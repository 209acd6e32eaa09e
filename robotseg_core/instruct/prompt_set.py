# SPDX-License-Identifier: Apache-2.0
"""What a policy answers: which prompts a frozen segmenter is to be given (SEGR1 10.1).  Plain numpy, frozen."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from robotseg_core.instruct.request import Request
from robotseg_core.types import PARTS, PartMasks

MAX_INSTANCES = 4
"""Of an answer; a policy that finds more leaves the smaller ones out."""
MAX_POINTS = 32
"""Of an instance."""


class Answer(enum.IntEnum):
    """What a policy says.  Values equal the constants of ``Instruct.srv``."""

    FOUND = 0
    """It is in view; prompts say where."""
    NONE = 1
    """Understood, and not in view."""
    NOT_UNDERSTOOD = 2
    """What is asked for is not known, so nothing is said about the picture."""


@dataclass(frozen=True, eq=False)
class Instance:
    """One thing of an answer.

    Attributes:
        box: (x0, y0, x1, y1) pixels of the frame, x0 < x1, y0 < y1; None: the points alone.
        points: (x, y) each, pixels of the frame.
        labels: of the points: 1 on the target, 0 off it.
        mask: [H, W] bool, where the policy has the mask already, as the rules do: the segmenter is not asked.
    """

    box: tuple[float, float, float, float] | None
    points: tuple[tuple[float, float], ...] = ()
    labels: tuple[int, ...] = ()
    mask: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        numbers = [*(self.box or ()), *(v for point in self.points for v in point)]
        if not all(np.isfinite(numbers)):
            raise ValueError(f"coordinates {numbers} must be finite")
        if self.box is not None and not (self.box[0] < self.box[2] and self.box[1] < self.box[3]):
            raise ValueError(f"box is {self.box}, must be x0 < x1 and y0 < y1")
        if len(self.points) != len(self.labels) or len(self.points) > MAX_POINTS:
            raise ValueError(
                f"{len(self.points)} points and {len(self.labels)} labels, must be as many, at most {MAX_POINTS}"
            )
        if any(label not in (0, 1) for label in self.labels):
            raise ValueError(f"labels are {self.labels}, must be 0 or 1")
        if self.box is None and self.mask is None and 1 not in self.labels:
            raise ValueError("an instance needs a box, a point on it or a mask, has none")


@dataclass(frozen=True)
class PromptSet:
    """An answer.

    Attributes:
        answer: what is said.
        instances: of FOUND 1 to :data:`MAX_INSTANCES`, from left to right; else none.
        invert: the mask is complemented at the end ("everything but").
        part: the category of the target, one of :data:`~robotseg_core.types.PARTS`.
        automatic: the target is all that the stream marks as ``part``: its own mask is the target's, frame by frame.
        log_probability: of the answer under the policy, 0 for one that draws nothing.
        raw: the answer as the policy wrote it, or why it is not understood.
    """

    answer: Answer
    instances: tuple[Instance, ...] = ()
    invert: bool = False
    part: str = "robot"
    automatic: bool = False
    log_probability: float = 0.0
    raw: str = ""

    def __post_init__(self) -> None:
        if self.part not in PARTS:
            raise ValueError(f"part is {self.part!r}, must be one of {PARTS}")
        count, found = len(self.instances), self.answer is Answer.FOUND
        if not (1 <= count <= MAX_INSTANCES if found else count == 0):
            raise ValueError(
                f"{self.answer.name} has {count} instances, must have {f'1 to {MAX_INSTANCES}' if found else 'none'}"
            )


@dataclass(frozen=True, eq=False)
class View:
    """What a policy looks at.

    Attributes:
        rgb: [H, W, 3] uint8.
        parts: the automatic masks of the same frame.
        features: what :meth:`Policy.look` has made of the encoded frame; None: the policy reads none.
    """

    rgb: NDArray[np.uint8]
    parts: PartMasks
    features: Any = None


class Policy(Protocol):
    """Request and frame to prompts."""

    @property
    def name(self) -> str:
        """For logs and messages."""
        ...

    @property
    def reads_features(self) -> bool:
        """Whether :meth:`look` makes anything of a frame, so that frames must come encoded."""
        ...

    def look(self, encoded: Any, parts: PartMasks) -> Any:
        """What is to be kept of a frame for requests that come later, in memory of its own; None: nothing.

        Args:
            encoded: the frame through the encoder (:class:`~robotseg_core.stream.frame_state.EncodedFrame`).
            parts: its automatic masks.
        """
        ...

    def answer(self, request: Request, view: View) -> PromptSet:
        """Find what is asked for.  What cannot be understood is an answer, never an exception."""
        ...
