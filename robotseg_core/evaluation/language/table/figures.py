# SPDX-License-Identifier: Apache-2.0
"""Figures of a contest: rows by groups of requests, seeds averaged, shares of the ceiling, paired differences."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from robotseg_core.evaluation.language.referring import Summary, interval, summarise
from robotseg_core.evaluation.language.table.contest import Scored
from robotseg_core.evaluation.language.table.contestants import CEILING
from robotseg_core.synth.requests.generate import SceneRequest, split_order

SHARED = ("giou", "ciou", "s", "over_half", "over_most")
"""Measures that are given as a share of the ceiling, too."""
Seeds = Sequence[Sequence[Scored]]
"""Answers of each seed of a method, in the order of the requests."""


@dataclass(frozen=True)
class RowFigures:
    """One method on one group of requests; shares are 0 to 1, nan where there is nothing to take a mean of.

    Attributes:
        group, row: of what, and of whom.
        seeds: over which all figures are means.
        summary: the measures; its interval is of the mean over seeds.
        least, most: gIoU of the worst and the best seed.
        boxes, points: an answer that found something.
        ms: median CPU time of an answer alone.
        share: measures over those of the true boxes.
    """

    group: str
    row: str
    seeds: int
    summary: Summary
    least: float
    most: float
    boxes: float
    points: float
    ms: float
    share: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Difference:
    """gIoU of ``first`` minus ``second``, means over seeds, on a group; the interval is paired and over scenes."""

    group: str
    first: str
    second: str
    count: int
    giou: float
    low: float
    high: float


def groups_of(requests: Sequence[SceneRequest]) -> Iterator[tuple[str, list[int]]]:
    """Groups of requests by number; none is empty."""
    keeps: list[tuple[str, Callable[[SceneRequest], bool]]] = [
        ("all", lambda r: True),
        ("needs language", lambda r: r.needs_language),
    ]
    for split in sorted({r.split for r in requests}, key=split_order):
        keeps.append((f"split {split}", lambda r, split=split: r.split == split))  # type: ignore[misc]
    for split in sorted({r.split for r in requests}, key=split_order):
        keeps.append(
            (f"{split}, needs language", lambda r, split=split: r.split == split and r.needs_language)  # type: ignore[misc]
        )
    for family in sorted({r.family for r in requests}):
        keeps.append((family, lambda r, family=family: r.family == family))  # type: ignore[misc]
    for name, keep in keeps:
        numbers = [i for i, request in enumerate(requests) if keep(request)]
        if numbers:
            yield name, numbers


def figures_of(requests: Sequence[SceneRequest], methods: Mapping[str, Seeds]) -> list[RowFigures]:
    """All rows of all groups, in the order of the groups, then of ``methods``."""
    found = []
    for group, numbers in groups_of(requests):
        rows = [_row(group, row, [[seed[i] for i in numbers] for seed in seeds]) for row, seeds in methods.items()]
        ceiling = next((row.summary for row in rows if row.row == CEILING), None)
        found += [dataclasses.replace(row, share=_shares(row.summary, ceiling)) for row in rows]
    return found


def differences_of(
    requests: Sequence[SceneRequest], methods: Mapping[str, Seeds], pairs: Sequence[tuple[str, str]]
) -> list[Difference]:
    """Differences of pairs of methods on all groups.

    Raises:
        ValueError: a method is not known.
    """
    for name in (name for pair in pairs for name in pair):
        if name not in methods:
            raise ValueError(f"{name!r} is not among the methods {', '.join(map(repr, methods))}")
    found = []
    for first, second in pairs:
        gains = _mean_iou(methods[first]) - _mean_iou(methods[second])
        for group, numbers in groups_of(requests):
            scenes = [requests[i].video for i in numbers]
            low, high = interval(scenes, gains[numbers].tolist())
            found.append(Difference(group, first, second, len(numbers), float(gains[numbers].mean()), low, high))
    return found


def _mean_iou(seeds: Seeds) -> np.ndarray:
    return np.mean([[one.score.iou for one in seed] for seed in seeds], axis=0)


def _row(group: str, row: str, seeds: Seeds) -> RowFigures:
    each = [summarise([one.score for one in seed]) for seed in seeds]
    low, high = interval([one.score.scene for one in seeds[0]], _mean_iou(seeds).tolist())
    names = [f.name for f in dataclasses.fields(Summary)]
    means: dict[str, Any] = {name: float(np.mean([getattr(summary, name) for summary in each])) for name in names}
    summary = Summary(**{**means, "count": each[0].count, "low": low, "high": high})
    gious = [one.giou for one in each]
    told = [one for seed in seeds for one in seed]
    found = [one for one in told if one.boxes]
    alone = [one.ms for one in told if not np.isnan(one.ms)]
    return RowFigures(
        group=group,
        row=row,
        seeds=len(seeds),
        summary=summary,
        least=min(gious),
        most=max(gious),
        boxes=float(np.mean([one.boxes for one in found])) if found else float("nan"),
        points=float(np.mean([one.points for one in found])) if found else float("nan"),
        ms=float(np.median(alone)) if alone else float("nan"),
    )


def _shares(summary: Summary, ceiling: Summary | None) -> dict[str, float]:
    if ceiling is None:
        return {}
    return {
        name: getattr(summary, name) / getattr(ceiling, name) if getattr(ceiling, name) else float("nan")
        for name in SHARED
    }
