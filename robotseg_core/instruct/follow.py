# SPDX-License-Identifier: Apache-2.0
"""A target followed through a stream: the mask of the frame it was found on, then the memory's.

A target that is a part as such ("the gripper") needs no memory of its own: the stream marks it anyway.  Any other one
has a memory of one row beside the stream's, of fixed size, fed from the same encoded frames.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from robotseg_core.instruct.prompt_set import Answer, Policy, PromptSet, View
from robotseg_core.instruct.request import Request
from robotseg_core.stream.postprocess import part_mask
from robotseg_core.types import MaskPrompt, PartMask, PartMasks

TARGET = "target"
"""Name of a target's mask."""


class Following(enum.IntEnum):
    """Whether a target is followed.  Values equal the constants of ``Target.msg``."""

    NOTHING = 0
    """Nothing was asked for, or not found, or it was forgotten: there is no mask."""
    SEEN = 1
    """The target is in view."""
    LOST = 2
    """The target was seen before and is not seen now; its mask is empty.  It is taken up again where it is known."""


@dataclass(frozen=True)
class TargetMask:
    """The target in one frame.

    Attributes:
        stamp: of the frame, ns.
        state: SEEN or LOST.
        request: that is followed.
        mask: as of a part, 0 or 255; after an inversion everything else.
        age: frames since it was asked for; 0 on the frame on which it was found.
    """

    stamp: int
    state: Following
    request: Request
    mask: PartMask
    age: int


@dataclass(frozen=True)
class FollowedTarget:
    """A target with what is published of it besides: whether it is inverted, and the stamp it was found on, ns."""

    target: TargetMask
    invert: bool
    found: int


class TargetStream(Protocol):
    """A stream with a memory of one target; :class:`~robotseg_core.stream.stream.Stream`."""

    def prompt(self, prompt: MaskPrompt) -> None:
        """Say at the next step what the target is."""
        ...

    def step_encoded(self, encoded: Any, stamp: int) -> PartMasks:
        """The next frame."""
        ...


class FollowedModel(Protocol):
    """What a follower needs of a model; :class:`~robotseg_core.stream.robotseg.RobotSeg`."""

    def target_stream(self) -> TargetStream:
        """A stream with a memory of one target, whose part is "robot" whatever it is."""
        ...


class Follower:
    """One target of one stream.  Not thread-safe: one thread steps it, the one that steps the stream."""

    def __init__(self, model: FollowedModel) -> None:
        self._model = model
        self._stream: TargetStream | None = None
        self.forget()

    def forget(self) -> None:
        """Follow nothing."""
        self._request: Request | None = None
        self._prompts = PromptSet(Answer.NONE)
        self._stream = None
        self._age = 0

    @property
    def following(self) -> bool:
        """Whether there is a target."""
        return self._request is not None

    def follow(self, request: Request, prompts: PromptSet, encoded: Any, stamp: int) -> NDArray[np.bool_]:
        """Follow what was found on this frame; it replaces the target before.

        Returns:
            [H, W], the mask before any inversion.  Where it is empty nothing is followed.
        """
        # Imported here: torch takes seconds, and a node that is not yet configured needs none of it.
        from robotseg_core.instruct.segmenter import segment

        self.forget()
        mask = segment(self._model, encoded, prompts)
        if prompts.answer is not Answer.FOUND or not mask.any():
            return mask
        if not prompts.automatic:
            self._stream = self._model.target_stream()
            self._stream.prompt(MaskPrompt("robot", mask))
            self._stream.step_encoded(encoded.again(), stamp)
        self._request, self._prompts = request, prompts
        return mask

    def step(self, encoded: Any, automatic: PartMasks) -> TargetMask | None:
        """The target in the next frame; None: nothing is followed.

        Args:
            encoded: the frame.
            automatic: what the stream says of it.
        """
        if self._request is None:
            return None
        self._age += 1
        if self._stream is None:
            found = automatic[self._prompts.part]
        else:
            found = self._stream.step_encoded(encoded.again(), automatic.stamp)["robot"]
        return self._answer(found, automatic.stamp)

    def first(self, mask: NDArray[np.bool_], score: float, stamp: int) -> TargetMask:
        """The target in the frame on which it was found; ``mask`` is :meth:`follow`'s."""
        return self._answer(part_mask(TARGET, np.ascontiguousarray(mask), score), stamp)

    def _answer(self, found: PartMask, stamp: int) -> TargetMask:
        assert self._request is not None
        state = Following.SEEN if found.present and found.area else Following.LOST
        mask = found.mask > 0
        final = part_mask(TARGET, ~mask if self._prompts.invert else mask, found.score)
        return TargetMask(stamp, state, self._request, final, self._age)


def solve(
    policy: Policy,
    request: Request,
    follower: Follower,
    rgb: NDArray[np.uint8],
    encoded: Any,
    parts: PartMasks,
) -> tuple[PromptSet, TargetMask | None]:
    """Ask a policy about a frame and follow what it finds; what it does not find ends the following.

    Returns:
        The answer, and the target in this frame where it was found.  A FOUND whose mask is empty becomes NONE.
    """
    prompts = policy.answer(request, View(rgb, parts, policy.look(encoded, parts)))
    mask = follower.follow(request, prompts, encoded, parts.stamp)
    if not follower.following:
        if prompts.answer is Answer.FOUND:
            prompts = PromptSet(Answer.NONE, invert=prompts.invert, part=prompts.part, raw=prompts.raw)
        return prompts, None
    return prompts, follower.first(mask, parts[prompts.part].score, parts.stamp)
