# SPDX-License-Identifier: Apache-2.0
"""The robustness sweep: worse frames, no memory, wrong memory, missed prompts."""

from __future__ import annotations

import dataclasses
import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from robotseg_core.evaluation.dataset import Video
from robotseg_core.evaluation.perturb import OCCLUSION_STRENGTHS, PERTURBATIONS, occlude
from robotseg_core.evaluation.recovery import Disturbance, RecoveryRow, disturb, summarise_recovery
from robotseg_core.evaluation.runner import Plan, run_video
from robotseg_core.evaluation.scores import ObjectScore, Summary, summarise
from robotseg_core.stream.robotseg import RobotSeg

MISSES: tuple[float, float, float] = (0.1, 0.25, 0.5)
"""How far prompts miss, as a part of the box's side."""
DEFAULT_LIMIT = 8
"""Videos of a sweep, where the user does not say."""


@dataclass(frozen=True)
class SweepRow:
    """One check at one strength.

    Attributes:
        check: its name.
        strength: with what, as text; empty for the undisturbed run.
        protocol: under which it was run.
        parts: mean scores per part.
    """

    check: str
    strength: str
    protocol: str
    parts: dict[str, Summary]

    def as_json(self) -> dict[str, Any]:
        """Plain types."""
        scores = {part: summary.as_json() for part, summary in self.parts.items()}
        return {"check": self.check, "strength": self.strength, "protocol": self.protocol, "parts": scores}


@dataclass(frozen=True)
class Sweep:
    """Everything that a sweep found.

    Attributes:
        videos: names of the videos.
        rows: checks in order; the first row of each protocol is undisturbed.
        recovery: from wrong masks in memory.
    """

    videos: tuple[str, ...]
    rows: tuple[SweepRow, ...]
    recovery: tuple[RecoveryRow, ...]

    def clean(self, row: SweepRow) -> SweepRow:
        """The undisturbed row that ``row`` is compared with."""
        return next(other for other in self.rows if other.protocol == row.protocol)


SWEPT: tuple[str, ...] = ("stream", "auto", "1c", "bb")
"""Protocols that a sweep runs: worse frames, wrong memory, missed prompts."""


def sweep(robotseg: RobotSeg, videos: list[Video], parts: tuple[str, ...], out: Path, *, refine: bool = True) -> Sweep:
    """Run every check; each finished one is written to ``out/robustness.jsonl`` at once.

    ``refine``: whether the answers to missed prompts are refined as published.

    Raises:
        ValueError: there is no video of several frames.
    """
    videos = [video for video in videos if len(video.frames) > 1]
    if not videos:
        raise ValueError("the robustness sweep needs videos, there are only single images")
    checks = _checks(parts, refine)
    rows: list[SweepRow] = []
    found: list[Disturbance] = []
    with (
        (out / "robustness.jsonl").open("w") as log,
        tqdm(total=(len(checks) + 1) * len(videos), desc="robustness", unit="video") as bar,
    ):
        for check, strength, plan in checks:
            objects: list[ObjectScore] = []
            for video in videos:
                objects += run_video(robotseg, video, plan).objects
                bar.update()
            for protocol in plan.protocols:
                mine = [score for score in objects if score.protocol == protocol]
                summaries = {part: summarise(s for s in mine if s.part == part) for part in parts}
                rows.append(SweepRow(check, strength, protocol, summaries))
                log.write(json.dumps(rows[-1].as_json()) + "\n")
            log.flush()
        for video in videos:
            found += disturb(robotseg, video, parts)
            bar.update()
        recovery = summarise_recovery(found)
        log.writelines(json.dumps(row.as_json()) + "\n" for row in recovery)
    return Sweep(tuple(video.name for video in videos), tuple(rows), tuple(recovery))


def _checks(parts: tuple[str, ...], refine: bool) -> list[tuple[str, str, Plan]]:
    """(check, strength, what is run)."""
    stream, prompted = Plan(("stream",), parts), Plan(("1c", "bb"), parts, refine=refine)
    checks = [("none", "", stream), ("memory", "off", dataclasses.replace(stream, memory=False))]
    for kind in PERTURBATIONS:
        for strength in kind.strengths:
            plan = dataclasses.replace(stream, spoil=kind.spoil(strength))
            checks.append((kind.name, f"{strength:g} ({kind.what})", plan))
    for strength in OCCLUSION_STRENGTHS:
        plan = dataclasses.replace(stream, spoil=functools.partial(occlude, strength))
        checks.append(("occlusion", f"{strength:g} (of the box's sides)", plan))
    checks.append(("none", "", prompted))
    for miss in MISSES:
        checks.append(("prompt misses", f"{miss:g} (of the box's sides)", dataclasses.replace(prompted, miss=miss)))
    return checks
