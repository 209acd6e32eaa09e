# SPDX-License-Identifier: Apache-2.0
"""One step of a model on a device, stage by stage, over a full memory: for ``--gpu-report``."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from robotseg_core.bench.gpu_timing import Timing, peak_gbyte, timing, wait
from robotseg_core.bench.measure import FULL
from robotseg_core.config import ModelConfig
from robotseg_core.model.robotseg_model import Features, Memory, RobotSegModel
from robotseg_core.stream.memory_bank import MemoryBank
from robotseg_core.stream.prompting import decode
from robotseg_core.stream.robotseg import RobotSeg
from robotseg_core.stream.stage_clock import StageClock
from robotseg_core.types import PARTS

STAGES = ("encoder", "memory_attention", "decoder", "memory_encoder", "prompt_generator")


class DeviceStep:
    """What the device does for a frame: the model's input is there, masks and the new memory are there afterwards.

    Resizing, copies to and from the host and masks of the camera's size are not in it, see :func:`whole_step`.
    """

    @torch.inference_mode()
    def __init__(self, robotseg: RobotSeg, parts: tuple[str, ...] = PARTS) -> None:
        config = robotseg.model.config
        self.device, self._robotseg = torch.device(robotseg.device), robotseg
        self._image = torch.randn(1, 3, config.image_size, config.image_size, device=self.device)
        self._classes = torch.tensor([PARTS.index(part) for part in parts], device=self.device)
        self._hard = torch.zeros(len(parts), dtype=torch.bool, device=self.device)
        self._bank = MemoryBank(config, len(parts), robotseg.time_keys, frames=robotseg.memory_frames)
        self._loop = robotseg.loop(self._bank)
        self._frame = 0
        # Until all slots and all pointers are full.
        for _ in range(max(config.memory_frames, config.max_pointers) + 1):
            self()

    @torch.inference_mode()
    def __call__(self) -> StageClock:
        """One frame; the host waits for nothing.  Returns the clock of its stages."""
        clock = StageClock(self.device)
        features = self._robotseg.encode(self._image)
        clock.lap("encoder")
        _, answer = self._loop.find(self._image, features, self._bank, self._frame, self._classes, clock)
        entry = self._loop.keep(features, answer, self._hard, clock)
        self._bank.store(self._frame, entry, np.full(len(self._classes), self._frame == 0))
        clock.lap("memory_encoder")
        self._frame += 1
        return clock


@dataclass(frozen=True)
class StepTimes:
    """One way to run a model.

    Attributes:
        name: of the way.
        step: what :class:`DeviceStep` takes.
        stages: median milliseconds of each of :data:`STAGES`.
        ready_s: seconds to make it: recorded, compiled, memory filled.
        peak_gb: most memory held.
    """

    name: str
    step: Timing
    stages: dict[str, float]
    ready_s: float
    peak_gb: float | None


def step_times(name: str, robotseg: RobotSeg, count: int, parts: tuple[str, ...] = PARTS) -> StepTimes:
    """Time the device's step and its stages."""
    device = torch.device(robotseg.device)
    began = time.perf_counter()
    made: list[DeviceStep] = []

    def prepare() -> None:
        made.append(DeviceStep(robotseg, parts))
        wait(device)

    peak = peak_gbyte(device, prepare)
    ready, step = time.perf_counter() - began, made[0]
    took = timing(step, device, count)
    rows = [step().times() for _ in range(min(count, 20))]
    stages = {stage: float(np.median([getattr(row, stage) for row in rows])) for stage in STAGES}
    return StepTimes(name, took, stages, ready, peak)


def whole_step(robotseg: RobotSeg, frames: list[NDArray[np.uint8]], count: int) -> Timing:
    """Wall time from a camera frame in the host's memory to its masks there, over a full memory."""
    stream = robotseg.stream(FULL)
    stream.fill_memory()
    for frame in frames[:3]:
        stream.step(frame)
    runs = []
    for _ in range(2):
        times = []
        for i in range(count):
            began = time.perf_counter()
            stream.step(frames[i % len(frames)], i)
            times.append(1e3 * (time.perf_counter() - began))
        runs.append(times)
    medians = [float(np.median(run)) for run in runs]
    return Timing(float(np.median(runs)), (medians[0], medians[1]))


@dataclass(frozen=True)
class Agreement:
    """Masks of a way against those of float32 operator by operator: IoU by part, mean and least over the frames."""

    mean: dict[str, float]
    least: dict[str, float]
    frames: int


