# SPDX-License-Identifier: Apache-2.0
"""When a stream trusts, doubts and forgets: rules around the model, beside what the reference does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robotseg_core.masks.hygiene import Hygiene
from robotseg_core.stream.session import Compat
from robotseg_core.types import PartMask, State

NEVER = 1 << 40
"""More frames than any camera gives."""


@dataclass(frozen=True)
class StreamPolicy:
    """When a stream trusts, doubts and forgets.

    Attributes:
        compat: ``fixed`` starts a part's memory only from a frame where the part is seen and plausible, and a
            correction that is taken back leaves no trace.  ``reference`` starts it from the first frame, whatever
            it shows, and keeps every correction.  ``fixed`` is the default: a camera often starts before the robot
            is in view, and the reference then remembers its absence for ever.
        min_presence: while the robot's score is below this, no part is taken as in view.  0 is the reference's
            rule, which looks at the sign of each object logit alone.
        min_score: below this predicted quality of the robot mask the state is DEGRADED.
        max_coverage: a mask of more of the image than this, of less than ``min_coverage``, or of more of the
            image's edge than ``max_border`` (the background, taken for the part) is not taken as a part's first
            memory; while the robot's mask is such, the state is DEGRADED.
        min_coverage: see above.
        max_border: see above.
        lost_after: frames without a part after which its memory is dropped, so that it is searched afresh.
        refresh_after: frames after which all memory is dropped and rebuilt from the frame at hand, so that no
            wrong mask is kept for ever; 0 never.
        remember_every: of the frames of a part that is being followed, one in so many enters the memory; the answers
            in between cost no memory encoder, and the memory reaches further back.
        conditioning_frames: prompted frames that a part remembers, the latest ones; the reference keeps all of
            them.  1: a prompt starts the part's memory anew.
        clicks_refine: clicks of which one lies in the mask that the part has on the frame correct that mask, as later
            clicks do (SPEC 8); False: they begin the part anew, as the reference's first clicks do.
        clicks_choose: of what a click finds only the pieces stay that are clicked on; what is clicked off goes as a
            whole, and both stay away while they are followed (:mod:`robotseg_core.masks.clicked`).  False: clicks
            are for the model alone, as in the reference.
        hygiene: takes specks and holes out of what is answered, not out of what is remembered; None: they stay.
    """

    compat: Compat = "fixed"
    min_presence: float = 0.0
    min_score: float = 0.5
    max_coverage: float = 0.9
    min_coverage: float = 0.0003
    max_border: float = 0.9
    lost_after: int = 15
    refresh_after: int = 300
    conditioning_frames: int = 1
    remember_every: int = 1
    clicks_refine: bool = False
    clicks_choose: bool = False
    hygiene: Hygiene | None = None

    def __post_init__(self) -> None:
        if self.conditioning_frames < 1:
            raise ValueError(f"conditioning_frames is {self.conditioning_frames}, must be at least 1")
        if self.remember_every < 1:
            raise ValueError(f"remember_every is {self.remember_every}, must be at least 1")

    def plausible(self, mask: NDArray[np.uint8] | NDArray[np.bool_]) -> bool:
        """Whether a mask [H, W] can be a part: not nearly the whole image, not all around a part, not a speck."""
        coverage = np.count_nonzero(mask) / mask.size
        edge = np.concatenate([mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1]])
        border = np.count_nonzero(edge) / edge.size
        return bool(self.min_coverage <= coverage <= self.max_coverage and border <= self.max_border)

    def state(self, robot: PartMask, score: float, *, seen: bool, known: bool) -> State:
        """How far the masks of a frame are to be trusted.

        Args:
            robot: the frame's robot mask.
            score: predicted quality of it, 0 to 1.
            seen: whether the robot has been seen before.
            known: whether it is known which robot this is.
        """
        if not robot.present:
            return State.LOST if seen else State.SEARCHING
        trusted = known and score >= self.min_score and self.plausible(robot.mask)
        return State.TRACKING if trusted else State.DEGRADED

    def starts(
        self,
        present: NDArray[np.bool_],
        prompted: NDArray[np.bool_],
        started: NDArray[np.bool_],
        logits: NDArray[np.float32],
    ) -> NDArray[np.bool_]:
        """Parts that take a frame as a conditioning frame, [parts].

        Args:
            present: [parts] which of them the model sees.
            prompted: [parts] which of them the user has pointed at.
            started: [parts] which of them have a memory already.
            logits: [parts, h, w] as they would be remembered; of arm and gripper only one is published where they
                overlap.
        """
        if self.compat == "reference":
            return ~started | prompted
        plausible = np.array([self.plausible(part > 0) for part in logits])
        return (present & plausible & ~started) | (present & prompted)


REFERENCE = StreamPolicy(
    compat="reference",
    min_score=0.0,
    max_coverage=1.0,
    min_coverage=0.0,
    max_border=1.0,
    lost_after=NEVER,
    refresh_after=0,
    conditioning_frames=2,
)
"""What the reference does, which remembers every prompted frame, however many there are."""

POLICIES: dict[str, StreamPolicy] = {
    "nano": StreamPolicy(min_presence=0.1, remember_every=2, clicks_refine=True, clicks_choose=True, hygiene=Hygiene()),
    "base": StreamPolicy(conditioning_frames=2),
}
"""Policies of presets that need another one than the default."""
