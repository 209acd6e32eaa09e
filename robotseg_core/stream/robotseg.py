# SPDX-License-Identifier: Apache-2.0
"""The streaming core's entry: load a model once, open a stream per camera, step through its frames."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from robotseg_core.backends.calibration import find_sheet
from robotseg_core.backends.choose import CPU_PRECISIONS, make_encoder, profits_from_int8
from robotseg_core.backends.encoder import EncoderBackend, Graph
from robotseg_core.backends.graphed_encoder import graphed_or_plain as graphed_encoder
from robotseg_core.backends.onnxruntime_encoder import OnnxGraph
from robotseg_core.backends.openvino_encoder import OpenVinoEncoder, OpenVinoSession, loop_precision
from robotseg_core.backends.torch_encoder import TorchEncoder
from robotseg_core.config import MAX_BATCH, PRESETS
from robotseg_core.masks.hygiene import Hygiene
from robotseg_core.model.robotseg_model import Features, RobotSegModel
from robotseg_core.stream.frame_state import EncodedFrame
from robotseg_core.stream.loops.cuda_loop import graphed_or_plain as graphed_loop
from robotseg_core.stream.loops.loop import Loop
from robotseg_core.stream.loops.onnx_loop import make_loop
from robotseg_core.stream.loops.torch_loop import TorchLoop
from robotseg_core.stream.memory_bank import MemoryBank
from robotseg_core.stream.policy import NEVER, POLICIES, StreamPolicy
from robotseg_core.stream.preprocess import check_frame, frame_tensor, frame_to_device
from robotseg_core.stream.stage_clock import StageClock
from robotseg_core.stream.stream import Stream
from robotseg_core.types import PARTS
from robotseg_core.weights.adapter import Adapter, apply_adapter, read_adapter
from robotseg_core.weights.load import load_weights

log = logging.getLogger(__name__)

PRECISIONS: dict[str, torch.dtype | None] = {
    "fp32": None,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "int8": None,
}
"""Types of products by name, as PyTorch computes them; None: no change.  int8 is the encoder's alone."""
LOOPS = ("auto", "eager", "graphs", "compiled")
"""How all but the encoder runs, see :meth:`RobotSeg.of`."""


