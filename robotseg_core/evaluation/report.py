# SPDX-License-Identifier: Apache-2.0
"""The report: ``report.json`` for programs, ``report.md`` with plots and pictures for people."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from robotseg_core.evaluation.cases import write_sheets
from robotseg_core.evaluation.plots import plot_embodiments, plot_sweep, plot_time
from robotseg_core.evaluation.robustness import Sweep
from robotseg_core.evaluation.scores import Summary, VideoScore, number, summarise, total_false_pixels


@dataclass(frozen=True)
class Settings:
    """What was run, as far as figures depend on it.

    Attributes:
        command: the command line.
        root: of the data.
        preset: of the model.
        weights: their file.
        weights_sha256: of that file, empty where it is none.
        image_size: side of the model's input, pixels.
        device: on which the model ran.
        backend: of the encoder.
        protocols: that were run.
        parts: that were scored.
        memory: whether the stream remembered.
        refine: whether the answers of sessions were refined at the boundary.
        videos_in_root: number of videos of the root, of which some may have been left out.
    """

    command: str
    root: str
    preset: str
    weights: str
    weights_sha256: str
    image_size: int
    device: str
    backend: str
    protocols: tuple[str, ...]
    parts: tuple[str, ...]
    memory: bool
    refine: bool
    videos_in_root: int


def write_report(out: Path, settings: Settings, videos: Sequence[VideoScore]) -> None:
    """Write everything about an evaluation into ``out``, also about one that was broken off."""
    figures = {protocol: _figures(videos, protocol, settings.parts) for protocol in settings.protocols}
    whole = {"settings": asdict(settings), "results": figures, "videos": [video.as_json() for video in videos]}
    (out / "report.json").write_text(json.dumps(whole, indent=1) + "\n")
    lines = [*_head("Evaluation", settings, len(videos)), "", *overall_table(videos, settings), ""]
    if any(video.objects for video in videos):
        plot_embodiments(out / "embodiments.png", videos, settings.protocols, settings.parts)
        lines += ["## Per embodiment", "", *embodiment_table(videos, settings), "", "![](embodiments.png)", ""]
        if plot_time(out / "time.png", videos, settings.protocols, settings.parts):
            lines += ["## Over time", "", "J&F per frame, mean over videos.", "", "![](time.png)", ""]
    lines += ["## Cases", "", "The worst frame of each video: image, truth, answer.", ""]
    for protocol in settings.protocols:
        for name in write_sheets(out, protocol, list(videos)):
            lines += [f"{name.removesuffix('.jpg').replace('_', ': ')}", "", f"![]({name})", ""]
    lines += ["## Per video", "", *video_table(videos, settings), ""]
    (out / "report.md").write_text("\n".join(lines))


def write_sweep(out: Path, settings: Settings, result: Sweep) -> None:
    """Write everything about a robustness sweep into ``out``."""
    whole = {
        "settings": asdict(settings),
        "videos": result.videos,
        "checks": [row.as_json() for row in result.rows],
        "recovery": [row.as_json() for row in result.recovery],
    }
    (out / "robustness.json").write_text(json.dumps(whole, indent=1) + "\n")
    plot_sweep(out / "robustness.png", result)
    lines = [*_head("Robustness", settings, len(result.videos)), "", *sweep_table(result), ""]
    lines += ["![](robustness.png)", "", "## Wrong masks in memory", "", *recovery_table(result), ""]
    lines += [
        "In auto mode, the true mask displaced by half the image is put into memory in place of the answer. A part",
        "has recovered when its IoU is within 0.05 of the undisturbed run's. Parts with an undisturbed IoU below 0.5",
        "do not count.",
        "",
    ]
    (out / "robustness.md").write_text("\n".join(lines))


def overall_table(videos: Sequence[VideoScore], settings: Settings) -> list[str]:
    """J&F, J and F per protocol and part, and the false robot pixels."""
    rows = []
    for protocol in settings.protocols:
        for part in (*settings.parts, "all"):
            mine = [s for video in videos for s in video.of(protocol) if part in ("all", s.part)]
            false = total_false_pixels(videos, protocol) if part == "robot" else None
            text = f"{100 * false.share:.2f} % of {false.frames} frames" if false else "-"
            rows.append([protocol, part, *_cells(summarise(mine)), text])
    return _table(["protocol", "part", "objects", "J&F", "J (IoU)", "F", "false robot pixels"], rows)


def embodiment_table(videos: Sequence[VideoScore], settings: Settings) -> list[str]:
    """J&F of each part per embodiment and protocol."""
    rows = []
    for name in sorted({video.embodiment for video in videos}):
        group = [video for video in videos if video.embodiment == name]
        for protocol in settings.protocols:
            cells = []
            for part in settings.parts:
                summary = summarise(s for video in group for s in video.of(protocol) if s.part == part)
                cells.append(f"{_text(summary.jf)} ({_text(summary.j)} / {_text(summary.f)})")
            rows.append([name, str(len(group)), protocol, *cells])
    return _table(["embodiment", "videos", "protocol", *(f"{p}: J&F (J / F)" for p in settings.parts)], rows)


def video_table(videos: Sequence[VideoScore], settings: Settings) -> list[str]:
    """J and F of each part per video, and its false robot pixels."""
    rows = []
    for video in videos:
        for protocol in settings.protocols:
            scores = {score.part: score for score in video.of(protocol)}
            cells = [
                f"{_text(scores[part].j)} / {_text(scores[part].f)}" if part in scores else "-"
                for part in settings.parts
            ]
            false = total_false_pixels([video], protocol)
            marked = f"{100 * false.share:.2f} % of {false.frames}" if false else "-"
            rows.append([video.name, f"{video.annotated} of {video.frames}", protocol, *cells, marked])
    return _table(["video", "frames", "protocol", *(f"{p}: J / F" for p in settings.parts), "false pixels"], rows)


def sweep_table(result: Sweep) -> list[str]:
    """J&F per check, strength and part, with the change against the undisturbed run."""
    rows = []
    for row in result.rows:
        clean = result.clean(row)
        cells = [
            _text(summary.jf) if row is clean else f"{_text(summary.jf)} ({summary.jf - clean.parts[part].jf:+.1f})"
            for part, summary in row.parts.items()
        ]
        rows.append([row.check, row.strength or "-", row.protocol, *cells])
    return _table(["check", "strength", "protocol", *(f"{part}: J&F" for part in result.rows[0].parts)], rows)


def recovery_table(result: Sweep) -> list[str]:
    """How many parts recover from wrong masks, and how fast."""
    rows = [
        [
            row.case,
            str(row.objects),
            str(row.recovered),
            _text(row.frames),
            *(_text(100 * row.loss[i]) if row.loss else "-" for i in (0, -1)),
        ]
        for row in result.recovery
    ]
    header = ["wrong masks", "parts", "recovered", "median frames", "IoU lost at once", "IoU lost at the end"]
    return _table(header, rows)


def _figures(videos: Sequence[VideoScore], protocol: str, parts: Sequence[str]) -> dict[str, Any]:
    objects = [score for video in videos for score in video.of(protocol)]
    names = sorted({video.embodiment for video in videos})
    false = total_false_pixels(videos, protocol)

    def of_parts(group: Iterable[VideoScore]) -> dict[str, Any]:
        scores = [score for video in group for score in video.of(protocol)]
        return {part: summarise(s for s in scores if s.part == part).as_json() for part in parts}

    return {
        "all": summarise(objects).as_json(),
        "parts": of_parts(videos),
        "embodiments": {name: of_parts(v for v in videos if v.embodiment == name) for name in names},
        "false_robot_pixels": None
        if false is None
        else {"frames": false.frames, "percent": number(100 * false.share, 4)},
    }


def _head(title: str, settings: Settings, videos: int) -> list[str]:
    notes = [] if settings.memory else ["every frame on its own"]
    if settings.refine and set(settings.protocols) != {"stream"}:
        notes.append("sessions with boundary refinement")
    return [
        f"# {title}",
        "",
        f"`{settings.command}`",
        "",
        f"{settings.preset} at {settings.image_size} pixels on {settings.device} (encoder {settings.backend}), weights "
        f"`{Path(settings.weights).name}` (SHA-256 {settings.weights_sha256[:12] or 'none'}); "
        + "; ".join([f"{videos} of {settings.videos_in_root} videos", *notes])
        + ".",
    ]


def _cells(summary: Summary) -> list[str]:
    return [str(summary.objects), _text(summary.jf), _text(summary.j), _text(summary.f)]


def _text(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.1f}"


def _table(header: list[str], rows: list[list[str]]) -> list[str]:
    """A Markdown table that is also aligned for the terminal."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in [header, *rows]]
    rule = " | ".join("-" * max(3, width) for width in widths)
    return [f"| {line} |" for line in [lines[0], rule, *lines[1:]]]
