# SPDX-License-Identifier: Apache-2.0
"""cIoU, gIoU, N-acc, T-acc and how often another candidate is marked, over a set of requests (SEGR1 6.4, 10.7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robotseg_core.evaluation.language.structure import s_of_masks

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class RequestScore:
    """One request.

    Attributes:
        scene: by which intervals are drawn: frames of one scene are not independent.
        family: of the request.
        intersection, union: pixels.
        absent: whether the truth is empty.
        said_none: whether "none" (or "not understood") was answered.
        wrong: whether the mask holds more of another candidate than of the target.
        others: whether another candidate of the kind asked for is in view: the request needs its words.
        structure: S-measure of the mask.
    """

    scene: str
    family: str
    intersection: int
    union: int
    absent: bool
    said_none: bool
    wrong: bool = False
    others: bool = False
    structure: float = float("nan")

    @property
    def iou(self) -> float:
        """IoU; of two empty masks 1 (LISA, GRES)."""
        return self.intersection / self.union if self.union else 1.0


def score_request(
    mask: Mask, truth: Mask, others: Mask | None, *, scene: str, family: str, said_none: bool
) -> RequestScore:
    """Score an answer; all masks [H, W], ``others`` the pixels of all other candidates or None."""
    hit = int(np.count_nonzero(mask & truth))
    wrong = others is not None and int(np.count_nonzero(mask & others)) > hit
    union = int(np.count_nonzero(mask | truth))
    seen = others is not None and bool(others.any())
    s = s_of_masks(mask, truth)
    return RequestScore(scene, family, hit, union, not truth.any(), said_none, wrong, seen, s)


@dataclass(frozen=True)
class Summary:
    """Of a set of requests; nan where there is nothing to take a mean of.

    Attributes:
        count: requests.
        giou: mean IoU, 0 to 1, and its interval.
        low, high: 95 % bootstrap interval of ``giou`` over scenes.
        ciou: sum of intersections over sum of unions.
        over_half: share of requests with a target whose IoU is above 0.5.
        over_most: the same above 0.7.
        s: mean S-measure of requests with a target.
        n_acc: share of requests without a target that are answered with "none".
        t_acc: share of requests with a target that are not.
        wrong: share of requests with another candidate in view where more of that is marked than of the target.
    """

    count: int
    giou: float
    low: float
    high: float
    ciou: float
    over_half: float
    over_most: float
    s: float
    n_acc: float
    t_acc: float
    wrong: float


def summarise(scores: Sequence[RequestScore], *, draws: int = 1000, seed: int = 0) -> Summary:
    """All figures of a set."""
    if not scores:
        nan = float("nan")
        return Summary(0, *(10 * [nan]))
    union = sum(s.union for s in scores)
    low, high = interval([s.scene for s in scores], [s.iou for s in scores], draws=draws, seed=seed)
    return Summary(
        count=len(scores),
        giou=_mean([s.iou for s in scores]),
        low=low,
        high=high,
        ciou=sum(s.intersection for s in scores) / union if union else float("nan"),
        over_half=_mean([s.iou > 0.5 for s in scores if not s.absent]),
        over_most=_mean([s.iou > 0.7 for s in scores if not s.absent]),
        s=_mean([s.structure for s in scores if not s.absent]),
        n_acc=_mean([s.said_none for s in scores if s.absent]),
        t_acc=_mean([not s.said_none for s in scores if not s.absent]),
        wrong=_mean([s.wrong for s in scores if s.others and not s.absent]),
    )


def _mean(values: Sequence[float | bool]) -> float:
    return float(np.mean(values)) if values else float("nan")


def interval(
    scenes: Sequence[str], values: Sequence[float], *, draws: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """95 % bootstrap interval of the mean of values, drawn by their scenes; also of paired differences."""
    names = sorted(set(scenes))
    number = {scene: i for i, scene in enumerate(names)}
    sums, counts = np.zeros((2, len(names)))
    for scene, value in zip(scenes, values, strict=True):
        sums[number[scene]] += value
        counts[number[scene]] += 1
    drawn = np.random.default_rng(seed).integers(0, len(names), (draws, len(names)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)
