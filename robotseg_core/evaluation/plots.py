# SPDX-License-Identifier: Apache-2.0
"""Plots of the report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np

from robotseg_core.evaluation.cases import COLOURS_OF_PARTS
from robotseg_core.evaluation.robustness import Sweep
from robotseg_core.evaluation.scores import VideoScore, summarise

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402

COLOURS = {part: tuple(channel / 255 for channel in colour) for part, colour in COLOURS_OF_PARTS.items()}
COLUMNS = 4
"""Plots beside each other."""
MAX_POINTS = 60
"""Points of a curve over time; longer videos are averaged in as many groups of frames."""


def plot_embodiments(file: Path, videos: Sequence[VideoScore], protocols: Sequence[str], parts: Sequence[str]) -> None:
    """Bars of J&F (J, where there is no F) per embodiment and part, a row for each protocol."""
    names = sorted({video.embodiment for video in videos if video.objects})
    figure, axes = plt.subplots(
        len(protocols), 1, figsize=(max(6.0, 1.1 * len(names) + 2), 2.6 * len(protocols)), squeeze=False
    )
    width = 0.8 / len(parts)
    for axis, protocol in zip(axes[:, 0], protocols, strict=True):
        for offset, part in enumerate(parts):
            values = []
            for name in names:
                mine = [s for v in videos if v.embodiment == name for s in v.of(protocol) if s.part == part]
                summary = summarise(mine)
                values.append(summary.j if np.isnan(summary.jf) else summary.jf)
            axis.bar(np.arange(len(names)) + offset * width, values, width, color=COLOURS[part], label=part)
        axis.set_xticks(np.arange(len(names)) + 0.4 - width / 2, names, rotation=20, ha="right")
        axis.set_ylim(0, 100)
        axis.set_ylabel("J&F (one frame: IoU), %")
        axis.set_title(protocol)
        axis.grid(axis="y", alpha=0.3)
    axes[0, 0].legend(loc="upper right")
    _save(figure, file)


def plot_time(file: Path, videos: Sequence[VideoScore], protocols: Sequence[str], parts: Sequence[str]) -> bool:
    """J&F over the frames of a video, mean over videos; False and no file where there are only single frames."""
    longest = max((f.index for v in videos for s in v.objects if len(s.frames) > 1 for f in s.frames), default=0)
    if not longest:
        return False
    group = -(-(longest + 1) // MAX_POINTS)
    columns = min(COLUMNS, len(protocols))
    rows = -(-len(protocols) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(3.4 * columns + 1, 3.2 * rows), squeeze=False, sharey=True)
    for axis in axes.flat[len(protocols) :]:
        axis.set_axis_off()
    for axis, protocol in zip(axes.flat, protocols, strict=False):
        for part in parts:
            found: dict[int, list[float]] = {}
            for video in videos:
                for score in video.of(protocol):
                    if score.part == part and len(score.frames) > 1:
                        for frame in score.frames:
                            found.setdefault(frame.index // group, []).append(50 * (frame.j + frame.f))
            at = sorted(found)
            axis.plot([group * i for i in at], [np.mean(found[i]) for i in at], ".-", color=COLOURS[part], label=part)
        axis.set_xlabel("frame")
        axis.set_ylim(0, 100)
        axis.set_title(protocol)
        axis.grid(alpha=0.3)
    axes[0, 0].set_ylabel("J&F, %")
    axes[0, 0].legend()
    _save(figure, file)
    return True


def plot_sweep(file: Path, result: Sweep) -> None:
    """J&F over the strength of each check, and IoU lost after wrong masks."""
    checks = list(dict.fromkeys((row.check, row.protocol) for row in result.rows if row.check != "none"))
    rows_of_axes = -(-(len(checks) + 1) // COLUMNS)
    figure, axes = plt.subplots(rows_of_axes, COLUMNS, figsize=(14, 3.2 * rows_of_axes), squeeze=False)
    for axis, (check, protocol) in zip(axes.flat, checks, strict=False):
        rows = [row for row in result.rows if (row.check, row.protocol) == (check, protocol)]
        rows = [result.clean(rows[0]), *rows]
        for part in rows[0].parts:
            axis.plot([row.parts[part].jf for row in rows], "o-", color=COLOURS[part], label=part)
        axis.set_xticks(range(len(rows)), ["none", *(row.strength.split(" ")[0] for row in rows[1:])])
        axis.set_ylim(0, 100)
        axis.set_title(f"{check} ({protocol})")
        axis.grid(alpha=0.3)
    for axis in axes.flat[len(checks) :]:
        axis.set_axis_off()
    last = axes.flat[len(checks)]
    last.set_axis_on()
    for row in result.recovery:
        if row.loss:
            last.plot([100 * loss for loss in row.loss], "o-", label=f"{row.case} ({row.objects})")
    last.set_title("wrong masks in memory")
    last.set_xlabel("frames after the last one")
    last.set_ylabel("IoU lost, points")
    last.grid(alpha=0.3)
    if last.lines:
        last.legend()
    axes[0, 0].set_ylabel("J&F, %")
    axes[0, 0].legend()
    _save(figure, file)


def _save(figure: plt.Figure, file: Path) -> None:
    figure.tight_layout()
    figure.savefig(file, dpi=90)
    plt.close(figure)
