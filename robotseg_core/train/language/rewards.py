# SPDX-License-Identifier: Apache-2.0
"""What an answer earns: IoU and S-measure of its mask, nothing for an empty answer, less on a wrong candidate.

The S-measure is the true one.  The released file binarises the truth twice, which turns its term into 1 minus the
area of the mask (SEGR1 3); :func:`released_reward` is kept for comparison alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robotseg_core.evaluation.language.structure import s_measure
from robotseg_core.instruct.prompt_set import Answer

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class RewardSettings:
    """Weights (SEGR1 10.5).

    Attributes:
        iou: of the IoU.
        structure: of the S-measure.
        other: taken off, times the share of the mask that lies on another candidate.
        count: added where several instances are asked for and their number is right.
        form: added for a well-formed answer; 0 for a policy whose decoding is constrained.
    """

    iou: float = 0.7
    structure: float = 0.3
    other: float = 0.2
    count: float = 0.1
    form: float = 0.0


@dataclass(frozen=True, eq=False)
class Wanted:
    """What is asked for.

    Attributes:
        mask: [H, W], before any inversion; empty: it is not there.
        others: [H, W], the pixels of all other candidates; None: there is none.
        count: instances asked for.
        invert: everything else was asked for; ``mask`` is still what is left out.
    """

    mask: Mask
    others: Mask | None = None
    count: int = 1
    invert: bool = False


@dataclass(frozen=True, eq=False)
class Given:
    """What a policy and the segmenter made of it.

    Attributes:
        answer: of the policy.
        mask: [H, W], before any inversion; None without prompts.
        count: instances in the answer.
        invert: whether the policy wants the rest.
        form: reward of the answer's form, 0 or 1.
    """

    answer: Answer
    mask: Mask | None = None
    count: int = 0
    invert: bool = False
    form: float = 1.0


def _iou(mask: Mask, truth: Mask) -> float:
    """0 where both are empty, as the reward has it."""
    union = int(np.count_nonzero(mask | truth))
    return int(np.count_nonzero(mask & truth)) / union if union else 0.0


def paper_reward(mask: Mask, truth: Mask) -> float:
    """0.7 IoU + 0.3 S, as in the paper, for masks [H, W]."""
    return 0.7 * _iou(mask, truth) + 0.3 * min(max(s_measure(mask.astype(np.float64), truth), 0.0), 1.0)


def released_reward(mask: Mask, truth: Mask) -> float:
    """What the released file computes: 0.7 IoU + 0.3 (1 - area)."""
    return 0.7 * _iou(mask, truth) + 0.3 * (1.0 - float(mask.mean()))


def reward(given: Given, wanted: Wanted, settings: RewardSettings | None = None) -> float:
    """Reward of an answer.

    Target there: ``iou * IoU + structure * S - other * share on another candidate (+ count)``, and 0 for "none", "not
    understood" or an empty mask: the S term alone would pay 0.14 for those.  Target absent: 1 for "none", else 0.
    An exclusion is scored before the inversion, and earns nothing without it.
    """
    s = settings or RewardSettings()
    form = s.form * given.form
    if not wanted.mask.any():
        return form + float(given.answer is Answer.NONE)
    mask = given.mask
    if given.answer is not Answer.FOUND or mask is None or not mask.any() or given.invert is not wanted.invert:
        return form
    structure = min(max(s_measure(mask.astype(np.float64), wanted.mask), 0.0), 1.0)
    earned = s.iou * _iou(mask, wanted.mask) + s.structure * structure
    if wanted.others is not None:
        earned -= s.other * int(np.count_nonzero(mask & wanted.others & ~wanted.mask)) / int(np.count_nonzero(mask))
    if wanted.count > 1 and given.count == wanted.count:
        earned += s.count
    return form + max(0.0, earned)
