# SPDX-License-Identifier: Apache-2.0
"""The streaming core: load a model once, open a stream per camera, step through its frames.

A frame goes one way: preprocess, encoder, memory attention, prompt generator, decoder, masks, memory.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robotseg_core.config import PRESETS
from robotseg_core.encoder_backend import EncoderBackend, make_encoder
from robotseg_core.mask_decoder import ABSENT_LOGIT
from robotseg_core.memory_bank import MemoryBank
from robotseg_core.model import Conditioned, Features, RobotSegModel
from robotseg_core.postprocess import part_masks
from robotseg_core.preprocess import frame_tensor
from robotseg_core.structure import edges
from robotseg_core.types import PARTS, PartMasks, Prompt, PromptKind, StageTimes, State
from robotseg_core.weights import load_weights

log = logging.getLogger(__name__)

MAX_SIDE = 8192
"""Largest side of a frame that a stream accepts, pixels."""


@dataclass(frozen=True)
class StreamPolicy:
    """When a stream trusts, doubts and forgets.

    Attributes:
        min_presence: while the robot's score is below this, no part is taken as in view.  0 is the reference's
            rule, which looks at the sign of each object logit alone.
        min_score: below this predicted quality of the robot mask the state is DEGRADED.
        max_coverage: a part that covers more of the image than this is not taken as its first memory.
        lost_after: frames without a part after which its memory is dropped, so that it is searched afresh.
        refresh_after: frames after which all memory is dropped and rebuilt from the frame at hand, so that no
            wrong mask is kept for ever; 0 never.
    """

    min_presence: float = 0.0
    min_score: float = 0.5
    max_coverage: float = 0.9
    lost_after: int = 15
    refresh_after: int = 300


POLICIES: dict[str, StreamPolicy] = {"nano": StreamPolicy(min_presence=0.1)}
"""Policies of presets that need another one than the default."""


class RobotSeg:
    """A loaded model; streams share it."""

    def __init__(self, model: RobotSegModel, encoder: EncoderBackend, device: torch.device, source: str) -> None:
        self.model, self.encoder, self._device = model, encoder, device
        self.source = source
        # Constant for all frames: computed once.
        with torch.inference_mode():
            self.part_rows = torch.arange(len(PARTS), device=device)
            self.time_keys = model.time_keys()

    @classmethod
    def load(
        cls,
        preset: str = "nano",
        *,
        device: str = "auto",
        backend: str = "auto",
        weights: str | Path | None = None,
        image_size: int | None = None,
    ) -> RobotSeg:
        """Load a preset.

        Args:
            preset: ``nano`` or ``base``.
            device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; auto takes CUDA where it works.
            backend: of the encoder: ``auto``, ``torch``, ``onnxruntime`` or ``tensorrt``.
            weights: file to load; None takes the shipped weights of nano.
            image_size: side of the model's square input, pixels, a multiple of 32; None takes the preset's.

        Raises:
            ValueError: unknown preset, device or backend, image_size off.
            WeightsError: absent, damaged or unfit weights; the message says what to do.
        """
        if preset not in PRESETS:
            raise ValueError(f"preset is {preset!r}, must be one of {tuple(PRESETS)}")
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            place = torch.device(device)
        except RuntimeError as error:
            raise ValueError(f"device is {device!r}, must be auto, cpu, cuda or cuda:N") from error
        if place.type == "cuda" and not torch.cuda.is_available():
            raise ValueError(f"device is {device!r}, but PyTorch finds no CUDA device here")
        config = PRESETS[preset]
        if image_size is not None:
            if not 64 <= image_size <= 2048:
                raise ValueError(f"image_size is {image_size}, must be 64 to 2048")
            config = dataclasses.replace(config, image_size=image_size)
        model = RobotSegModel(config)
        load_weights(model, weights if weights is not None else preset)
        model = model.eval().requires_grad_(False).to(place)
        encoder = make_encoder(model, backend, place, threads=len(os.sched_getaffinity(0)))
        robotseg = cls(model, encoder, place, str(weights or preset))
        robotseg.warm_up()
        return robotseg

    @torch.inference_mode()
    def warm_up(self) -> None:
        """Step twice, the second time with a memory, so that no camera frame waits for first-time set-up."""
        stream = self.stream()
        black = np.zeros((480, 640, 3), np.uint8)
        stream.step(black)
        stream.fill_memory()
        stream.step(black)

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
        """Encoder backend in use."""
        return self.encoder.name

    def stream(self, policy: StreamPolicy | None = None) -> Stream:
        """Open a stream with a memory of its own."""
        return Stream(self, policy or POLICIES.get(self.preset, StreamPolicy()))


class StageClock:
    """Wall time between the stages of a step, ms."""

    def __init__(self) -> None:
        self.times: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """Book the time since the last lap on ``stage``."""
        now = time.perf_counter()
        self.times[stage] = self.times.get(stage, 0.0) + 1e3 * (now - self._last)
        self._last = now


class Stream:
    """One camera's frames in order.  Not thread-safe: one thread steps a stream."""

    def __init__(self, robotseg: RobotSeg, policy: StreamPolicy) -> None:
        self.robotseg, self.policy = robotseg, policy
        model = robotseg.model
        self.bank = MemoryBank(
            model.config,
            len(PARTS),
            torch.device(robotseg.device),
            torch.float32,
            robotseg.time_keys,
            model.config.memory_frames,
        )
        self._prompts: list[Prompt] = []
        self.reset()

    def reset(self) -> None:
        """Forget everything; the next frame is a first frame."""
        self.bank.reset()
        self._prompts.clear()
        self._frame = 0
        self._since_refresh = 0
        self._absent = np.zeros(len(PARTS), np.int64)
        self._seen_robot = False

    def prompt(self, prompt: Prompt) -> None:
        """Take a user's hint into account at the next step.

        RESET acts at once and takes back what was asked for its part since the last step.  A prompted part starts
        its memory anew from the prompted frame.  Of several boxes for a part the last one counts.  Points outside
        the frame and boxes that do not overlap it are left out, with a warning.
        """
        if prompt.kind is PromptKind.RESET:
            self._prompts = [p for p in self._prompts if p.part != prompt.part]
            self.bank.reset(PARTS.index(prompt.part))
            self._absent[PARTS.index(prompt.part)] = 0
        else:
            self._prompts.append(prompt)

    @torch.inference_mode()
    def fill_memory(self) -> None:
        """Fill the memory with blanks, as if many frames had been seen: for warm-up and benchmarks."""
        self.reset()
        bank, config = self.bank, self.robotseg.model.config
        features, tokens, pointer = (
            torch.zeros_like(x[:, 0]) for x in (bank.features, bank.object_tokens, bank.pointers)
        )
        keys = self.robotseg.model.frame_keys(features)
        for self._frame in range(max(config.memory_frames, config.max_pointers)):
            bank.store(self._frame, features, keys, tokens, pointer, np.full(len(PARTS), self._frame == 0))
        self._frame += 1

    @torch.inference_mode()
    def step(self, frame: NDArray[np.uint8], stamp: int = 0) -> PartMasks:
        """Segment one frame.

        Args:
            frame: [H, W, 3] uint8 RGB.
            stamp: nanoseconds, returned unchanged.

        Raises:
            ValueError: shape, type or size of the frame is off; the stream is as it was before.
        """
        check_frame(frame)
        clock = StageClock()
        model, config = self.robotseg.model, self.robotseg.model.config
        height, width = frame.shape[:2]
        image = frame_tensor(frame, config.image_size, exact=config.name == "base").to(self.bank.features.device)
        clock.lap("preprocess")
        features = self.robotseg.encoder.encode(image)
        clock.lap("encoder")
        if self.policy.refresh_after and self._since_refresh >= self.policy.refresh_after:
            self.bank.reset()
            self._since_refresh = 0
        memory = self.bank.view(self._frame)
        if memory is None:
            conditioned = model.initial(features, len(PARTS))
        else:
            conditioned = model.condition(features, edges(image, config), memory)
        clock.lap("memory_attention")
        candidates = model.decode(features, conditioned, self.robotseg.part_rows)
        choice = model.choose(candidates)
        logits, iou, object_logit = self._doubt(choice.logits, choice.iou, candidates.object_logit)
        pointer = model.pointer(choice, object_logit)
        prompted = np.zeros(len(PARTS), bool)
        for row, points in self._take_prompts(width, height):
            self._decode_prompted(row, points, features, conditioned, (logits, iou, object_logit, pointer))
            prompted[row] = True
        clock.lap("decoder")
        present, scores, low = self._to_host(logits, iou, object_logit)
        masks = part_masks(low, scores, height, width)
        clock.lap("postprocess")
        started = self._newly_started(present, prompted, [mask.area / (height * width) for mask in masks])
        self._remember(features, logits, object_logit, pointer, started, clock)
        state = self._advance(present, masks[2].present, float(scores[2]), masks[2].area / (height * width))
        return PartMasks(stamp=stamp, state=state, parts=masks, stage_ms=StageTimes(**clock.times))

    # ------------------------------------------------------------------------------------ parts of a step
    def _take_prompts(self, width: int, height: int) -> list[tuple[int, tuple[Tensor, Tensor]]]:
        """Pending prompts, one entry a part: (row, (coords [1, n, 2] in model pixels, labels [1, n]))."""
        size, device = self.robotseg.model.config.image_size, self.bank.features.device
        scale = np.array([size / width, size / height])
        out = []
        for row, part in enumerate(PARTS):
            asked = [p for p in self._prompts if p.part == part]
            boxes = [box for p in asked if p.kind is PromptKind.BOX and (box := clip_box(p.xy, width, height))]
            points = [p for p in asked if p.kind is PromptKind.POINT and inside(p.xy, width, height)]
            xy = [c for box in boxes[-1:] for c in (box[:2], box[2:])] + [p.xy for p in points]
            if not xy:
                continue
            labels = [2, 3] * bool(boxes) + [p.label for p in points]
            coords = torch.tensor(np.asarray(xy) * scale, dtype=torch.float32, device=device)[None]
            out.append((row, (coords, torch.tensor(labels, device=device)[None])))
        self._prompts.clear()
        return out

    def _decode_prompted(
        self,
        row: int,
        points: tuple[Tensor, Tensor],
        features: Features,
        conditioned: Conditioned,
        result: tuple[Tensor, Tensor, Tensor, Tensor],
    ) -> None:
        """Decode one part again with its points and put the answer into row ``row`` of the results."""
        model = self.robotseg.model
        mask = conditioned.token_mask
        one = Conditioned(
            image=conditioned.image[row : row + 1],
            object_tokens=conditioned.object_tokens[row : row + 1],
            token_mask=None if mask is None else mask[row : row + 1],
            structure=None,
        )
        candidates = model.decode(features, one, self.robotseg.part_rows[row : row + 1], points=points)
        choice = model.choose(candidates, multimask=points[1].shape[1] <= 1)
        new = (choice.logits, choice.iou, candidates.object_logit, model.pointer(choice, candidates.object_logit))
        for target, value in zip(result, new, strict=True):
            target[row] = value[0]

    def _doubt(self, logits: Tensor, iou: Tensor, object_logit: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Make all parts absent, as the decoder would, where the robot's score is too low to believe in any."""
        robot = PARTS.index("robot")
        doubtful = iou[robot] * object_logit[robot].sigmoid() < self.policy.min_presence
        logits = torch.where(doubtful, torch.full_like(logits, ABSENT_LOGIT), logits)
        return logits, iou, torch.where(doubtful, object_logit.clamp(max=-1.0), object_logit)

    def _to_host(
        self, logits: Tensor, iou: Tensor, object_logit: Tensor
    ) -> tuple[NDArray[np.bool_], NDArray[np.float32], NDArray[np.float32]]:
        present = (object_logit > 0).cpu().numpy()
        scores = (iou * object_logit.sigmoid()).float().cpu().numpy()
        return present, scores, logits.float().cpu().numpy()

    def _newly_started(
        self, present: NDArray[np.bool_], prompted: NDArray[np.bool_], coverage: list[float]
    ) -> NDArray[np.bool_]:
        """Parts that take this frame as their first memory: in view, and not nearly the whole image."""
        plausible = present & (np.asarray(coverage) <= self.policy.max_coverage)
        return (plausible & ~self.bank.started) | (present & prompted)

    def _remember(
        self,
        features: Features,
        logits: Tensor,
        object_logit: Tensor,
        pointer: Tensor,
        started: NDArray[np.bool_],
        clock: StageClock,
    ) -> None:
        if not (started.any() or self.bank.started.any()):
            return
        model = self.robotseg.model
        binary = torch.from_numpy(started).to(logits.device)
        memory = model.remember(features, logits, object_logit, binary)
        clock.lap("memory_encoder")
        # The prompts that the RPG makes of a frame depend on that frame alone: made once, when it enters.
        tokens = model.object_tokens(memory, logits)
        clock.lap("prompt_generator")
        self.bank.store(self._frame, memory, model.frame_keys(memory), tokens, pointer, started)

    def _advance(self, present: NDArray[np.bool_], robot: bool, score: float, coverage: float) -> State:
        self._frame += 1
        self._since_refresh += 1
        self._absent = np.where(present, 0, self._absent + 1)
        for row in np.flatnonzero((self._absent >= self.policy.lost_after) & self.bank.started):
            self.bank.reset(int(row))
        self._seen_robot |= robot
        if not robot:
            return State.LOST if self._seen_robot else State.SEARCHING
        doubtful = score < self.policy.min_score or coverage > self.policy.max_coverage
        return State.DEGRADED if doubtful else State.TRACKING


def inside(xy: tuple[float, ...], width: int, height: int) -> bool:
    """Whether a point lies in the frame; said in the log where it does not."""
    within = -0.5 <= xy[0] <= width - 0.5 and -0.5 <= xy[1] <= height - 0.5
    if not within:
        log.warning("point (%g, %g) is outside the %d x %d frame and is left out", *xy, width, height)
    return within


def clip_box(xy: tuple[float, ...], width: int, height: int) -> tuple[float, ...] | None:
    """Corners in order and inside the frame; None, and said in the log, where nothing of the box is left."""
    x0, x1 = (min(max(x, 0.0), width - 1.0) for x in sorted(xy[0::2]))
    y0, y1 = (min(max(y, 0.0), height - 1.0) for y in sorted(xy[1::2]))
    if x1 <= x0 or y1 <= y0:
        log.warning("box %s covers nothing of the %d x %d frame and is left out", xy, width, height)
        return None
    return x0, y0, x1, y1


def check_frame(frame: NDArray[np.uint8]) -> None:
    """Raise ValueError where a frame is not [H, W, 3] uint8 of sane size."""
    if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8:
        raise ValueError(f"frame is {getattr(frame, 'dtype', type(frame))}, must be a uint8 array")
    if frame.ndim != 3 or frame.shape[2] != 3:
        raise ValueError(f"frame has shape {frame.shape}, must be [H, W, 3]")
    if not (1 <= frame.shape[0] <= MAX_SIDE and 1 <= frame.shape[1] <= MAX_SIDE):
        raise ValueError(f"frame is {frame.shape[1]} x {frame.shape[0]}, each side must be 1 to {MAX_SIDE} pixels")