class RobotSeg:
    """A loaded model; streams share it."""

    def __init__(
        self,
        model: RobotSegModel,
        encoder: EncoderBackend,
        device: torch.device,
        source: str,
        *,
        sha256: str = "",
        precision: str = "fp32",
        memory_frames: int | None = None,
        encoder_batch: int = 1,
        graphs: bool = False,
        loop: str = "auto",
        adapter: Adapter | None = None,
        threads: int | None = None,
        hygiene: bool | None = None,
    ) -> None:
        limit = model.config.memory_frames
        self.memory_frames = limit if memory_frames is None else memory_frames
        if not 1 <= self.memory_frames <= limit:
            raise ValueError(f"memory_frames is {memory_frames}, must be 1 to {limit}")
        check_precision(precision, device)
        self.model, self.encoder, self._device = model, encoder, device
        self.source, self.sha256, self.precision, self._graphs = source, sha256, precision, graphs
        self._loop, self.adapter = loop, adapter
        self._threads = chosen_threads(threads)
        self._hygiene = hygiene
        self.encoder_batch = encoder_batch
        self._loops: dict[tuple[int, ...], Loop] = {}
        # Constant for all frames: computed once.
        # Graphs keep float32 at their borders, whatever they compute in.
        dtype = None if graphs and device.type == "cpu" else PRECISIONS[precision]
        with torch.inference_mode():
            self.time_keys = model.time_keys().to(dtype or torch.float32)

    @classmethod
    def load(
        cls,
        preset: str = "nano",
        *,
        device: str = "auto",
        backend: str = "auto",
        weights: str | Path | None = None,
        adapter: str | Path | None = None,
        image_size: int | None = None,
        precision: str = "auto",
        memory_frames: int | None = None,
        encoder_batch: int = 1,
        warm: bool = True,
        loop: str = "auto",
        threads: int | None = None,
        hygiene: bool | None = None,
    ) -> RobotSeg:
        """Load a preset.

        Args:
            preset: ``nano`` or ``base``.
            device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; auto takes CUDA where it works.
            backend: of the encoder: ``auto``, ``torch``, ``onnxruntime``, ``openvino`` or ``tensorrt``.
            weights: file to load; None takes the shipped weights of nano.
            adapter: name or file of what one robot adds to these weights (:mod:`robotseg_core.weights.adapter`); None:
                nothing.
            image_size: side of the model's square input, pixels, a multiple of 32; None takes the preset's.
            precision: of the memory attention, and on CUDA of the encoder (98 % of base's work): ``fp32``,
                ``bf16``, or ``fp16`` where the device can; all else is float32.  ``int8``: nano's encoder in 8 bits
                on a CPU.  ``auto``: int8 for nano on processors that profit (VNNI or better), else fp32.
            memory_frames: frames that a frame looks up, 1 to the preset's; None takes the preset's.
            encoder_batch: frames at once that :meth:`encode_frames` must take, 1 to 8: one of each camera.
            warm: whether to :meth:`warm_up`; without it the first frames take longer.
            loop: how all but the encoder runs, see :meth:`of`.
            threads: of ONNX Runtime and OpenVINO; None: one for each core that this process may use.
            hygiene: whether streams take specks and holes out of their masks (:mod:`robotseg_core.masks.hygiene`);
                None: as the preset's policy has it, nano does, base does not.

        Raises:
            ValueError: unknown preset, loop, device, backend or precision; another argument out of its range.
            WeightsError: absent, damaged or unfit weights, or an adapter of others; the message says what to do.
        """
        if preset not in PRESETS:
            raise ValueError(f"preset is {preset!r}, must be one of {tuple(PRESETS)}")
        device = chosen_device(device)
        try:
            place = torch.device(device)
        except RuntimeError as error:
            raise ValueError(f"device is {device!r}, must be auto, cpu, cuda or cuda:N") from error
        if place.type == "cuda" and not torch.cuda.is_available():
            raise ValueError(f"device is {device!r}, but PyTorch finds no CUDA device here")
        precision = chosen_precision(precision, preset, place, backend)
        check_precision(precision, place)
        check_loop(loop, place)
        if not 1 <= encoder_batch <= MAX_BATCH:
            raise ValueError(f"encoder_batch is {encoder_batch}, must be 1 to {MAX_BATCH}")
        config = PRESETS[preset]
        if image_size is not None:
            if not 64 <= image_size <= 2048:
                raise ValueError(f"image_size is {image_size}, must be 64 to 2048")
            config = dataclasses.replace(config, image_size=image_size)
        added = None if adapter is None else read_adapter(adapter)
        model = RobotSegModel(config)
        loaded = load_weights(model, weights if weights is not None else preset)
        if added is not None:
            apply_adapter(model, added, loaded.sha256)
        robotseg = cls.of(
            model,
            device=place,
            backend=backend,
            source=str(loaded.path),
            sha256=loaded.sha256,
            precision=precision,
            memory_frames=memory_frames,
            encoder_batch=encoder_batch,
            loop=loop,
            adapter=added,
            threads=threads,
            hygiene=hygiene,
        )
        if warm:
            robotseg.warm_up()
        return robotseg

    @classmethod
    def of(
        cls,
        model: RobotSegModel,
        *,
        device: torch.device,
        backend: str,
        source: str,
        sha256: str = "",
        precision: str = "fp32",
        memory_frames: int | None = None,
        encoder_batch: int = 1,
        loop: str = "auto",
        adapter: Adapter | None = None,
        threads: int | None = None,
        hygiene: bool | None = None,
    ) -> RobotSeg:
        """The same of a model that has its weights; ``source``, ``sha256`` and ``adapter`` say which.

        ``loop``: how all but the encoder runs, one of :data:`LOOPS`.  ``auto``: as graphs where that is faster and
        works, ONNX Runtime's on a CPU, on CUDA those of CUDA (and the encoder as well); ``eager``: operator by
        operator; ``graphs`` and ``compiled``, for CUDA: its graphs or nothing, without and with ``torch.compile``
        before them.

        Raises:
            ValueError: unknown loop, or one that the device does not know.
            RuntimeError: ``graphs`` or ``compiled`` was asked for and cannot be recorded.
        """
        check_loop(loop, device)
        model = model.eval().requires_grad_(False).to(device)
        if precision == "bf16" and backend == "auto" and device.type == "cuda":
            # Our TensorRT graph knows float16 and float32 only.
            backend = "torch"
        inside = precision if device.type == "cuda" and backend in ("auto", "tensorrt") else "fp32"
        if precision == "int8" or (precision == "bf16" and device.type == "cpu" and backend == "openvino"):
            inside = precision
        encoder = make_encoder(model, backend, device, chosen_threads(threads), precision=inside, batch=encoder_batch)
        if device.type == "cuda" and encoder.name == TorchEncoder.name and loop != "eager":
            encoder = graphed_encoder(model, device, PRECISIONS[precision], loop)
        graphs = loop != "eager"
        if device.type == "cpu":
            graphs = graphs and precision in CPU_PRECISIONS.get(encoder.name, ())
        return cls(
            model,
            encoder,
            device,
            source,
            sha256=sha256,
            precision=precision,
            memory_frames=memory_frames,
            encoder_batch=encoder_batch,
            graphs=graphs,
            loop=loop,
            adapter=adapter,
            threads=threads,
            hygiene=hygiene,
        )

    @torch.inference_mode()
    def warm_up(self) -> None:
        """Step through every stage, so that no camera frame waits for first-time set-up."""
        stream = self.stream()
        black = np.zeros((480, 640, 3), np.uint8)
        if not self._graphs or self._device.type != "cpu":
            # A first frame takes another way there.
            stream.step(black)
        stream.fill_memory()
        # One of them enters the memory.
        for _ in range(stream.policy.remember_every):
            stream.step(black)
        if self.encoder_batch > 1:
            self.encode_frames([black] * self.encoder_batch)

    @property
    def loaded(self) -> str:
        """What was loaded and where it runs, in one line for people."""
        digest = f" (SHA-256 {self.sha256})" if self.sha256 else ""
        added = f", adapter {self.adapter.name} (SHA-256 {self.adapter.sha256})" if self.adapter else ""
        return f"{self.preset} on {self.device}, encoder {self.backend}, weights {self.source}{digest}{added}"

    @property
    def robot(self) -> str:
        """Name of the robot whose adapter was loaded; empty: none was."""
        return self.adapter.name if self.adapter else ""

    @property
    def preset(self) -> str:
        """Name of the preset."""
        return self.model.config.name

    @property
    def device(self) -> str:
        """Device of the model, e.g. ``cpu`` or ``cuda:0``."""
        return str(self._device)

    @property
    def backend(self) -> str:
        """Encoder backend in use, and its precision where that is not float32."""
        return f"{self.encoder.name} int8" if self.precision == "int8" else self.encoder.name

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """Within it, products are of the model's precision."""
        dtype = PRECISIONS[self.precision]
        return torch.autocast(self._device.type, dtype) if dtype else contextlib.nullcontext()

    def encode(self, image: torch.Tensor) -> Features:
        """Normalised images [B, 3, S, S] -> float32 features."""
        with self.autocast() if self._device.type == "cuda" else contextlib.nullcontext():
            features = self.encoder.encode(image)
        return Features(features.h4.float(), features.h8.float(), features.f16.float())

    @torch.inference_mode()
    def encode_frames(self, frames: Sequence[NDArray[np.uint8]]) -> list[EncodedFrame]:
        """Frames of different cameras, [H, W, 3] uint8 RGB, through the encoder at once.

        Each then goes on in its own stream, by :meth:`Stream.step_encoded`.  The encoder's time is booked on each of
        them in full: each has waited for all.

        Raises:
            ValueError: shape, type or size of a frame is off, or the backend does not take so many.
        """
        most = self.encoder.max_batch
        if most is not None and len(frames) > most:
            raise ValueError(f"{len(frames)} frames at once, the encoder ({self.backend}) takes {most} at most")
        for frame in frames:
            check_frame(frame)
        images, clocks = [], []
        for frame in frames:
            clock = StageClock(self._device)
            images.append(self._prepared(frame))
            clock.lap("preprocess")
            clocks.append(clock)
        for clock in clocks:
            clock.skip()
        features = self.encode(images[0] if len(images) == 1 else torch.cat(images))
        encoded = []
        for i, (frame, image, clock) in enumerate(zip(frames, images, clocks, strict=True)):
            clock.lap("encoder")
            own = slice(i, i + 1)
            one = Features(h4=features.h4[own], h8=features.h8[own], f16=features.f16[own])
            encoded.append(EncodedFrame((frame.shape[0], frame.shape[1]), image, one, clock))
        return encoded

    def _prepared(self, frame: NDArray[np.uint8]) -> torch.Tensor:
        """The model's input on its device; on a CPU Pillow itself is the fastest way to Pillow's bytes."""
        size, exact = self.model.config.image_size, self.model.config.name == "base"
        if self._device.type == "cpu":
            return frame_tensor(frame, size, exact=exact)
        return frame_to_device(frame, size, exact=exact, device=self._device)

    def loop(self, bank: MemoryBank) -> Loop:
        """What runs after the encoder with a memory of this size, made once."""
        plain = TorchLoop(self.model, self.autocast)
        if not self._graphs:
            return plain
        if self._device.type == "cuda":
            # Graphs know where the memory lies: each stream has its own.
            return graphed_loop(self.model, bank, PRECISIONS[self.precision], plain, self._loop)
        shape = tuple(bank.features.shape)
        if shape not in self._loops:
            threads = self._threads
            opened: Callable[[bytes], Graph] = functools.partial(OnnxGraph, threads=threads)
            if self.encoder.name == OpenVinoEncoder.name:
                opened = functools.partial(OpenVinoSession, threads=threads, precision=loop_precision(self.precision))
            self._loops[shape] = make_loop(self.model, bank, self.time_keys, opened)
        return self._loops[shape]

    def stream(self, policy: StreamPolicy | None = None, *, parts: tuple[str, ...] = PARTS) -> Stream:
        """Open a stream with a memory of its own.

        Args:
            policy: None takes the preset's.
            parts: the parts wanted, in the order of :data:`PARTS`, the robot among them; fewer cost less.
        """
        return Stream(self, policy or self.policy, parts)

    @property
    def policy(self) -> StreamPolicy:
        """What a stream does where no other policy is given: the preset's, with or without hygiene as asked for."""
        policy = POLICIES.get(self.preset, StreamPolicy())
        if self._hygiene is None:
            return policy
        return dataclasses.replace(policy, hygiene=Hygiene() if self._hygiene else None)

    def target_stream(self) -> Stream:
        """Open a stream with a memory of one target, to be prompted before its first step; its part is "robot".

        Its memory is neither dropped nor rebuilt from what is found without it: that would be the robot, not the
        target.  Specks stay: several small things may have been asked for.  Targets come and go, so nothing is
        exported or recorded for it: it runs operator by operator.
        """
        policy = dataclasses.replace(self.policy, lost_after=NEVER, refresh_after=0, hygiene=None)
        return Stream(self, policy, ("robot",), loop=TorchLoop(self.model, self.autocast))


