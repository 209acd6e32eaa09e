# SPDX-License-Identifier: Apache-2.0
"""Fills the table of comparisons of the policies that read requests (SEGR1 10.7), in one pass over each set.

    python scripts/language_table.py SET... --policies supervised=A.safetensors supervised=B.safetensors \
        grpo=C.safetensors --boxes CACHE/SET --compare grpo supervised --out out/language-table

A name that is given several times stands for seeds of one method: their figures are averaged.  Each frame is encoded
once, then everybody answers the same requests: random and average boxes, the category alone, the rules, each policy,
each policy kept from reading (a fixed text), from seeing (another video's frame) and with shuffled requests, the best
of several drawn answers, and the true boxes.  ``OUT`` gets table.md, table.json and, for each set, the requests, all
scores (CSV) and a sheet of pictures.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from robotseg_core.evaluation.language.sets import AskedSet, set_of
from robotseg_core.evaluation.language.table import contestants as who
from robotseg_core.evaluation.language.table.boxes import Box, average_boxes, instance_boxes, leaf_boxes
from robotseg_core.evaluation.language.table.contest import Contest, Scored, hold_contest
from robotseg_core.evaluation.language.table.figures import differences_of, figures_of
from robotseg_core.evaluation.language.table.pages import choose_pictures, markdown, picture_sheet
from robotseg_core.instruct.rules import RulesPolicy
from robotseg_core.instruct.small.policy import SmallPolicy
from robotseg_core.model_arguments import add_model_arguments, load_model
from robotseg_core.stream.robotseg import RobotSeg
from robotseg_core.synth.requests.free import FreeRequest, choose_free, read_free
from robotseg_core.synth.requests.generate import SceneRequest, choose_requests, read_requests, write_requests
from robotseg_core.train.language.cache import load_cached

BOX_FRAMES = 500
"""Of a set at most, from which average boxes are made."""


def arguments_of(words: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("roots", nargs="+", type=Path, help="sets as of `robotseg eval-language`")
    parser.add_argument("--policies", nargs="+", default=[], metavar="NAME=FILE", help="a name again: another seed")
    parser.add_argument("--alone", nargs="+", default=[], metavar="NAME",
                        help="of them: the network answers by itself, without rules and candidates")  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("out/language-table"))
    parser.add_argument("--frames", type=int, default=1, help="frames a video, spread evenly (default the first)")
    parser.add_argument("--each", type=int, default=8, help="requests a frame (default 8)")
    parser.add_argument("--limit", type=int, help="frames of a set at most, spread evenly")
    parser.add_argument("--seed", type=int, default=0, help="of the requests and of all that is drawn")
    parser.add_argument("--requests", type=Path, help="requests of a file instead (one set)")
    parser.add_argument("--free", type=Path, help="file of freely written requests: split `free`")
    parser.add_argument("--free-each", type=int, default=3, help="of them a frame at most (default 3)")
    parser.add_argument("--boxes", nargs="+", type=Path, default=[],
                        help="training set for average boxes: folders of cached frames, or sets")  # fmt: skip
    parser.add_argument("--controls", nargs="*", metavar="NAME",
                        help="policies that are made blind and shuffled, too (default all)")  # fmt: skip
    parser.add_argument("--blind-text", default="robot", help="what a text-blind policy reads (default robot)")
    parser.add_argument("--best-of", type=int, default=16, metavar="N", help="answers drawn (default 16; 0: none)")
    parser.add_argument("--best-names", nargs="*", metavar="NAME", help="policies of which (default all)")
    parser.add_argument("--extra-seeds", type=int, metavar="N",
                        help="seeds of a method that controls and best-of are made for (default all)")  # fmt: skip
    parser.add_argument("--compare", nargs=2, action="append", default=[], metavar=("A", "B"), help="difference A - B")
    parser.add_argument("--pictures", type=int, default=16, help="requests on the sheet (default 16)")
    add_model_arguments(parser)
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> None:
    """Measure all sets and write."""
    arguments = arguments_of(words)
    if arguments.requests is not None and len(arguments.roots) > 1:
        raise SystemExit("--requests is of one set")
    robotseg = load_model(arguments)
    policies = [named(text, robotseg, arguments.alone) for text in arguments.policies]
    boxes = average_boxes([box for path in arguments.boxes for box in boxes_of(path)]) if arguments.boxes else None
    free = read_free(arguments.free) if arguments.free else []
    arguments.out.mkdir(parents=True, exist_ok=True)
    text = [f"# Requests in words, {robotseg.preset} {robotseg.sha256[:12]}, {robotseg.precision}", ""]
    report: dict[str, Any] = {
        "model": {"preset": robotseg.preset, "sha256": robotseg.sha256, "precision": robotseg.precision},
        "policies": arguments.policies,
        "average_boxes": boxes,
        "sets": [],
    }
    for number, root in enumerate(arguments.roots):
        frames = set_of(root)
        name = f"{number}-{root.resolve().name}"
        requests = (
            read_requests(arguments.requests) if arguments.requests else list(requests_of(frames, arguments, free))
        )
        told = contestants_of(arguments, robotseg, policies, requests, boxes)
        begun = time.perf_counter()
        kept = choose_pictures(requests, arguments.pictures, seed=arguments.seed)
        contest = hold_contest(robotseg, frames, requests, told, kept=kept)
        wall = time.perf_counter() - begun
        methods: dict[str, list[list[Scored]]] = {}
        for contestant, scored in zip(told, contest.scored, strict=True):
            methods.setdefault(contestant.row, []).append(scored)
        rows = figures_of(requests, methods)
        differences = differences_of(requests, methods, [tuple(pair) for pair in arguments.compare])
        cost = cost_of(contest, wall)
        text += [f"## {name}: {len(requests)} requests on {contest.frames} frames", "", cost, ""]
        text += [markdown(rows, differences), ""]
        report["sets"].append(
            {
                "root": str(root),
                "requests": len(requests),
                "frames": contest.frames,
                "wall_s": wall,
                "cpu_s": contest.cpu_s,
                "rows": [flat(row) for row in rows],
                "differences": [dataclasses.asdict(d) for d in differences],
            }
        )
        write_requests(arguments.out / f"{name}-requests.jsonl", requests)
        write_scores(arguments.out / f"{name}-scores.csv", methods)
        first = {c.row: i for i, c in reversed(list(enumerate(told)))}
        columns = [(row, i) for row, i in first.items() if "," not in row and row not in (who.RANDOM, who.AVERAGE)]
        columns.sort(key=lambda column: column[1])
        ious = [[one.score.iou for one in scored] for scored in contest.scored]
        sheet = picture_sheet(requests, contest.pictures, columns, ious)
        cv2.imwrite(str(arguments.out / f"{name}-sheet.jpg"), sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])
        (arguments.out / "table.md").write_text("\n".join(text))
        (arguments.out / "table.json").write_text(json.dumps(finite(report), indent=1) + "\n")
    print("\n".join(text))


def named(text: str, robotseg: RobotSeg, alone: Sequence[str]) -> tuple[str, SmallPolicy]:
    """A policy of ``NAME=FILE``."""
    name, _, file = text.partition("=")
    if not name or not file or "," in name:
        raise SystemExit(f"--policies takes NAME=FILE without a comma in the name, not {text!r}")
    return name, SmallPolicy.load(Path(file), robotseg, alone=name in alone)


def boxes_of(path: Path) -> list[tuple[str, Box]]:
    """Boxes of the instances of a set, or of a folder of cached frames."""
    files = sorted(path.glob("*.safetensors"))
    found: list[tuple[str, Box]] = []
    if files:
        for file in few(files, BOX_FRAMES):
            frame = load_cached(file)
            found += instance_boxes(frame.asked, frame.boxes)
        return found
    frames = set_of(path)
    for video, index in few(frames.indices(1), BOX_FRAMES):
        found += instance_boxes(frames.asked(video, index), leaf_boxes(frames.frame(video, index)[1]))
    return found


def few(items: Sequence[Any], most: int | None) -> list[Any]:
    """At most so many, spread evenly."""
    if most is None or len(items) <= most:
        return list(items)
    return [items[i] for i in sorted({int(at) for at in np.linspace(0, len(items) - 1, most).round()})]


def requests_of(frames: AskedSet, arguments: argparse.Namespace, free: Sequence[FreeRequest]) -> list[SceneRequest]:
    """Requests of a set, those of one frame together."""
    found = []
    for video, index in few(frames.indices(arguments.frames), arguments.limit):
        asked = frames.asked(video, index)
        found += choose_requests(asked, video, index, seed=arguments.seed, each=arguments.each)
        found += choose_free(free, asked, video, index, seed=arguments.seed, each=arguments.free_each)
    return found


def contestants_of(
    arguments: argparse.Namespace,
    robotseg: RobotSeg,
    policies: Sequence[tuple[str, SmallPolicy]],
    requests: Sequence[SceneRequest],
    boxes: dict[str, Box] | None,
) -> list[who.Contestant]:
    """Everybody who answers, in the order of the table."""
    known = [name for name, _ in policies]
    controls = known if arguments.controls is None else arguments.controls
    best = known if arguments.best_names is None else arguments.best_names
    told = {one.row: one for one in who.told(boxes, seed=arguments.seed)}
    last = [told.pop(who.CEILING), told.pop(who.WITH_POINTS)]
    shuffled = who.shuffled_texts(requests, seed=arguments.seed)
    several = len({one.video for one in requests}) > 1
    found: list[who.Contestant] = [*told.values(), who.Reads(who.RULES, RulesPolicy())]
    found += [who.Reads(name, policy) for name, policy in policies]
    first = [(n, p) for i, (n, p) in enumerate(policies) if known[:i].count(n) < (arguments.extra_seeds or len(known))]
    for name, policy in first:
        if name in controls:
            found.append(who.Reads(f"{name}, text-blind", policy, lambda one: arguments.blind_text))
            if several:
                found.append(who.Reads(f"{name}, image-blind", policy, blind=True))
            found.append(who.Reads(f"{name}, shuffled", policy, shuffled.__getitem__))
    for name, policy in first:
        if name in best and arguments.best_of > 0:
            row = f"{name}, best of {arguments.best_of}"
            found.append(who.BestOf(row, policy, robotseg, count=arguments.best_of, seed=arguments.seed))
    return [*found, *last]


def cost_of(contest: Contest, wall: float) -> str:
    """What the pass took."""
    spent = contest.cpu_s
    each = ", ".join(f"{what} {1000 * seconds / contest.frames:.0f}" for what, seconds in spent.items())
    return (
        f"{sum(spent.values()) / contest.frames:.2f} s of CPU a frame (ms: {each}), "
        f"{wall / contest.frames:.2f} s of wall time."
    )


def flat(row: Any) -> dict[str, Any]:
    """A row of figures as one mapping."""
    found = dataclasses.asdict(row)
    return {**{k: v for k, v in found.items() if k != "summary"}, **found["summary"]}


def finite(value: Any) -> Any:
    """The same with None in the place of nan."""
    if isinstance(value, dict):
        return {key: finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def write_scores(path: Path, methods: dict[str, list[list[Scored]]]) -> None:
    """Every answer, so that figures can be made of other groups later."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["request", "row", "seed", "iou", "s", "said_none", "wrong", "boxes", "points", "ms"])
        for row, seeds in methods.items():
            for seed, scored in enumerate(seeds):
                for number, one in enumerate(scored):
                    s = one.score
                    writer.writerow(
                        [number, row, seed, f"{s.iou:.4f}", f"{s.structure:.4f}", int(s.said_none), int(s.wrong),
                         one.boxes, one.points, f"{one.ms:.1f}"]
                    )  # fmt: skip


if __name__ == "__main__":
    main()
