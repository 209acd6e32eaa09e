# SPDX-License-Identifier: Apache-2.0
"""A model with the interface of RobotSeg that sees saturated colours: blue is the arm, red is the gripper."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

import numpy as np

from robotseg_core.types import PARTS, PartMask, PartMasks, Prompt, StageTimes, State

HANG_S = 6000.0
"""What hangs until it is let go: longer than any test waits for what goes on beside it."""


def mask_of(name, pixels):
    mask = np.where(pixels, np.uint8(255), np.uint8(0))
    rows, columns = np.nonzero(pixels)
    seen = rows.size > 0
    roi = (0, 0, 0, 0)
    centroid = (float("nan"), float("nan"))
    if seen:
        x, y = int(columns.min()), int(rows.min())
        roi = (x, y, int(columns.max()) - x + 1, int(rows.max()) - y + 1)
        centroid = (float(columns.mean()), float(rows.mean()))
    return PartMask(name, mask, 0.9 if seen else 0.0, seen, int(rows.size), roi, centroid)


@dataclass
class FakeEncoded:
    frame: np.ndarray

    @property
    def size(self):
        return self.frame.shape[:2]

    def again(self):
        return self


@dataclass
class FakeTargetStream:
    """Marks what is left of the prompted mask in saturated colours: a target that does not move."""

    prompts: list = field(default_factory=list)

    def prompt(self, prompt):
        self.prompts.append(prompt)

    def step_encoded(self, encoded, stamp):
        coloured = np.ptp(encoded.frame.astype(int), axis=-1) > 100
        parts = tuple(mask_of(n, coloured & (self.prompts[-1].mask > 0)) for n in PARTS)
        return PartMasks(stamp, State.TRACKING, parts, StageTimes())


@dataclass
class FakeStream:
    model: FakeModel
    prompts: list[Prompt] = field(default_factory=list)
    resets: int = 0
    steps: list[tuple[int, str]] = field(default_factory=list)
    """What was asked of the stream, in order: (stamp, "step"), (0, "prompt"), (0, "reset")."""

    def step(self, frame, stamp):
        assert frame.dtype == np.uint8 and frame.ndim == 3 and frame.flags.c_contiguous
        self.steps.append((stamp, "step"))
        time.sleep(self.model.delay)
        if self.model.hang is not None:
            self.model.hang.wait(HANG_S)
        if self.model.broken:
            raise RuntimeError("out of imaginary memory")
        self.model.stamps.append(stamp)
        red, green, blue = (frame[..., i].astype(int) for i in range(3))
        arm = blue - np.maximum(red, green) > 100
        gripper = red - np.maximum(blue, green) > 100
        parts = tuple(mask_of(n, m) for n, m in zip(PARTS, (arm, gripper, arm | gripper), strict=True))
        state = State.TRACKING if parts[2].present else State.SEARCHING
        return PartMasks(stamp, state, parts, StageTimes(encoder=self.model.delay * 1e3))

    def step_encoded(self, encoded, stamp):
        return self.step(encoded.frame, stamp)

    def prompt(self, prompt):
        self.steps.append((0, "prompt"))
        self.prompts.append(prompt)

    def reset(self):
        self.steps.append((0, "reset"))
        self.resets += 1


@dataclass
class FakeModel:
    delay: float = 0.0
    broken: bool = False
    hang: threading.Event | None = None
    """Steps wait until this is set."""
    encoder_batch: int = 1
    broken_batch: bool = False
    batches: list[int] = field(default_factory=list)
    """How many images went through the encoder at once, batch by batch."""
    device: str = "cpu"
    backend: str = "fake"
    preset: str = "nano"
    source: str = "/imaginary.safetensors"
    sha256: str = "f" * 64
    robot: str = ""
    stamps: list[int] = field(default_factory=list)
    streams: list[FakeStream] = field(default_factory=list)

    def encode_frames(self, frames):
        self.batches.append(len(frames))
        if self.broken_batch:
            raise MemoryError("no room for so many")
        return [FakeEncoded(frame) for frame in frames]

    def target_stream(self):
        return FakeTargetStream()

    def stream(self):
        self.streams.append(FakeStream(self))
        return self.streams[-1]


def robot_picture(height=120, width=160, shift=0):
    """An RGB image with a blue bar (arm) that ends in a red square (gripper) before grey."""
    rgb = np.full((height, width, 3), 120, np.uint8)
    rgb[40:60, 10 + shift : 80 + shift] = (0, 0, 255)
    rgb[40:60, 80 + shift : 100 + shift] = (255, 0, 0)
    return rgb
