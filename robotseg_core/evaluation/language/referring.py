# SPDX-License-Identifier: Apache-2.0
"""cIoU, gIoU, N-acc, T-acc and how often another candidate is marked, over a set of requests (SEGR1 6.4, 10.7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
    """

    scene: str
    family: str
    intersection: int
    union: int
    absent: bool
    said_none: bool
    wrong: bool = False
    others: bool = False

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
    return RequestScore(scene, family, hit, union, not truth.any(), said_none, wrong, seen)


@dataclass(frozen=True)
class Summary:
    """Of a set of requests; nan where there is nothing to take a mean of.

    Attributes:
        count: requests.
        giou: mean IoU, 0 to 1, and its interval.
        low, high: 95 % bootstrap interval of ``giou`` over scenes.
        ciou: sum of intersections over sum of unions.
        over_half: share of requests with a target whose IoU is above 0.5.
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
    n_acc: float
    t_acc: float
    wrong: float


def summarise(scores: Sequence[RequestScore], *, draws: int = 1000, seed: int = 0) -> Summary:
    """All figures of a set."""
    if not scores:
        nan = float("nan")
        return Summary(0, nan, nan, nan, nan, nan, nan, nan, nan)
    union = sum(s.union for s in scores)
    low, high = _interval(scores, draws, seed)
    return Summary(
        count=len(scores),
        giou=_mean([s.iou for s in scores]),
        low=low,
        high=high,
        ciou=sum(s.intersection for s in scores) / union if union else float("nan"),
        over_half=_mean([s.iou > 0.5 for s in scores if not s.absent]),
        n_acc=_mean([s.said_none for s in scores if s.absent]),
        t_acc=_mean([not s.said_none for s in scores if not s.absent]),
        wrong=_mean([s.wrong for s in scores if s.others and not s.absent]),
    )


def _mean(values: Sequence[float | bool]) -> float:
    return float(np.mean(values)) if values else float("nan")


def _interval(scores: Sequence[RequestScore], draws: int, seed: int) -> tuple[float, float]:
    scenes = sorted({s.scene for s in scores})
    number = {scene: i for i, scene in enumerate(scenes)}
    sums, counts = np.zeros((2, len(scenes)))
    for s in scores:
        sums[number[s.scene]] += s.iou
        counts[number[s.scene]] += 1
    drawn = np.random.default_rng(seed).integers(0, len(scenes), (draws, len(scenes)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)
