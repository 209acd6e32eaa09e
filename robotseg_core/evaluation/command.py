# SPDX-License-Identifier: Apache-2.0
"""``robotseg eval``: J&F of a model on any root in VRS layout, under any protocol, and its robustness."""

from __future__ import annotations

import argparse
import json
import shlex
import time
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from robotseg_core.evaluation.dataset import Video, choose, read_root
from robotseg_core.evaluation.protocols import PROTOCOLS
from robotseg_core.evaluation.report import (
    Settings,
    overall_table,
    recovery_table,
    sweep_table,
    write_report,
    write_sweep,
)
from robotseg_core.evaluation.robustness import DEFAULT_LIMIT, SWEPT, sweep
from robotseg_core.evaluation.runner import Plan, run_video
from robotseg_core.evaluation.scores import VideoScore
from robotseg_core.model_arguments import add_hygiene_argument, add_model_arguments, load_model
from robotseg_core.option_limits import MOST_ITEMS, check_option
from robotseg_core.stream.robotseg import RobotSeg
from robotseg_core.types import PARTS
from robotseg_core.weights.files import WeightsError, find_weights, sha256_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``robotseg eval``."""
    parser.add_argument("root", type=Path, help="folder with image/ (or frames/) and mask_gt/: videos or single images")
    parser.add_argument("--out", type=Path, help="folder for the report (default out/eval/<root>-<time>)")
    parser.add_argument(
        "--protocol",
        type=_names(PROTOCOLS, "protocol"),
        default=("stream",),
        metavar="A,B,...",
        help="of stream (as the node runs; default), auto, 1c, 3c, bb, mask, oi (as published)",
    )
    parser.add_argument(
        "--parts",
        type=_names(PARTS, "part"),
        default=PARTS,
        metavar="A,B,...",
        help="of arm, gripper, robot (default: all)",
    )
    parser.add_argument("--limit", type=int, help="take so many videos, of as many robots as possible")
    parser.add_argument("--no-memory", action="store_true", help="stream: forget everything before each frame")
    parser.add_argument("--no-refine", action="store_true", help="without the published boundary refinement")
    parser.add_argument("--save-masks", action="store_true", help="write every answer as PNG into OUT/masks")
    parser.add_argument(
        "--robustness",
        action="store_true",
        help=f"sweep of worse frames, memory and prompts in place of the scores (default --limit {DEFAULT_LIMIT})",
    )
    add_model_arguments(parser)
    add_hygiene_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the evaluation or the sweep, print its table, write its report."""
    check_option("--limit", arguments.limit, 1, MOST_ITEMS)
    if arguments.robustness and (arguments.no_memory or arguments.save_masks or arguments.protocol != ("stream",)):
        raise ValueError("--robustness chooses its own runs: leave out --protocol, --no-memory and --save-masks")
    if arguments.no_memory and arguments.protocol != ("stream",):
        raise ValueError("--no-memory goes with --protocol stream alone")
    every = read_root(arguments.root)
    limit = DEFAULT_LIMIT if arguments.robustness and arguments.limit is None else arguments.limit
    videos = choose(every, limit)
    out: Path = arguments.out or Path("out/eval") / f"{arguments.root.resolve().name}-{time.strftime('%Y%m%d-%H%M%S')}"
    if arguments.save_masks and (out / "masks").exists():
        raise FileExistsError(f"{out / 'masks'} exists: masks of two runs would be mixed; give another --out")
    out.mkdir(parents=True, exist_ok=True)
    robotseg = load_model(arguments)
    settings = _settings(arguments, robotseg, len(every))
    if arguments.robustness:
        result = sweep(robotseg, videos, arguments.parts, out, refine=settings.refine)
        write_sweep(out, settings, result)
        print("\n".join([*sweep_table(result), "", *recovery_table(result)]))
        print(f"report: {out / 'robustness.md'}")
        return 0
    _evaluate(robotseg, videos, settings, out, save_masks=arguments.save_masks)
    return 0


def _evaluate(robotseg: RobotSeg, videos: list[Video], settings: Settings, out: Path, *, save_masks: bool) -> None:
    plan = Plan(settings.protocols, settings.parts, memory=settings.memory, refine=settings.refine)
    scores: list[VideoScore] = []
    try:
        # Line by line as they come, beside those of earlier runs: hours of work outlive a crash.
        with (out / "results.jsonl").open("a") as log, tqdm(videos, unit="video") as bar:
            log.write(json.dumps({"run": settings.command}) + "\n")
            for video in bar:
                bar.set_postfix_str(video.name)
                masks = out / "masks" if save_masks else None
                scores.append(run_video(robotseg, video, plan, cases=out / "cases", masks=masks))
                log.write(json.dumps(scores[-1].as_json()) + "\n")
                log.flush()
    finally:
        if scores:
            write_report(out, settings, scores)
            print("\n".join(overall_table(scores, settings)))
            print(f"{len(scores)} of {len(videos)} videos; report: {out / 'report.md'}")


def _settings(arguments: argparse.Namespace, robotseg: RobotSeg, videos: int) -> Settings:
    try:
        weights = find_weights(robotseg.source)
        digest = sha256_of(weights)
    except WeightsError:
        weights, digest = Path(robotseg.source), ""
    given = [f"--preset {robotseg.preset}"] + ([f"--weights {arguments.weights}"] if arguments.weights else [])
    given += [f"--adapter {arguments.adapter}"] if arguments.adapter else []
    if arguments.protocol != ("stream",) and not arguments.robustness:
        given.append(f"--protocol {','.join(arguments.protocol)}")
    if arguments.parts != PARTS:
        given.append(f"--parts {','.join(arguments.parts)}")
    if arguments.limit is not None:
        given.append(f"--limit {arguments.limit}")
    given += [
        f"--{name}" for name in ("no-memory", "no-refine", "robustness") if getattr(arguments, name.replace("-", "_"))
    ]
    given += [f"--hygiene {arguments.hygiene}"] if arguments.hygiene != "auto" else []
    given.append(f"--precision {robotseg.precision}")
    size = robotseg.model.config.image_size
    return Settings(
        command=f"robotseg eval {shlex.quote(str(arguments.root))} --image-size {size} {' '.join(given)}",
        root=str(arguments.root),
        preset=robotseg.preset,
        weights=str(weights),
        weights_sha256=digest,
        image_size=size,
        device=robotseg.device,
        backend=robotseg.backend,
        protocols=SWEPT if arguments.robustness else arguments.protocol,
        parts=arguments.parts,
        memory=not arguments.no_memory,
        refine=not arguments.no_refine,
        videos_in_root=videos,
    )


def _names(known: tuple[str, ...], what: str) -> Callable[[str], tuple[str, ...]]:
    """Parser of comma-separated names of a known set."""

    def parse(text: str) -> tuple[str, ...]:
        names = tuple(dict.fromkeys(text.split(",")))
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{what} {name!r} is none of {', '.join(known)}")
        return names

    return parse
