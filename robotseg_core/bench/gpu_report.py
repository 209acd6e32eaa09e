# SPDX-License-Identifier: Apache-2.0
"""``robotseg bench --gpu-report OUT``: all that a GPU is asked, in one run of less than 100 seconds.

Sections run one after the other and each is guarded: what fails leaves its traceback in the report, and the next one
begins.  ``OUT/gpu.json`` and ``OUT/gpu.md`` are written after every section, so that a run that is cut off has lost
nothing.  What takes long to begin (``torch.compile``) comes last, each in a box of time.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import logging
import os
import platform
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from robotseg_core.bench.gpu_attention import Shape, compare
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
from robotseg_core.bench.gpu_table import markdown
from robotseg_core.bench.gpu_timing import Ceilings, ceilings, wait
from robotseg_core.bench.measure import hardware, pictures
from robotseg_core.config import BASE, NANO, HieraConfig, ModelConfig
from robotseg_core.model.robotseg_model import RobotSegModel
from robotseg_core.stream.robotseg import RobotSeg, chosen_device
from robotseg_core.weights.load import load_weights
from robotseg_core.weights.seeded import load_golden_weights

SEED = 10
CLIP = Path(__file__).resolve().parents[2] / "demo" / "clip.mp4"
"""Frames to segment, in a checkout; elsewhere moving noise."""
SECONDS = 100.0
FULL_SECONDS = 600.0
NANO_SIZES = (320, 448, 640)
TINY = dataclasses.replace(
    BASE,
    image_size=64,
    encoder=HieraConfig(embed_dim=8),
    fpn_channels=(32, 32, 32),
    d_model=32,
    mem_dim=8,
    memory_layers=1,
    attention_dim=32,
    memory_ffn=64,
    decoder_ffn=64,
    head_hidden=32,
    mask_channels=(2, 4, 8, 16),
    memory_frames=3,
    max_pointers=4,
)
"""In base's place on a CPU, where the report only shows that it runs."""


@dataclasses.dataclass(frozen=True)
class Way:
    """One way to run a model: how its products are typed, and how its loop runs."""

    loop: str
    precision: str

    @property
    def name(self) -> str:
        """For tables."""
        return f"{self.loop} {self.precision}"


class TooLong(Exception):
    """A section has used up its box of time."""


@contextmanager
def box(seconds: float) -> Iterator[None]:
    """Raise :class:`TooLong` in the main thread after so many seconds."""

    def end(number: int, frame: object) -> None:
        raise TooLong(f"not done within its box of {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, max(1.0, seconds))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class _Notes(logging.Handler):
    """Warnings of the product while a section runs: what fell back to something slower."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


class Report:
    """Sections by name, on disk after each."""

    def __init__(self, folder: Path, seconds: float) -> None:
        self.folder, self._seconds, self._began = folder, seconds, time.perf_counter()
        folder.mkdir(parents=True, exist_ok=True)
        self.data: dict[str, Any] = {"seconds_allowed": seconds, "sections": {}}

    @property
    def left(self) -> float:
        """Seconds left."""
        return self._seconds - (time.perf_counter() - self._began)

    def section(
        self, name: str, work: Callable[[dict[str, Any]], None], *, needs: float = 3.0, most: float = 1e9
    ) -> None:
        """Run ``work``, which fills a dictionary, for ``most`` seconds; skipped where less than ``needs`` are left."""
        found: dict[str, Any] = {}
        self.data["sections"][name] = found
        if self.left < needs:
            found["skipped"] = f"{self.left:.0f} s were left, it takes about {needs:.0f}"
        else:
            notes, began = _Notes(), time.perf_counter()
            logging.getLogger("robotseg_core").addHandler(notes)
            try:
                with box(min(self.left, most)):
                    work(found)
            except Exception as problem:
                found["failed"] = f"{type(problem).__name__}: {problem}"
                found["traceback"] = traceback.format_exc()
            finally:
                logging.getLogger("robotseg_core").removeHandler(notes)
                if notes.lines:
                    found["notes"] = list(dict.fromkeys(notes.lines))
                found["took_s"] = round(time.perf_counter() - began, 1)
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()
        self.write()
        state = found.get("failed") or found.get("skipped") or "done"
        print(f"[{time.perf_counter() - self._began:6.1f} s] {name}: {state}", flush=True)
        if "traceback" in found:
            print(found["traceback"], file=sys.stderr, flush=True)

    def write(self) -> None:
        """Both files, complete or as they were."""
        self.data["seconds_taken"] = round(time.perf_counter() - self._began, 1)
        for name, text in (("gpu.json", json.dumps(self.data, indent=1)), ("gpu.md", markdown(self.data))):
            partial = self.folder / f".{name}.part"
            partial.write_text(text + "\n")
            os.replace(partial, self.folder / name)


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


def report(bench: Bench, folder: Path, seconds: float, *, full: bool) -> Report:
    """All sections in the order of their worth."""
    out = Report(folder, seconds)
    bench.save = out.write
    cuda = bench.device.type == "cuda"
    ways = [Way("eager", "bf16"), Way("eager", "fp32")]
    if cuda:
        ways = [Way("graphs", "bf16"), ways[0], Way("graphs", "fp16"), Way("graphs", "fp32"), ways[1]]
    few = ways if full else [way for way in ways if way.precision != "fp16"]
    sizes = {size: dataclasses.replace(bench.nano, image_size=size) for size in bench.nano_sizes}
    out.section("machine", bench.machine, needs=0)
    out.section("ceilings", bench.measure_ceilings)
    out.section("base", lambda found: bench.model(bench.base, ways, found), needs=8, most=seconds / 2)
    out.section("attention", bench.attention, needs=8, most=seconds / 3)
    for size, config in sizes.items():
        out.section(f"nano {size}", lambda found, c=config: bench.model(c, few, found), needs=5, most=seconds / 5)  # type: ignore[misc]
    if cuda:
        out.section("base, kernels", bench.kernels, needs=6)
    out.section("TensorRT", bench.tensorrt, needs=2)
    if cuda:
        out.section("base, compiled", lambda found: bench.compiled(bench.base, found), needs=15)
        for size, config in sizes.items() if full else ():
            out.section(f"nano {size}, compiled", lambda found, c=config: bench.compiled(c, found), needs=20)  # type: ignore[misc]
    return out


def run(arguments: argparse.Namespace) -> int:
    """Write the report; the exit status is 1 where a section failed."""
    device = torch.device(chosen_device(arguments.device))
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device is {arguments.device!r}, but PyTorch finds no CUDA device here")
    full = bool(arguments.full)
    bench = Bench(device, 100 if full else 30, 30 if full else 8, NANO_SIZES)
    if device.type == "cpu":
        # To see that it runs: a GPU's work is too much for a processor.
        bench = dataclasses.replace(bench, count=1, frames=2, nano_sizes=(64,), base=TINY)
    seconds = arguments.seconds or (FULL_SECONDS if full or device.type == "cpu" else SECONDS)
    out = report(bench, arguments.gpu_report, seconds, full=full)
    print(f"\n{markdown(out.data)}\n\n{out.folder / 'gpu.json'}, {out.folder / 'gpu.md'}")
    return int(any("failed" in found for found in out.data["sections"].values()))
