# SPDX-License-Identifier: Apache-2.0
"""What a GPU is asked: one method a section of :mod:`robotseg_core.bench.gpu_report`, each fills a dictionary."""

from __future__ import annotations

import dataclasses
import functools
import platform
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from robotseg_core.bench.gpu_attention import Shape, compare
from robotseg_core.bench.gpu_document import TooLong
from robotseg_core.bench.gpu_step import (
    Agreement,
    DeviceStep,
    StepTimes,
    agreement,
    masks_of,
    stage_gbyte,
    stage_gflop,
    step_times,
    strict,
    whole_step,
)
from robotseg_core.bench.gpu_timing import Ceilings, ceilings, wait
from robotseg_core.bench.measure import hardware, pictures
from robotseg_core.config import BASE, NANO, ModelConfig
from robotseg_core.model.robotseg_model import RobotSegModel
from robotseg_core.stream.robotseg import RobotSeg
from robotseg_core.weights.load import load_weights
from robotseg_core.weights.seeded import load_golden_weights

SEED = 10
CLIP = Path(__file__).resolve().parents[2] / "demo" / "clip.mp4"
"""Frames to segment, in a checkout; elsewhere moving noise."""


@dataclasses.dataclass(frozen=True)
class Way:
    """One way to run a model: how its products are typed, and how its loop runs."""

    loop: str
    precision: str

    @property
    def name(self) -> str:
        """For tables."""
        return f"{self.loop} {self.precision}"


def clip_frames(count: int) -> list[NDArray[np.uint8]]:
    """RGB frames of the demo's clip, or moving noise where there is none."""
    frames: list[NDArray[np.uint8]] = []
    video = cv2.VideoCapture(str(CLIP))
    while len(frames) < count:
        good, frame = video.read()
        if not good:
            break
        frames.append(np.ascontiguousarray(np.asarray(frame, np.uint8)[..., ::-1]))
    return frames if len(frames) == count else (pictures(640, 480) * count)[:count]


@functools.lru_cache(8)
def weighted(config: ModelConfig) -> RobotSegModel:
    """Base with seeded random weights (its speed does not depend on them), nano with those shipped."""
    model = RobotSegModel(config)
    if config.name == "base":
        load_golden_weights(model, SEED)
    else:
        load_weights(model, config.name)
    return model


