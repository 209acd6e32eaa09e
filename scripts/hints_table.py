# SPDX-License-Identifier: Apache-2.0
"""Measures what hints and memory of the shipped weights (or ``--weights``) change, and writes one table of it.

    python scripts/hints_table.py --shared ../shared --objects FOLDER --out out/hints-table

Every step is one ``robotseg`` command, which the table names; its figures lie in a folder of its own below ``--out``.
What lies there already is not measured again: the script may be broken off and started anew, and ``--steps`` measures
some of the steps.  Other weights need another ``--out``.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robotseg_core.cli import main as robotseg
from robotseg_core.evaluation.hints.without import BOXES

Figure = Callable[[dict[str, Any]], float]


@dataclass(frozen=True)
class Step:
    """One command; its words hold {real}, {starter}, {objects}, {no_robot} and {depth} for folders."""

    name: str
    words: str
    report: str = "hints.json"


@dataclass(frozen=True)
class Row:
    """A row of the table: what, of which step, where it stands there, and the goal in words."""

    what: str
    step: str
    figure: Figure
    goal: str


def told(text: str, target: str) -> Figure:
    """The figure of a row of ``hints.json``, by what was told and of what; a hanging row by its parent's, ``a > b``."""
    parent, _, child = text.rpartition(" > ")

    def find(report: dict[str, Any]) -> float:
        under = ""
        for row in report["rows"]:
            hanging = row["told"].startswith("  ")
            under = under if hanging else row["told"]
            if row["target"] == target and row["told"].strip() == child and (not parent or under == parent):
                return float(row["figure"])
        return float("nan")

    return find


def scored(part: str, key: str) -> Figure:
    """A figure of ``report.json`` of ``robotseg eval``, 0 to 100."""

    def find(report: dict[str, Any]) -> float:
        value = report["results"]["stream"]["parts"][part][key]
        return float("nan") if value is None else float(value)

    return find


def steps(limit: int, robustness: bool) -> list[Step]:
    """All of them, those that take longest last."""
    few = f"--limit {limit}"
    found = [
        Step("real", "eval {real}", "report.json"),
        Step("real-rough", "eval {real} --hygiene off", "report.json"),
        Step("real-frames", "eval-hints {real} --only frame,negative,thin,absent --absent {no_robot}"),
        Step("real-videos", "eval-hints {real} --frames video --only first-mask,late"),
        Step("depth", "eval-hints {real} --limit 1 --only depth --depth {depth}"),
        Step("objects", "eval-hints {objects} --only objects"),
        Step("pairs", "eval-hints {objects} --only pairs"),
        Step("back", f"eval-hints {{starter}} {few} --only back --absent {{no_robot}}"),
        Step("videos", f"eval-hints {{starter}} {few} --only first-mask,memory,late,thin"),
        Step("starter", "eval {starter}", "report.json"),
        Step("starter-rough", "eval {starter} --hygiene off", "report.json"),
    ]
    found += [
        Step(f"without-{box}", f"eval-hints {{starter}} {few} --only first-mask,memory --without {box}")
        for box in ("none", *BOXES)
    ]
    if robustness:
        found.append(Step("robustness", f"eval {{starter}} {few} --robustness", "robustness.json"))
    return found