@contextmanager
def strict() -> Iterator[None]:
    """Within it cuDNN's float32 convolutions are float32, not TF32 as by default."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def masks_of(robotseg: RobotSeg, frames: list[NDArray[np.uint8]]) -> NDArray[np.bool_]:
    """Masks [frames, parts, H, W] of a stream from its first frame on."""
    stream = robotseg.stream(FULL)
    return np.stack([np.stack([p.mask > 0 for p in stream.step(f, i).parts]) for i, f in enumerate(frames)])


def agreement(masks: NDArray[np.bool_], reference: NDArray[np.bool_]) -> Agreement:
    """IoU of masks [frames, parts, H, W]; two empty masks agree."""
    both, either = (masks & reference).sum((2, 3)), (masks | reference).sum((2, 3))
    iou = np.where(either > 0, both / np.maximum(either, 1), 1.0)
    by_part = dict(zip(PARTS, iou.T, strict=True))
    return Agreement(
        {part: float(values.mean()) for part, values in by_part.items()},
        {part: float(values.min()) for part, values in by_part.items()},
        len(masks),
    )


@torch.no_grad()
def stage_gflop(config: ModelConfig, parts: int = len(PARTS)) -> dict[str, float]:
    """Operations of each stage over a full memory, counted by PyTorch on a device without numbers, GFLOP.

    A memory frame's keys are made once, when it enters: they count in the memory encoder, as they are computed there.
    """
    with torch.device("meta"):
        model = RobotSegModel(config).eval().requires_grad_(False)
        cells = config.memory_grid**2
        g, d, slots, pointers = config.grid, config.d_model, config.memory_frames, config.max_pointers
        counted: dict[str, float] = {}

        def count(stage: str, call: object) -> object:
            with FlopCounterMode(display=False) as counter:
                out = call()  # type: ignore[operator]
            counted[stage] = counted.get(stage, 0.0) + counter.get_total_flops() / 1e9
            return out

        features = count("encoder", lambda: model.encode(torch.empty(1, 3, config.image_size, config.image_size)))
        assert isinstance(features, Features)
        memory = Memory(
            features=torch.empty(parts, slots, cells, config.mem_dim),
            time_index=torch.empty(slots, dtype=torch.long),
            pointers=torch.empty(parts, pointers, d),
            offsets=torch.empty(1, pointers),
            object_tokens=torch.empty(parts, slots, config.rpg_regions, d),
        )
        edge = torch.empty(1, 1, g, g)
        # Without the last layer's structure branch, as a stream computes it.
        conditioned = model.condition(features, edge, memory, last_gate=False)
        count("memory_attention", lambda: model.condition(features, edge, memory, last_gate=False))
        # Keys made anew in this call, which a stream has ready.
        lookups = len(model.memory_attention.lookups) - 1
        counted["memory_attention"] -= 2e-9 * slots * lookups * parts * cells * config.mem_dim * config.attention_dim
        classes = torch.empty(parts, dtype=torch.long)
        decoded = decode(model, features, conditioned, classes)
        count("decoder", lambda: decode(model, features, conditioned, classes))
        hard = torch.empty(parts, dtype=torch.bool)
        kept = model.remember(features, decoded.logits, decoded.object_logit, hard)
        count("memory_encoder", lambda: model.remember(features, decoded.logits, decoded.object_logit, hard))
        pooled = model.pool_memory(kept)
        count("memory_encoder", lambda: model.frame_keys(pooled))
        count("prompt_generator", lambda: model.object_tokens(kept, decoded.logits))
    return counted


def stage_gbyte(model: RobotSegModel, memory_bytes: int, width: int) -> dict[str, float]:
    """The fewest bytes each stage moves: its weights once, and the memory once, in products of ``width`` bytes."""

    def weights(*modules: torch.nn.Module) -> int:
        return sum(p.numel() for module in modules for p in module.parameters())

    return {
        "encoder": 1e-9 * width * weights(model.image_encoder),
        "memory_attention": 1e-9 * (width * weights(model.memory_attention) + memory_bytes),
        "decoder": 4e-9 * weights(model.sam_mask_decoder),
        "memory_encoder": 4e-9 * weights(model.memory_encoder),
        "prompt_generator": 4e-9 * weights(model.robot_prompt_generator),
    }


def resized(config: ModelConfig, size: int) -> ModelConfig:
    """The same model at another input size."""
    return dataclasses.replace(config, image_size=size)
