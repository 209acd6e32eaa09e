# SPDX-License-Identifier: Apache-2.0
"""One camera's frames through the model, all parts as one batch.

A frame goes one way: preprocess, encoder, memory attention, prompt generator, decoder, masks, memory.
:mod:`robotseg_core.stream.session` is the plain form of the same rules, for one part.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robotseg_core.cuda.transfer import OnTheWay
from robotseg_core.masks.depth_border import sharpen
from robotseg_core.masks.nearest import Depth, Nearest, check_depth, on_grid
from robotseg_core.model.mask_decoder import ABSENT_LOGIT
from robotseg_core.model.robotseg_model import Conditioned, Features, RobotSegModel
from robotseg_core.stream.frame_state import Answer, EncodedFrame, LastFrame
from robotseg_core.stream.loops.loop import Loop
from robotseg_core.stream.loops.torch_loop import TorchLoop
from robotseg_core.stream.memory_bank import Entry, MemoryBank
from robotseg_core.stream.pending_prompts import PartPrompt, gather
from robotseg_core.stream.policy import StreamPolicy
from robotseg_core.stream.postprocess import part_masks, refined
from robotseg_core.stream.prompting import decode, decode_mask, fed_back
from robotseg_core.stream.stage_clock import StageClock
from robotseg_core.types import PARTS, MaskPrompt, ModelFault, PartMask, PartMasks, Prompt, PromptKind, State

ROBOT = -1
"""Row of the robot: always there, always the last."""


class LoadedModel(Protocol):
    """What a stream needs of the model that it shares with others; :class:`~robotseg_core.stream.robotseg.RobotSeg`.

    Attributes:
        model: the weights.
        time_keys: what every time code adds to a frame's keys, [A, T, N, e].
        memory_frames: frames that a frame looks up.
    """

    model: RobotSegModel
    time_keys: Tensor
    memory_frames: int

    @property
    def preset(self) -> str:
        """Name of the preset."""
        ...

    @property
    def device(self) -> str:
        """Device of the model."""
        ...

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """Within it, products are of the model's precision."""
        ...

    def encode_frames(self, frames: Sequence[NDArray[np.uint8]]) -> list[EncodedFrame]:
        """Frames [H, W, 3] uint8 RGB through the encoder at once."""
        ...

    def loop(self, bank: MemoryBank) -> Loop:
        """What runs after the encoder with a memory of this size."""
        ...


DepthSource = Depth | Callable[[], Depth | None]
"""A depth image, or what gives it, or None, once the model has worked on its frame: depth often comes later."""