def rows() -> list[Row]:
    """The table."""
    on_frame = "IoU of the hinted frame"
    table = [
        Row(f"{part}, no hint: IoU of the frame", "real-frames", told(f"auto: {on_frame}", part), "")
        for part in ("arm", "gripper", "robot")
    ]
    for hint, words, goals in (
        ("1c", "one click", {"gripper": ">= 0.70", "robot": ">= 0.85"}),
        ("3c", "three clicks", {"gripper": ">= 0.80"}),
        ("bb", "its box", {"gripper": ">= 0.78"}),
    ):
        for part in ("arm", "gripper", "robot"):
            figure = told(f"{hint}: {on_frame}", part)
            table.append(Row(f"{part}, {words}", "real-frames", figure, goals.get(part, "")))
    for text, goal in (
        ("negative click: share of things gone", ">= 0.80"),
        ("negative click: share of things gone > and gone for 10 frames", ">= 0.80"),
        ("negative click: share of things gone > IoU of what was right, before and after", ""),
    ):
        table.append(Row(text.rpartition(" > ")[2], "real-frames", told(text, "robot"), goal))
    for step, where in (("videos", "rendered"), ("real-videos", "real")):
        for part in ("gripper", "robot", "all"):
            for text in ("no hint", "first mask given"):
                for measure in ("J&F", "IoU"):
                    figure = told(f"{text}: {measure} of later frames", part)
                    goal = "" if text == "no hint" else "+8 J&F" if where == "rendered" else "+0.08 IoU"
                    table.append(Row(f"{where} videos, {part}, {text}: {measure} later", step, figure, goal))
        for part in ("gripper", "robot"):
            for hint in ("1c", "bb"):
                first = f"{hint} in mid-video: IoU of that frame"
                table.append(Row(f"{where}, {part}, {first}", step, told(first, part), ""))
                figure = told(f"{first} > J&F of the frames after it", part)
                table.append(Row(f"{where}, {part}, {hint} in mid-video: J&F after it", step, figure, ""))
    for hint, words, goal in (("1c", "one click", ">= 0.60"), ("bb", "its box", ">= 0.75"), ("mask", "its mask", "")):
        table.append(Row(f"any object, {words}: IoU", "objects", told(f"{hint}: {on_frame}", "object"), goal))
        figure = told(f"{hint}: J&F of later frames", "object")
        table.append(Row(f"any object, {words}: J&F later", "objects", figure, ">= 65" if hint == "mask" else ""))
    for text in ("memory on, frames that need it: J&F", "memory off, frames that need it: J&F"):
        table.append(Row(text, "videos", told(text, "all"), "+10" if " on" in text else ""))
    for hint in ("auto", "1c", "bb"):
        first = f"{hint} on one of two robots: its IoU"
        for text in (
            first,
            f"{first} > share of the other's pixels marked, all frames",
            f"{first} > share of robots whose other has 2 % at most",
        ):
            goal = "<= 0.02" if "marked" in text and hint != "auto" else ""
            what = text if text == first else f"{hint}: {text.rpartition(' > ')[2]}"
            table.append(Row(what, "pairs", told(text, "robot"), goal))
    for way in ("auto", "1c", "bb", "region", "max_depth", "region and max_depth"):
        first = f"{way}: IoU of the robot meant"
        table.append(Row(f"a robot behind another, {first}", "depth", told(first, "robot"), ""))
        outside = told(f"{first} > marked outside it, share of its area", "robot")
        table.append(Row(f"a robot behind another, {way}: marked outside it", "depth", outside, "<= 0.02"))
    for step, words in (("real", ""), ("real-rough", ", hygiene off")):
        for part, goal in (("robot", "80"), ("arm", "78"), ("gripper", "65")):
            table.append(Row(f"real frames, {part}{words}: IoU", step, scored(part, "J"), goal))
    for step, words in (("starter", ""), ("starter-rough", ", hygiene off")):
        for part, goal in (("robot", "85"), ("arm", "76"), ("gripper", "70")):
            table.append(Row(f"rendered videos, {part}{words}: J&F", step, scored(part, "J&F"), goal))
    away = "away for 100 frames: frames until TRACKING"
    table += [
        Row("no robot: % of pixels marked", "real-frames", told("no robot: % of pixels marked", "robot"), "<= 0.5"),
        Row("no robot: % of pictures unmarked", "real-frames", told("no robot: % of pictures unmarked", "robot"), "99"),
        Row(
            "away for 10 s: frames until TRACKING",
            "back",
            told("away for 100 frames: frames until TRACKING", "robot"),
            "",
        ),
        Row(
            "away for 10 s: the most",
            "back",
            told(f"{away} > the most", "robot"),
            "<= 5",
        ),
    ]
    for step, where in (("real-frames", "real"), ("videos", "rendered")):
        text = "thin pieces of grippers: recall as gripper"
        table.append(Row(f"{where}: {text}", step, told(text, "gripper"), ""))
        table.append(Row(f"{where}: the same, as robot", step, told(f"{text} > as robot", "robot"), ""))
    for box in ("none", *BOXES):
        for text in (
            "no hint: J&F of later frames",
            "first mask given: J&F of later frames",
            "memory on, frames that need it: J&F",
        ):
            table.append(Row(f"without {box}: {text}", f"without-{box}", told(text, "all"), ""))
    return table