def chosen_threads(threads: int | None) -> int:
    """Number of threads; None: the cores that this process may use."""
    if threads is None:
        return len(os.sched_getaffinity(0))
    if not 1 <= threads <= 1024:
        raise ValueError(f"threads is {threads}, must be 1 to 1024")
    return threads


def chosen_device(device: str) -> str:
    """The device of ``auto``: CUDA where it works, else the CPU; any other is as it is."""
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device


def chosen_precision(precision: str, preset: str, device: torch.device, backend: str) -> str:
    """The precision of ``auto``: int8 for nano's encoder on a CPU that profits, else fp32; any other is as it is."""
    if precision != "auto":
        return precision
    if preset != "nano" or device.type != "cpu" or backend == "torch" or not profits_from_int8():
        return "fp32"
    try:
        find_sheet()
    except FileNotFoundError as error:
        log.warning("%s; the encoder runs in float32", error)
        return "fp32"
    return "int8"


def check_loop(loop: str, device: torch.device) -> None:
    """Raise ValueError where a loop is unknown or not for the device."""
    if loop not in LOOPS:
        raise ValueError(f"loop is {loop!r}, must be one of {LOOPS}")
    if loop in ("graphs", "compiled") and device.type != "cuda":
        raise ValueError(f"loop is {loop!r}, which is for CUDA; the device is {device}")


def check_precision(precision: str, device: torch.device) -> None:
    """Raise ValueError where a precision is unknown or the device has no arithmetic for it."""
    if precision not in PRECISIONS:
        raise ValueError(f"precision is {precision!r}, must be one of {tuple(PRECISIONS)}")
    if precision == "int8" and device.type != "cpu":
        raise ValueError(f"precision is 'int8', which is for CPUs, device is {device}; take fp16 or bf16")
    if precision == "fp16" and device.type == "cpu" and not torch.cpu.get_capabilities().get("avx512_fp16", False):
        raise ValueError("precision is 'fp16', for which this processor has no arithmetic; take bf16 or fp32")