class Stream:
    """One camera's frames in order.  Not thread-safe: one thread steps a stream.

    Attributes:
        nearest: which of several robots is meant; None: all.  May be set between steps.  The memory knows of no such
            limit, so that a change of it acts at once.
        depth_border: whether depth decides where the border of the masks is doubtful, see
            :mod:`robotseg_core.masks.depth_border`.  May be set between steps; the memory knows nothing of it.
    """

    def __init__(
        self,
        robotseg: LoadedModel,
        policy: StreamPolicy,
        parts: tuple[str, ...] = PARTS,
        *,
        loop: Loop | None = None,
    ) -> None:
        if "robot" not in parts or parts != tuple(part for part in PARTS if part in parts):
            raise ValueError(f"parts are {parts}, must be some of {PARTS} in this order, the robot among them")
        self.robotseg, self.policy, self.parts = robotseg, policy, parts
        self.bank = MemoryBank(
            robotseg.model.config,
            len(parts),
            robotseg.time_keys,
            frames=robotseg.memory_frames,
            conditioning=policy.conditioning_frames,
        )
        self._device = torch.device(robotseg.device)
        self._robot = len(parts) - 1
        self._classes = torch.tensor([PARTS.index(part) for part in parts], device=self._device)
        self._loop = loop or robotseg.loop(self.bank)
        self._prompts: list[Prompt | MaskPrompt] = []
        self.nearest: Nearest | None = None
        self.depth_border = False
        self.reset()

    def reset(self) -> None:
        """Forget everything; the next frame is a first frame."""
        self.bank.reset()
        self._prompts.clear()
        self._frame = 0
        self._since_refresh = 0
        self._absent = np.zeros(len(self.parts), np.int64)
        self._seen_robot = False
        # Whether the robot's memory begins with a user's hint: then it is that robot and no other.
        self._told = False
        self._last: LastFrame | None = None
        self._corrected: dict[int, Answer] = {}
        # Of what the memory keeps of the last frame; see _health.
        self._kept = torch.zeros((), device=self._device)

    def prompt(self, prompt: Prompt | MaskPrompt) -> None:
        """Take a user's hint into account at the next step.

        The prompted part is decoded without its memory, and the frame becomes one of its conditioning frames, of
        which the policy says how many are kept.  Of several boxes or masks for a part the last one counts; what
        does not lie on the frame is left out, with a warning.  RESET acts at once and takes back what was asked for
        its part since the last step.

        Raises:
            ValueError: the stream has no such part.
        """
        if prompt.part not in self.parts:
            raise ValueError(f"prompt part is {prompt.part!r}, this stream has {self.parts}")
        if isinstance(prompt, Prompt) and prompt.kind is PromptKind.RESET:
            row = self.parts.index(prompt.part)
            self._prompts = [p for p in self._prompts if p.part != prompt.part]
            self._corrected.pop(row, None)
            self.bank.reset(row)
            self._absent[row] = 0
            self._told = self._told and row != self._robot
        else:
            self._prompts.append(prompt)

    @torch.inference_mode()
    def fill_memory(self, frames: int = 0) -> None:
        """Fill the memory with blanks, as if many frames had been seen: for warm-up and benchmarks.

        ``frames`` tells how many, if more than the memory holds: their number enters the time codes.
        """
        self.reset()
        bank, model = self.bank, self.robotseg.model
        features, tokens, pointer = (
            torch.zeros_like(x[:, 0]) for x in (bank.features, bank.object_tokens, bank.pointers)
        )
        with self.robotseg.autocast():
            entry = Entry(features, model.frame_keys(features), tokens, pointer)
        held = max(model.config.memory_frames, model.config.max_pointers)
        self._frame = max(frames, held)
        for index in (0, *range(self._frame - held + 1, self._frame)):
            bank.store(index, entry, np.full(len(self.parts), index == 0))

    def step(self, frame: NDArray[np.uint8], stamp: int = 0, *, depth: DepthSource | None = None) -> PartMasks:
        """Segment one frame.

        Args:
            frame: [H, W, 3] uint8 RGB.
            stamp: nanoseconds, returned unchanged.
            depth: aligned with the frame, or what gives it, for ``nearest.max_depth`` and ``depth_border``, else
                unused.  Without it the border is the model's; with ``max_depth`` all robots are marked, and the state
                of a robot in view is DEGRADED: which is meant is not known.

        Raises:
            ValueError: shape, type or size of the frame is off; the stream is as it was before.
            ModelFault: the model gives numbers that are not finite; the stream is as after :meth:`reset`.
        """
        (encoded,) = self.robotseg.encode_frames([frame])
        return self.step_encoded(encoded, stamp, depth=depth)

    @torch.inference_mode()
    def step_encoded(self, encoded: EncodedFrame, stamp: int = 0, *, depth: DepthSource | None = None) -> PartMasks:
        """The same from :meth:`RobotSeg.encode_frames` on, which encodes frames of several streams at once."""
        image, features, clock = encoded.image, encoded.features, encoded.clock
        config = self.robotseg.model.config
        height, width = encoded.size
        if depth is not None and not callable(depth):
            check_depth(depth, height, width)
        clock.skip()
        self._commit()
        if self.policy.refresh_after and self._since_refresh >= self.policy.refresh_after:
            self.bank.reset()
            self._since_refresh = 0
            self._told = False
        tracked = self.bank.started
        conditioned, answer = self._loop.find(image, features, self.bank, self._frame, self._classes, clock)
        health = self._kept + _health(features, answer)
        answer = self._doubt(answer)
        prompted = np.zeros(len(self.parts), bool)
        for asked in gather(self._prompts, self.parts, width, height, config.image_size, self._device):
            one = self._decode_prompt(asked, features, None, None)
            health = health + _health(None, one)
            answer.put(asked.row, one)
            prompted[asked.row] = True
        self._prompts.clear()
        clock.lap("decoder")
        coming = self._send(answer, health)
        # With a memory of all parts nothing is left to decide: the device makes the new one while the host waits.
        started = np.zeros(len(self.parts), bool)
        settled = bool(tracked.all()) and not prompted.any()
        due = self._frame % self.policy.remember_every == 0
        if settled and due:
            self._remember(features, answer, started, clock)
        present, scores, logits = self._received(coming)
        far = self._depth(depth, (height, width))
        told = self._told or bool(prompted[self._robot])
        shown = self._shown(logits, far, confined=told)
        masks = part_masks(shown, scores, height, width, self.parts)
        clock.lap("postprocess")
        if not settled:
            started = self._newly_started(present, prompted, logits)
            # A hint that found nothing is of its own frame alone.
            self._told |= bool(prompted[self._robot] and started[self._robot])
            if started.any() or (tracked.any() and due):
                self._remember(features, answer, started, clock)
        followed = tracked & ~started & self.bank.started
        self._last = LastFrame(self._frame, stamp, (height, width), features, conditioned, answer, followed, far)
        self._count(present)
        state = self._state(masks[ROBOT], float(scores[ROBOT]), far)
        return PartMasks(stamp, state, masks, clock.times(), robot_logits=shown.max(0))

    # ------------------------------------------------------------------------------------ corrections
    @torch.inference_mode()
    def correct(self, *prompts: Prompt | MaskPrompt) -> PartMasks:
        """Correct the last frame's masks, as often as needed before the next step.

        All clicks of the frame are given at each call; the mask so far is fed back with them.  A part that was
        tracked is decoded with its memory, and its entry in the memory is replaced; a part whose conditioning frame
        this is, or that has no memory, is prompted again.  The memory changes at the next step, see :meth:`discard`.

        Raises:
            RuntimeError: there is no frame to correct.
            ValueError: one of the prompts is a RESET.
            ModelFault: as of :meth:`step`.
        """
        last = self._last
        if last is None:
            raise RuntimeError("a stream cannot correct before its first step")
        if any(isinstance(p, Prompt) and p.kind is PromptKind.RESET for p in prompts):
            raise ValueError("a correction cannot be a RESET; give it to prompt()")
        clock = StageClock(self._device)
        health = torch.zeros((), device=self._device)
        height, width = last.size
        size = self.robotseg.model.config.image_size
        for asked in gather(prompts, self.parts, width, height, size, self._device):
            row = asked.row
            before = self._corrected.get(row)
            if before is None and self.bank.started[row]:
                logits: Tensor | None = last.answer.logits[row : row + 1]
            else:
                logits = None if before is None else before.logits
            known = last.conditioned if last.tracked[row] and self.bank.started[row] else None
            self._corrected[row] = self._decode_prompt(asked, last.features, known, logits)
            health = health + _health(None, self._corrected[row])
        answer = last.answer.copy()
        for row, one in self._corrected.items():
            answer.put(row, one)
        clock.lap("decoder")
        _, scores, all_logits = self._received(self._send(answer, health))
        told = self._told or self._robot in self._corrected
        shown = self._shown(all_logits, last.depth, confined=told)
        masks = part_masks(shown, scores, height, width, self.parts)
        clock.lap("postprocess")
        state = self._state(masks[ROBOT], float(scores[ROBOT]), last.depth)
        return PartMasks(last.stamp, state, masks, clock.times(), robot_logits=shown.max(0))

    def discard(self) -> None:
        """Take back the corrections of the last frame; under ``compat="reference"`` they stay (SPEC 8)."""
        if self.policy.compat == "fixed":
            self._corrected.clear()

    def _commit(self) -> None:
        """Corrections enter the memory, with hard masks."""
        last = self._last
        for row, answer in self._corrected.items():
            assert last is not None
            if self.policy.compat == "fixed" and not bool(answer.object_logit > 0) and not self.bank.started[row]:
                continue
            hard = torch.ones(1, dtype=torch.bool, device=self._device)
            entry = TorchLoop(self.robotseg.model, self.robotseg.autocast).keep(
                last.features, answer, hard, StageClock(self._device)
            )
            self._kept = self._kept + _health(None, entry)
            self.bank.amend(row, last.index, entry)
            self._told |= row == self._robot
        self._corrected.clear()

    # ------------------------------------------------------------------------------------ parts of a step
    def _decode_prompt(
        self, asked: PartPrompt, features: Features, conditioned: Conditioned | None, previous: Tensor | None
    ) -> Answer:
        """Decode one part with its prompt; without ``conditioned`` [parts] as on a first frame.

        ``previous`` [1, h, w] are the logits that clicks correct.
        """
        model, row = self.robotseg.model, slice(asked.row, asked.row + 1)
        if asked.mask is not None:
            decoded = decode_mask(model, features, asked.mask)
        else:
            one = model.initial(features, 1)
            if conditioned is not None:
                empty = conditioned.token_mask
                one = Conditioned(
                    image=conditioned.image[row],
                    object_tokens=conditioned.object_tokens[row],
                    token_mask=None if empty is None else empty[row],
                    structure=None,
                )
            fed = None if previous is None else fed_back(previous)
            decoded = decode(model, features, one, self._classes[row], points=asked.points, mask_logits=fed)
        return Answer(decoded.logits, decoded.iou, decoded.object_logit, decoded.pointer)

    def _doubt(self, answer: Answer) -> Answer:
        """Make all parts absent, as the decoder would, where the robot's score is too low to believe in any."""
        if not self.policy.min_presence:
            return answer
        doubtful = answer.iou[ROBOT] * answer.object_logit[ROBOT].sigmoid() < self.policy.min_presence
        object_logit = torch.where(doubtful, answer.object_logit.clamp(max=-1.0), answer.object_logit)
        absent = self.robotseg.model.no_obj_ptr.to(answer.pointer.dtype)
        return Answer(
            logits=torch.where(doubtful, torch.full_like(answer.logits, ABSENT_LOGIT), answer.logits),
            iou=answer.iou,
            object_logit=object_logit,
            pointer=torch.where(doubtful, absent, answer.pointer),
        )

    @staticmethod
    def _send(answer: Answer, health: Tensor) -> OnTheWay:
        """To the host: present [parts] bool, scores [parts], logits [parts, h, w], and whether all was finite."""
        scores = (answer.iou * answer.object_logit.sigmoid()).float()
        return OnTheWay(answer.object_logit > 0, scores, answer.logits.float(), health.isfinite())

    def _received(self, coming: OnTheWay) -> tuple[NDArray[np.bool_], NDArray[np.float32], NDArray[np.float32]]:
        """Which parts are present [parts], their scores [parts], their logits [parts, h, w].

        Raises:
            ModelFault: something was not finite: nothing of the frame may be believed, nor of the memory.
        """
        present, scores, logits, finite = coming.arrays()
        # Not a number is not above 0 either: it would read as a part that is not there.
        if not finite:
            self.reset()
            self.bank.wipe()
            raise ModelFault(
                f"the model ({self.robotseg.preset} on {self.robotseg.device}) gives numbers that are not finite; "
                "the memory is given up"
            )
        return present, scores, logits

    def _remember(self, features: Features, answer: Answer, started: NDArray[np.bool_], clock: StageClock) -> None:
        binary = torch.from_numpy(started).to(self._device, non_blocking=True)
        entry = self._loop.keep(features, answer, binary, clock)
        self._kept = _health(None, entry)
        self.bank.store(self._frame, entry, started)
        clock.lap("memory_encoder")

    def _newly_started(
        self, present: NDArray[np.bool_], prompted: NDArray[np.bool_], logits: NDArray[np.float32]
    ) -> NDArray[np.bool_]:
        """Parts that take this frame as a conditioning frame."""
        if self.policy.compat == "reference":
            return ~self.bank.started | prompted
        # Looked at as it would be remembered: where arm and gripper overlap, only one of them is published.
        plausible = np.array([self.policy.plausible(part > 0) for part in logits])
        return (present & plausible & ~self.bank.started) | (present & prompted)

    def _count(self, present: NDArray[np.bool_]) -> None:
        self._frame += 1
        self._since_refresh += 1
        self._absent = np.where(present, 0, self._absent + 1)
        for row in np.flatnonzero((self._absent >= self.policy.lost_after) & self.bank.started):
            self.bank.reset(int(row))
            self._told = self._told and int(row) != self._robot

    def _depth(self, depth: DepthSource | None, size: tuple[int, int]) -> Depth | None:
        """The depth image, where it is needed and there is one."""
        needed = self.depth_border or (self.nearest is not None and self.nearest.max_depth > 0)
        image = None if not needed else depth() if callable(depth) else depth
        if image is not None:
            check_depth(image, *size)
        return image

    def _shown(self, logits: NDArray[np.float32], depth: Depth | None, *, confined: bool) -> NDArray[np.float32]:
        """What is shown of the model's logits [parts, h, w]; ``confined``: see :func:`refined`."""
        metres = None if depth is None else on_grid(depth, logits.shape[1:])
        shown = refined(logits, self.policy.hygiene, self.nearest, metres, confined=confined)
        return sharpen(shown, depth) if self.depth_border and depth is not None else shown

    def _state(self, robot: PartMask, score: float, depth: Depth | None) -> State:
        if not robot.present:
            return State.LOST if self._seen_robot else State.SEARCHING
        trusted = score >= self.policy.min_score and self.policy.plausible(robot.mask)
        if self.nearest is not None and self.nearest.max_depth and depth is None:
            # Which robot this is, nobody knows: it is not yet one that has been seen.
            return State.DEGRADED
        self._seen_robot = True
        return State.TRACKING if trusted else State.DEGRADED


def _health(features: Features | None, made: Answer | Entry) -> Tensor:
    """A number that is finite where all of the numbers given are: their sum, on the device, without waiting for it."""
    tensors: list[Tensor] = [] if features is None else [features.h4, features.h8, features.f16]
    if isinstance(made, Entry):
        tensors += [made.features, made.keys, made.object_tokens, made.pointer]
    else:
        tensors += [made.logits, made.iou, made.object_logit, made.pointer]
    return torch.stack([tensor.sum(dtype=torch.float32) for tensor in tensors]).sum()
