# SPDX-License-Identifier: Apache-2.0
"""What the node needs of a model: load once, open a stream, step it.  RobotSeg is the model that the node loads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from robotseg_core.config import MAX_BATCH
from robotseg_core.types import PartMasks, Prompt


@dataclass(frozen=True)
class ModelOptions:
    """What to load.

    Attributes:
        preset: name of the preset, e.g. ``nano``.
        device: ``auto``, ``cpu`` or ``cuda``.
        backend: encoder backend, ``auto``, ``torch``, ``onnxruntime`` or ``tensorrt``.
        weights: weights file; None: the shipped ones of the preset.
        image_size: side of the model's square input, pixels, a multiple of 32; None: the preset's.
        precision: ``fp32``, ``bf16`` or ``fp16``.
        memory_frames: frames the memory attention looks up, 1 to the preset's; None: the preset's.
        cameras: how many there are.
        encoder_batch: images of different cameras that go through the encoder at once at most, 1 to 8; None: one on
            a CPU, which gains nothing by more, and one of each camera on CUDA.
    """

    preset: str = "nano"
    device: str = "auto"
    backend: str = "auto"
    weights: Path | None = None
    image_size: int | None = None
    precision: str = "fp32"
    memory_frames: int | None = None
    cameras: int = 1
    encoder_batch: int | None = None


class Stream(Protocol):
    """One camera's stream through a model.  Used by one thread at a time."""

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


ModelLoader = Callable[[ModelOptions], Model]


def load_robotseg(options: ModelOptions) -> Model:
    """Load RobotSeg.

    Raises:
        Exception: whatever the core raises for an unknown preset, a missing file or a missing device.
    """
    # Imported here: torch takes seconds, and a node that never gets configured needs none of it.
    from robotseg_core.stream.robotseg import RobotSeg, chosen_device

    device = chosen_device(options.device)
    batch = options.encoder_batch or (MAX_BATCH if device.startswith("cuda") else 1)
    model: Model = RobotSeg.load(
        options.preset,
        device=device,
        backend=options.backend,
        weights=options.weights,
        image_size=options.image_size,
        precision=options.precision,
        memory_frames=options.memory_frames,
        encoder_batch=min(batch, options.cameras),
    )
    return model