def main() -> int:
    """Run the steps that are missing, write ``table.md``."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="folder with real/ and starter/")
    parser.add_argument("--objects", type=Path, help="rendered videos with instance maps and targets.json")
    parser.add_argument("--out", type=Path, default=Path("out/hints-table"))
    parser.add_argument("--weights", type=Path, help="weight file (default: the shipped one)")
    parser.add_argument("--limit", type=int, default=8, help="rendered videos for what takes long (default 8)")
    parser.add_argument("--real-limit", type=int, help="real clips at most (default: all)")
    parser.add_argument("--objects-limit", type=int, help="videos with targets at most (default: all)")
    parser.add_argument("--steps", help="names of steps, by commas (default: all)")
    parser.add_argument("--robustness", action="store_true", help="the sweep of robotseg eval --robustness, too")
    options = parser.parse_args()
    every = steps(options.limit, options.robustness)
    wanted = options.steps.split(",") if options.steps else [step.name for step in every]
    if unknown := set(wanted) - {step.name for step in every}:
        parser.error(f"--steps names {', '.join(sorted(unknown))}, known are {', '.join(s.name for s in every)}")
    real = options.shared / "real"
    folders = {
        "real": f"{real / 'val'}",
        "starter": f"{options.shared / 'starter' / 'val'}",
        "no_robot": f"{real / 'no_robot'}",
        "depth": f"{real / 'rgbd' / 'xarm7'}",
        "objects": f"{options.objects}",
    }
    for step in every:
        if step.name in wanted and not (options.objects is None and "{objects}" in step.words):
            _run(step, folders, options)
    text = write_table(options.out, every)
    print(text)
    return 0


def _run(step: Step, folders: dict[str, str], options: argparse.Namespace) -> None:
    out = options.out / step.name
    if (out / step.report).is_file():
        return
    argv = [word.format(**folders) for word in step.words.split()]
    if argv[-2:] == ["--without", "none"]:
        # In PyTorch as the others.
        argv[-2:] = ["--backend", "torch"]
    for folder, limit in (("{real}", options.real_limit), ("{objects}", options.objects_limit)):
        if folder in step.words and limit is not None and "--limit" not in argv:
            argv += ["--limit", str(limit)]
    if options.weights is not None:
        argv += ["--weights", str(options.weights)]
    argv += ["--out", str(out)]
    print("robotseg", shlex.join(argv), flush=True)
    if robotseg(argv):
        raise SystemExit(f"step {step.name} failed")
    (out / "command.txt").write_text(f"robotseg {shlex.join(argv)}\n")


def write_table(out: Path, every: list[Step]) -> str:
    """Write ``table.md`` from what is there; its text."""
    reports = {s.name: out / s.name / s.report for s in every}
    read = {name: json.loads(path.read_text()) for name, path in reports.items() if path.is_file()}
    lines = ["| what | figure | goal | step |", "|---|---|---|---|"]
    for row in rows():
        if row.step in read:
            figure = row.figure(read[row.step])
            shown = f"{figure:.1f}" if abs(figure) >= 3 else f"{figure:.3f}"
            lines.append(f"| {row.what} | {shown} | {row.goal} | {row.step} |")
    lines += ["", "| step | command |", "|---|---|"]
    for name in read:
        command = out / name / "command.txt"
        if command.is_file():
            lines.append(f"| {name} | `{command.read_text().strip()}` |")
    text = "\n".join(lines) + "\n"
    out.mkdir(parents=True, exist_ok=True)
    (out / "table.md").write_text(text)
    return text


if __name__ == "__main__":
    sys.exit(main())
