# SPDX-License-Identifier: Apache-2.0
"""The streaming core's entry: load a model once, open a stream per camera, step through its frames."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from robotseg_core.backends.encoder import EncoderBackend
from robotseg_core.config import MAX_BATCH
from robotseg_core.masks.hygiene import Hygiene
from robotseg_core.model.robotseg_model import Features, RobotSegModel
from robotseg_core.stream.choices import (
    PRECISIONS,
    check_loop,
    check_precision,
    chosen_config,
    chosen_encoder,
    chosen_precision,
    chosen_threads,
    runs_as_graphs,
    usable_device,
)
from robotseg_core.stream.encoding import encode_frames
from robotseg_core.stream.frame_state import EncodedFrame
from robotseg_core.stream.loops.chosen import Loops, Way
from robotseg_core.stream.loops.loop import Loop
from robotseg_core.stream.memory_bank import MemoryBank
from robotseg_core.stream.policy import NEVER, POLICIES, StreamPolicy
from robotseg_core.stream.stream import Stream
from robotseg_core.types import PARTS
from robotseg_core.weights.adapter import Adapter, apply_adapter, read_adapter
from robotseg_core.weights.load import load_weights


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
        self.adapter, self._hygiene, self.encoder_batch = adapter, hygiene, encoder_batch
        # Constant for all frames: computed once.
        # Graphs keep float32 at their borders, whatever they compute in.
        dtype = None if graphs and device.type == "cpu" else PRECISIONS[precision]
        with torch.inference_mode():
            self.time_keys = model.time_keys().to(dtype or torch.float32)
        way = Way(precision, loop, graphs, chosen_threads(threads))
        self._loops = Loops(model, encoder, self.time_keys, self.autocast, way)

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
        config = chosen_config(preset, image_size)
        place = usable_device(device)
        precision = chosen_precision(precision, preset, place, backend)
        check_precision(precision, place)
        check_loop(loop, place)
        if not 1 <= encoder_batch <= MAX_BATCH:
            raise ValueError(f"encoder_batch is {encoder_batch}, must be 1 to {MAX_BATCH}")
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

        ``loop``: how all but the encoder runs, one of :data:`~robotseg_core.stream.choices.LOOPS`.  ``auto``: as graphs
        where that is faster and works, ONNX Runtime's on a CPU, on CUDA those of CUDA (and the encoder as well);
        ``eager``: operator by operator; ``graphs`` and ``compiled``, for CUDA: its graphs or nothing, without and with
        ``torch.compile`` before them.

        Raises:
            ValueError: unknown loop, or one that the device does not know.
            RuntimeError: ``graphs`` or ``compiled`` was asked for and cannot be recorded.
        """
        check_loop(loop, device)
        model = model.eval().requires_grad_(False).to(device)
        threads = chosen_threads(threads)
        encoder = chosen_encoder(
            model, device, backend=backend, precision=precision, loop=loop, threads=threads, batch=encoder_batch
        )
        return cls(
            model,
            encoder,
            device,
            source,
            sha256=sha256,
            precision=precision,
            memory_frames=memory_frames,
            encoder_batch=encoder_batch,
            graphs=runs_as_graphs(encoder, device, precision, loop),
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
        return encode_frames(frames, self.encode, self.model.config, self._device)

    def loop(self, bank: MemoryBank) -> Loop:
        """What runs after the encoder with a memory of this size, made once."""
        return self._loops.of(bank)

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
        policy = dataclasses.replace(self.policy, lost_after=NEVER, refresh_after=0, clicks_refine=False, hygiene=None)
        return Stream(self, policy, ("robot",), loop=self._loops.plain)
