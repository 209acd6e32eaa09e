# SPDX-License-Identifier: Apache-2.0
"""What the node needs of a model: load once, open a stream, step it.  RobotSeg is the model that the node loads."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from robotseg_core.config import MAX_BATCH
from robotseg_core.types import PARTS, PartMasks, Prompt, State


@dataclass(frozen=True)
class ModelOptions:
    """What to load.

    Attributes:
        preset: name of the preset, e.g. ``nano``.
        device: ``auto``, ``cpu`` or ``cuda``.
        backend: encoder backend, ``auto``, ``torch``, ``onnxruntime``, ``openvino`` or ``tensorrt``.
        weights: weights file; None: the shipped ones of the preset.
        robot: name or file of an adapter, what one robot adds to the weights; None: nothing.
        image_size: side of the model's square input, pixels, a multiple of 32; None: the preset's.
        precision: ``auto``, ``fp32``, ``bf16``, ``fp16`` or ``int8``.
        memory_frames: frames the memory attention looks up, 1 to the preset's; None: the preset's.
        hygiene: whether specks and small holes go; None: as the preset has it.
        cameras: how many there are.
        encoder_batch: images of different cameras that go through the encoder at once at most, 1 to 8; None: one on
            a CPU, which gains nothing by more, and one of each camera on CUDA.
    """

    preset: str = "nano"
    device: str = "auto"
    backend: str = "auto"
    weights: Path | None = None
    robot: str | Path | None = None
    image_size: int | None = None
    precision: str = "auto"
    memory_frames: int | None = None
    hygiene: bool | None = None
    cameras: int = 1
    encoder_batch: int | None = None


class Stream(Protocol):
    """One camera's stream through a model.  Used by one thread at a time.

    Where a camera means one of several robots, its attribute ``nearest`` is set, and with ``max_depth`` each step is
    given ``depth``, as :class:`robotseg_core.stream.stream.Stream` has them.
    """

    def step(self, frame: NDArray[np.uint8], stamp: int) -> PartMasks:
        """Segment one frame: [H, W, 3] uint8 RGB, contiguous; stamp in nanoseconds."""
        ...

    def step_encoded(self, encoded: Any, stamp: int) -> PartMasks:
        """The same from :meth:`Model.encode_frames` on."""
        ...

    def prompt(self, prompt: Prompt) -> None:
        """Give a hint that applies to the next step."""
        ...

    def reset(self) -> None:
        """Forget everything seen."""
        ...


class Model(Protocol):
    """A loaded model, ready for its first image: nothing is set up when that comes.  Streams share it."""

    @property
    def device(self) -> str:
        """Device that it runs on."""
        ...

    @property
    def backend(self) -> str:
        """Backend that the encoder runs on."""
        ...

    @property
    def preset(self) -> str:
        """Name of the preset."""
        ...

    @property
    def source(self) -> str:
        """File of the weights."""
        ...

    @property
    def sha256(self) -> str:
        """Its hash, in hex."""
        ...

    @property
    def robot(self) -> str:
        """Name of the adapter; empty: none."""
        ...

    @property
    def encoder_batch(self) -> int:
        """How many frames go through the encoder at once at most."""
        ...

    def encode_frames(self, frames: Sequence[NDArray[np.uint8]]) -> Sequence[Any]:
        """Frames of different cameras through the encoder at once: for each what its stream goes on with."""
        ...

    def stream(self) -> Stream:
        """Open a stream."""
        ...

    def target_stream(self) -> Any:
        """Open a stream with a memory of one target that a request in words has found."""
        ...


def check_result(result: PartMasks, height: int, width: int) -> None:
    """See that what a stream says of an image is about it, and holds together.

    Raises:
        ValueError: it is not: a mask of another size, a number that is not finite, parts that contradict each other.
    """
    if result.state not in (State.SEARCHING, State.TRACKING, State.DEGRADED, State.LOST):
        raise ValueError(f"the stream says {result.state!r}, which is not for a stream to say")
    if tuple(part.name for part in result.parts) != PARTS:
        raise ValueError(f"parts are {[part.name for part in result.parts]}, must be {list(PARTS)}")
    for part in result.parts:
        if part.mask.shape != (height, width) or part.mask.dtype != np.uint8:
            raise ValueError(
                f"mask of {part.name} is {part.mask.dtype} {part.mask.shape}, must be uint8 {(height, width)}"
            )
        if not 0.0 <= part.score <= 1.0:
            raise ValueError(f"score of {part.name} is {part.score}, must be 0 to 1")
        if part.area and not all(math.isfinite(value) for value in part.centroid):
            raise ValueError(f"centroid of {part.name} is {part.centroid}, must be finite")
        if cv2.countNonZero(part.mask) != part.area:
            raise ValueError(f"mask of {part.name} has {cv2.countNonZero(part.mask)} pixels, its area is {part.area}")
    arm, gripper, robot = result.parts
    if arm.area + gripper.area != robot.area:
        raise ValueError(f"areas of arm and gripper are {arm.area} and {gripper.area}, the robot's is {robot.area}")
    if robot.area and result.state in (State.SEARCHING, State.LOST):
        raise ValueError(f"the robot has {robot.area} pixels in state {State(result.state).name}")
    if not robot.area and result.state in (State.TRACKING, State.DEGRADED):
        raise ValueError(f"the robot has no pixels in state {State(result.state).name}")
    if not all(math.isfinite(value) for value in vars(result.stage_ms).values()):
        raise ValueError(f"times of the stages are {result.stage_ms}, must be finite")


ModelLoader = Callable[[ModelOptions], Model]


def load_robotseg(options: ModelOptions) -> Model:
    """Load RobotSeg.

    Raises:
        Exception: whatever the core raises for an unknown preset, a missing file or a missing device.
    """
    # Imported here: torch takes seconds, and a node that never gets configured needs none of it.
    from robotseg_core.stream.choices import chosen_device
    from robotseg_core.stream.robotseg import RobotSeg

    device = chosen_device(options.device)
    batch = options.encoder_batch or (MAX_BATCH if device.startswith("cuda") else 1)
    model: Model = RobotSeg.load(
        options.preset,
        device=device,
        backend=options.backend,
        weights=options.weights,
        adapter=options.robot,
        image_size=options.image_size,
        precision=options.precision,
        memory_frames=options.memory_frames,
        hygiene=options.hygiene,
        encoder_batch=min(batch, options.cameras),
    )
    return model
