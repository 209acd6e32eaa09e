# SPDX-License-Identifier: Apache-2.0
"""What a stream takes and gives: prompts in, part masks out.  Plain numpy, frozen, no torch, no ROS.

Coordinates are pixels of the camera image: x to the right, y down, (0, 0) is the centre of the first pixel.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PARTS: tuple[str, str, str] = ("arm", "gripper", "robot")
"""Part names in the order of the class-token table (SPEC 4.1): row 0 arm, 1 gripper, 2 robot."""


class State(enum.IntEnum):
    """What the stream knows about the robot.  Values equal the constants of ``PartMasks.msg``."""

    SEARCHING = 0
    """No robot has been seen since the start or the last reset; masks are empty and mean 'no robot seen'."""
    TRACKING = 1
    """A robot is in view and its masks are trusted."""
    DEGRADED = 2
    """Masks are given, but their score is low."""
    LOST = 3
    """A robot was seen before and is not seen now; masks are empty and mean 'no robot seen'."""
    STALE = 4
    """No current result is known (set by the node only, never by the core)."""
    FAULT = 5
    """The model cannot run (set by the node only, never by the core)."""


class ModelFault(RuntimeError):
    """The model has given numbers that are not finite: nothing is known of the frame, and the stream begins anew."""


class PromptKind(enum.IntEnum):
    """Kinds of user prompt.  Values equal the constants of ``Prompt.msg``."""

    POINT = 0
    BOX = 1
    RESET = 2


@dataclass(frozen=True)
class Prompt:
    """A user's hint for one part.

    Attributes:
        part: one of :data:`PARTS`.
        kind: point, box, or reset (forget this part's memory; coordinates unused).
        xy: POINT (x, y); BOX (x0, y0, x1, y1); RESET ().  Image pixels.
        label: POINT only: 1 this pixel is the part, 0 it is not.
    """

    part: str
    kind: PromptKind
    xy: tuple[float, ...] = ()
    label: int = 1

    def __post_init__(self) -> None:
        if self.part not in PARTS:
            raise ValueError(f"prompt part is {self.part!r}, must be one of {PARTS}")
        want = {PromptKind.POINT: 2, PromptKind.BOX: 4, PromptKind.RESET: 0}[self.kind]
        if len(self.xy) != want:
            raise ValueError(f"prompt {self.kind.name} has {len(self.xy)} coordinates, must have {want}")
        if not all(np.isfinite(self.xy)):
            raise ValueError(f"prompt coordinates {self.xy} must be finite")
        if self.label not in (0, 1):
            raise ValueError(f"prompt label is {self.label}, must be 0 or 1")


@dataclass(frozen=True, eq=False)
class MaskPrompt:
    """A user's mask for one part, taken as it is.

    Attributes:
        part: one of :data:`PARTS`.
        mask: [H, W] bool or uint8, the size of the image; the part is where it is not 0.
    """

    part: str
    mask: NDArray[np.uint8] | NDArray[np.bool_]

    def __post_init__(self) -> None:
        if self.part not in PARTS:
            raise ValueError(f"prompt part is {self.part!r}, must be one of {PARTS}")
        if self.mask.ndim != 2 or self.mask.dtype not in (np.bool_, np.uint8):
            raise ValueError(f"mask is {self.mask.dtype} {self.mask.shape}, must be bool or uint8 [H, W]")


@dataclass(frozen=True)
class PartMask:
    """One part in one frame.

    Attributes:
        name: one of :data:`PARTS`.
        mask: [H, W] uint8, 0 or 255, the size of the input image.
        score: predicted quality of the mask, 0 to 1; 0 when the part is not seen.
        present: whether the part is seen in this frame.
        area: number of mask pixels.
        roi: tight box (x, y, width, height) in pixels, all 0 for an empty mask.
        centroid: mean (x, y) of the mask pixels, NaN for an empty mask.
    """

    name: str
    mask: NDArray[np.uint8]
    score: float
    present: bool
    area: int
    roi: tuple[int, int, int, int]
    centroid: tuple[float, float]


@dataclass(frozen=True)
class StageTimes:
    """Wall time of each stage of one step, in milliseconds; ``encoder`` of all frames that it encoded at once."""

    preprocess: float = 0.0
    encoder: float = 0.0
    memory_attention: float = 0.0
    prompt_generator: float = 0.0
    decoder: float = 0.0
    memory_encoder: float = 0.0
    postprocess: float = 0.0

    @property
    def total(self) -> float:
        """Sum of all stages, ms."""
        return float(sum(self.__dict__.values()))


@dataclass(frozen=True)
class PartMasks:
    """The answer to one frame.

    Attributes:
        stamp: the stamp given to ``step``, unchanged (nanoseconds).
        state: what the stream knows.
        parts: arm, gripper, robot, in this order.  Arm and gripper are disjoint, robot is their union.
        stage_ms: wall time of each stage.
        robot_logits: [h, w] float32 on the model's grid, what the robot's mask was made of; None: not known.  See
            :func:`robotseg_core.masks.soft.robot_probability`.
    """

    stamp: int
    state: State
    parts: tuple[PartMask, ...]
    stage_ms: StageTimes
    robot_logits: NDArray[np.float32] | None = None

    def __getitem__(self, name: str) -> PartMask:
        for part in self.parts:
            if part.name == name:
                return part
        raise KeyError(f"no part {name!r}; this result has {[p.name for p in self.parts]}")