@dataclasses.dataclass
class Bench:
    """What the sections share."""

    device: torch.device
    count: int
    frames: int
    nano_sizes: tuple[int, ...]
    base: ModelConfig = BASE
    nano: ModelConfig = NANO
    ceilings: Ceilings | None = None
    save: Callable[[], None] = lambda: None

    def robotseg(self, model: RobotSegModel, way: Way) -> RobotSeg:
        """The model run in a way, by PyTorch alone."""
        return RobotSeg.of(
            model, device=self.device, backend="torch", source="benchmark", precision=way.precision, loop=way.loop
        )

    # ------------------------------------------------------------------------------------ sections
    def machine(self, found: dict[str, Any]) -> None:
        """What runs here."""
        found["hardware"] = hardware()
        found["versions"] = {"Python": platform.python_version(), "torch": torch.__version__, "OpenCV": cv2.__version__}
        if self.device.type == "cuda":
            properties = torch.cuda.get_device_properties(self.device)
            found["gpu"] = {
                "name": properties.name,
                "capability": f"{properties.major}.{properties.minor}",
                "multiprocessors": properties.multi_processor_count,
                "memory_gb": properties.total_memory / 1e9,
                "CUDA of PyTorch": torch.version.cuda,
                "cuDNN": torch.backends.cudnn.version(),
            }
        try:
            import triton

            found["versions"]["Triton"] = triton.__version__
        except ImportError:
            pass

    def measure_ceilings(self, found: dict[str, Any]) -> None:
        """Rates of this device in this run."""
        cuda = self.device.type == "cuda"
        self.ceilings = ceilings(self.device, 8192 if cuda else 512, (1 << 31) if cuda else (1 << 24))
        found.update(dataclasses.asdict(self.ceilings))

    def attention(self, found: dict[str, Any]) -> None:
        """Base's two attentions through every kernel."""
        config, n = self.base, self.base.grid**2
        keys = config.memory_frames * config.memory_grid**2 + config.max_pointers * config.pointer_tokens
        shapes = [
            Shape("cross attention, 3 parts", 3, n, keys, config.attention_dim, config.mem_dim),
            Shape("self-attention, 3 parts", 3, n, n, config.attention_dim, config.d_model),
        ]
        found["ways"] = []
        for shape in shapes:
            found.setdefault("gflop", {})[shape.name] = shape.gflop
            for way in compare(shape, self.device, torch.bfloat16, 3 if self.device.type == "cuda" else 1):
                found["ways"].append(dataclasses.asdict(way))

    def model(self, config: ModelConfig, ways: list[Way], found: dict[str, Any], *, reference: bool = True) -> None:
        """A model in several ways: the device's step and stages, the whole step, masks against float32."""
        model = weighted(config)
        found |= {"preset": config.name, "image_size": config.image_size, "rows": []}
        try:
            found["gflop"] = stage_gflop(config)
        except Exception as problem:
            found["gflop"], found["uncounted"] = {}, f"{type(problem).__name__}: {problem}"
        frames = clip_frames(self.frames)
        want: NDArray[np.bool_] | None = None
        for way in ways:
            robotseg: RobotSeg | None = None
            row: dict[str, Any] = {"way": way.name, "precision": way.precision}
            found["rows"].append(row)
            try:
                robotseg = self.robotseg(model, way)
                times: StepTimes = step_times(way.name, robotseg, self.count)
                row |= dataclasses.asdict(times) | {"encoder": type(robotseg.encoder).__name__}
                row["whole"] = dataclasses.asdict(whole_step(robotseg, frames, max(3, self.count // 2)))
                row["floor"] = self._floor(model, robotseg, found["gflop"], way.precision)
                if reference:
                    if want is None:
                        with strict():
                            want = masks_of(self.robotseg(model, Way("eager", "fp32")), frames)
                    agreed: Agreement = agreement(masks_of(robotseg, frames), want)
                    row["iou"] = dataclasses.asdict(agreed)
            except TooLong:
                raise
            except Exception as problem:
                row["failed"] = f"{type(problem).__name__}: {problem}"
                row["traceback"] = traceback.format_exc()
                print(row["traceback"], file=sys.stderr, flush=True)
            robotseg = None
            self.save()
        first = ways[0]
        if "failed" not in found["rows"][0]:
            one = step_times(f"{first.name}, one part", self.robotseg(model, first), self.count, ("robot",))
            found["one_part"] = dataclasses.asdict(one)

    def _floor(
        self, model: RobotSegModel, robotseg: RobotSeg, gflop: dict[str, float], precision: str
    ) -> dict[str, float]:
        """Least milliseconds of each stage: operations over the rate of their type, or bytes over the copy's."""
        if self.ceilings is None:
            return {}
        width = 4 if precision == "fp32" else 2
        config, keys = model.config, robotseg.time_keys
        # Keys and values of all lookups are read once.
        cells = 3 * config.memory_frames * config.memory_grid**2
        memory = cells * (len(keys) * keys.shape[-1] * keys.element_size() + 4 * config.mem_dim)
        gbyte = stage_gbyte(model, memory, width)
        halved = ("encoder", "memory_attention")
        return {
            stage: self.ceilings.floor_ms(
                gflop[stage], gbyte[stage], precision if stage in halved else "tf32" if precision != "fp32" else "fp32"
            )
            if precision in self.ceilings.tflops and "tf32" in self.ceilings.tflops
            else self.ceilings.floor_ms(gflop[stage], gbyte[stage], "fp32")
            for stage in gflop
        }

    def kernels(self, found: dict[str, Any]) -> None:
        """Which kernels the time of base's step goes to."""
        from torch.profiler import ProfilerActivity, profile

        step, steps = DeviceStep(self.robotseg(weighted(self.base), Way("graphs", "bf16"))), 3
        wait(self.device)
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
            for _ in range(steps):
                step()
            wait(self.device)
        rows = [
            (event.key[:110], event.count / steps, event.self_device_time_total / 1e3 / steps)
            for event in seen.key_averages()
            if event.self_device_time_total > 0 and event.device_type == torch.autograd.DeviceType.CUDA
        ]
        found["kernels"] = sorted(rows, key=lambda row: -row[2])[:40]
        found["sum_ms"], found["launches"] = sum(row[2] for row in rows), sum(row[1] for row in rows)

    def compiled(self, config: ModelConfig, found: dict[str, Any]) -> None:
        """The same graphs of what ``torch.compile`` makes of encoder and loop."""
        import torch._dynamo

        torch._dynamo.config.suppress_errors = True
        torch._dynamo.config.recompile_limit = 64
        if self.device.type != "cuda":
            raise RuntimeError("torch.compile before CUDA graphs is for CUDA")
        model = weighted(config)
        times = step_times("compiled bf16", self.robotseg(model, Way("compiled", "bf16")), self.count)
        found |= {"preset": config.name, "image_size": config.image_size}
        found["rows"] = [dataclasses.asdict(times) | {"way": "compiled bf16", "precision": "bf16"}]

    def tensorrt(self, found: dict[str, Any]) -> None:
        """The encoder as a TensorRT engine, where it is installed."""
        try:
            import tensorrt
        except ImportError as error:
            found["skipped"] = f"TensorRT is not installed here ({error})"
            return
        found["version"] = tensorrt.__version__
        model, found["rows"] = weighted(self.base), []
        for precision in ("fp16", "fp32"):
            robotseg = RobotSeg.of(
                model, device=self.device, backend="tensorrt", source="benchmark", precision=precision, loop="graphs"
            )
            times = step_times(f"TensorRT {precision}", robotseg, self.count)
            found["rows"].append(dataclasses.asdict(times) | {"way": times.name, "precision": precision})
