# SPDX-License-Identifier: Apache-2.0
"""One camera's frames through the model, all parts as one batch.

A frame goes one way: preprocess, encoder, memory attention, prompt generator, decoder, masks, memory.
:mod:`robotseg_core.stream.session` is the plain form of the same rules, for one part.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robotseg_core.cuda.transfer import OnTheWay
from robotseg_core.masks.excluded import Excluded
from robotseg_core.masks.nearest import Depth, DepthSource, Nearest, check_depth, come
from robotseg_core.model.robotseg_model import Features
from robotseg_core.stream.corrections import Corrections
from robotseg_core.stream.frame_state import Answer, EncodedFrame, LastFrame, Received, health
from robotseg_core.stream.loaded_model import LoadedModel
from robotseg_core.stream.loops.loop import Loop
from robotseg_core.stream.memory_bank import MemoryBank
from robotseg_core.stream.pending_prompts import PartPrompt, gather
from robotseg_core.stream.policy import StreamPolicy
from robotseg_core.stream.postprocess import part_masks, shown
from robotseg_core.stream.prompting import answer_prompts, leave_out
from robotseg_core.stream.stage_clock import StageClock
from robotseg_core.types import PARTS, MaskPrompt, ModelFault, PartMask, PartMasks, Prompt, PromptKind, State

ROBOT = -1
"""Row of the robot: always there, always the last."""


class Stream:
    """One camera's frames in order.  Not thread-safe: one thread steps a stream.

    Attributes:
        nearest: which of several robots is meant; None: all.  May be set between steps.  The memory knows of no such
            limit, so that a change of it acts at once.
        depth_border: whether depth decides where the border of the masks is doubtful, see
            :mod:`robotseg_core.masks.depth_border`.  May be set between steps; the memory knows nothing of it.
    """

    def __init__(
        self, robotseg: LoadedModel, policy: StreamPolicy, parts: tuple[str, ...] = PARTS, *, loop: Loop | None = None
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
        self._corrections = Corrections(robotseg, self.bank, self._classes, choose=policy.clicks_choose)
        self._excluded = Excluded(len(parts), robotseg.model.config.image_size // 4)
        self._prompts: list[Prompt | MaskPrompt] = []
        self.nearest: Nearest | None = None
        self.depth_border = False
        self.reset()

    def reset(self) -> None:
        """Forget everything; the next frame is a first frame."""
        self.bank.reset()
        self._prompts.clear()
        self._frame = self._since_refresh = 0
        self._absent = np.zeros(len(self.parts), np.int64)
        self._seen_robot = False
        # Whether the robot's memory begins with a user's hint: then it is that robot and no other.
        self._told = False
        self._last: LastFrame | None = None
        self._corrections.clear()
        self._excluded.clear()
        # Health of what the memory keeps of the last frame.
        self._kept = torch.zeros((), device=self._device)

    def prompt(self, prompt: Prompt | MaskPrompt) -> None:
        """Take a user's hint into account at the next step.

        The prompted part is decoded without its memory (clicks from its mask, if the policy says so), and the frame
        becomes one of its conditioning frames, of which the policy says how many are kept. Of several boxes or masks
        for a part the last one counts; what does not lie on the frame is left out, with a warning. RESET acts at once
        and takes back what was asked for its part since the last step.

        Raises:
            ValueError: the stream has no such part.
        """
        if prompt.part not in self.parts:
            raise ValueError(f"prompt part is {prompt.part!r}, this stream has {self.parts}")
        if isinstance(prompt, Prompt) and prompt.kind is PromptKind.RESET:
            row = self.parts.index(prompt.part)
            self._prompts = [p for p in self._prompts if p.part != prompt.part]
            self._corrections.drop(row)
            self._excluded.clear(row)
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
        with self.robotseg.autocast():
            self._frame = self.bank.fill_with_blanks(self.robotseg.model.frame_keys, frames)

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
        if depth is not None and not callable(depth):
            check_depth(depth, *encoded.size)
        clock.skip()
        self._commit()
        self._refresh()
        tracked = self.bank.started
        conditioned, answer = self._loop.find(image, features, self.bank, self._frame, self._classes, clock)
        sound = self._kept + health(features, answer)
        answer = leave_out(self._doubt(answer), self._excluded, self.robotseg.model)
        prompted, prompts_sound = self._answer_prompts(answer, features, encoded.size)
        clock.lap("decoder")
        coming = answer.sent(sound + prompts_sound)
        # With a memory of all parts nothing is left to decide: the device makes the new one while the host waits.
        started = np.zeros(len(self.parts), bool)
        settled = bool(tracked.all()) and not prompted.any()
        due = self._frame % self.policy.remember_every == 0
        if settled and due:
            self._remember(features, answer, started, clock)
        received = self._received(coming)
        far = self._depth(depth, encoded.size)
        told = self._told or bool(prompted[self._robot])
        masks, robot_logits = self._masks(received, encoded.size, far, confined=told)
        clock.lap("postprocess")
        if not settled:
            started = self.policy.starts(received.present, prompted, self.bank.started, received.logits)
            # A hint that found nothing is of its own frame alone.
            self._told |= bool(prompted[self._robot] and started[self._robot])
            if started.any() or (tracked.any() and due):
                self._remember(features, answer, started, clock)
        followed = tracked & ~started & self.bank.started
        self._last = LastFrame(self._frame, stamp, encoded.size, features, conditioned, answer, followed, far)
        self._count(received.present)
        state = self._state(masks[ROBOT], float(received.scores[ROBOT]), far)
        return PartMasks(stamp, state, masks, clock.times(), robot_logits=robot_logits)

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
        answer, sound = self._corrections.answer(last, self._asked(prompts, last.size))
        clock.lap("decoder")
        received = self._received(answer.sent(sound))
        told = self._told or self._robot in self._corrections
        masks, robot_logits = self._masks(received, last.size, last.depth, confined=told)
        clock.lap("postprocess")
        state = self._state(masks[ROBOT], float(received.scores[ROBOT]), last.depth)
        return PartMasks(last.stamp, state, masks, clock.times(), robot_logits=robot_logits)

    def discard(self) -> None:
        """Take back the corrections of the last frame; under ``compat="reference"`` they stay (SPEC 8)."""
        if self.policy.compat == "fixed":
            self._corrections.clear()

    # ------------------------------------------------------------------------------------ parts of a step
    def _commit(self) -> None:
        """Corrections of the last frame enter the memory."""
        last = self._last
        if last is None:
            return
        for row, entry in self._corrections.entries(last, absent_too=self.policy.compat == "reference"):
            self._kept = self._kept + health(entry)
            self.bank.amend(row, last.index, entry)
            self._told |= row == self._robot
        self._corrections.note(self._excluded)
        self._corrections.clear()

    def _refresh(self) -> None:
        """Forget what has been remembered for so long that it may be wrong, see :class:`StreamPolicy`."""
        if self.policy.refresh_after and self._since_refresh >= self.policy.refresh_after:
            self.bank.reset()
            self._excluded.clear()
            self._since_refresh = 0
            self._told = False

    def _doubt(self, answer: Answer) -> Answer:
        """Make all parts absent where the robot's score is too low to believe in any."""
        if not self.policy.min_presence:
            return answer
        score = answer.iou[ROBOT] * answer.object_logit[ROBOT].sigmoid()
        return answer.absent_where(score < self.policy.min_presence, self.robotseg.model.no_obj_ptr)

    def _answer_prompts(
        self, answer: Answer, features: Features, size: tuple[int, int]
    ) -> tuple[NDArray[np.bool_], Tensor]:
        """Put what the waiting prompts find into ``answer``: which parts they are for [parts], and their health."""
        asked, prompted = self._asked(self._prompts, size), np.zeros(len(self.parts), bool)
        prompted[[one.row for one in asked]] = True
        self._prompts.clear()
        return prompted, answer_prompts(
            self.robotseg.model,
            asked,
            features,
            self._classes,
            answer,
            refine=self.policy.clicks_refine,
            excluded=self._excluded if self.policy.clicks_choose else None,
        )

    def _asked(self, prompts: Sequence[Prompt | MaskPrompt], size: tuple[int, int]) -> list[PartPrompt]:
        """What prompts ask of a frame of that size, (height, width)."""
        return gather(prompts, self.parts, *size[::-1], self.robotseg.model.config.image_size, self._device)

    def _received(self, coming: OnTheWay) -> Received:
        """An answer, once it has come.

        Raises:
            ModelFault: something was not finite: nothing of the frame may be believed, nor of the memory.
        """
        *arrays, finite = coming.arrays()
        # Not a number is not above 0 either: it would read as a part that is not there.
        if not finite:
            self.reset()
            self.bank.wipe()
            raise ModelFault(
                f"the model ({self.robotseg.preset} on {self.robotseg.device}) gives numbers that are not finite; "
                "the memory is given up"
            )
        return Received(*arrays)

    def _remember(self, features: Features, answer: Answer, started: NDArray[np.bool_], clock: StageClock) -> None:
        binary = torch.from_numpy(started).to(self._device, non_blocking=True)
        entry = self._loop.keep(features, answer, binary, clock)
        self._kept = health(entry)
        self.bank.store(self._frame, entry, started)
        clock.lap("memory_encoder")

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
        return come(depth, *size) if needed else None

    def _masks(
        self, received: Received, size: tuple[int, int], depth: Depth | None, *, confined: bool
    ) -> tuple[tuple[PartMask, ...], NDArray[np.float32]]:
        """All parts' masks at the frame's ``size``, and the logits of the robot [h, w] that they come from."""
        logits = shown(
            received.logits,
            self.policy.hygiene,
            nearest=self.nearest,
            depth=depth,
            depth_border=self.depth_border,
            confined=confined,
        )
        return part_masks(logits, received.scores, *size, self.parts), logits.max(0)

    def _state(self, robot: PartMask, score: float, depth: Depth | None) -> State:
        known = self.nearest is None or not self.nearest.max_depth or depth is not None
        state = self.policy.state(robot, score, seen=self._seen_robot, known=known)
        # Where nobody knows which robot this is, it is not yet one that has been seen.
        self._seen_robot |= robot.present and known
        return state
