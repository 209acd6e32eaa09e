# SPDX-License-Identifier: Apache-2.0
"""``robotseg eval-hints``: one table of what hints and memory change."""

from __future__ import annotations

import argparse
import contextlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from robotseg_core.evaluation.dataset import Video, choose, read_root
from robotseg_core.evaluation.hints import measure, unhinted
from robotseg_core.evaluation.hints.objects import robots_of_pairs, things
from robotseg_core.evaluation.hints.one_of_two import WAYS, one_of_two
from robotseg_core.evaluation.hints.without import BOXES, without
from robotseg_core.evaluation.scores import ObjectScore, summarise
from robotseg_core.files.frames import IMAGE_SUFFIXES
from robotseg_core.model_arguments import add_hygiene_argument, add_model_arguments, load_model
from robotseg_core.option_limits import MOST_DEPTH_M, MOST_ITEMS, check_option
from robotseg_core.stream.robotseg import RobotSeg
from robotseg_core.types import PARTS

SECTIONS = (
    *("frame", "negative", "first-mask", "late", "memory", "thin"),
    *("objects", "pairs", "depth", "absent", "back"),
)
"""What is measured; sections whose data is not given are left out."""

LEAST_DEPTH_M = 0.01
Row = tuple[str, str, int, float]
"""What was told, of what, how many cases, the figure."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``robotseg eval-hints``."""
    parser.add_argument("root", type=Path, help="folder with image/ (or frames/) and mask_gt/")
    parser.add_argument("--out", type=Path, default=Path("out/eval-hints"), help="folder for hints.json")
    parser.add_argument("--frames", help="folder of ROOT with the frames, e.g. video (default image or frames)")
    parser.add_argument("--absent", type=Path, help="folder of pictures without robots")
    parser.add_argument("--depth", type=Path, help="folder of frames with depth and the mask of one of two robots")
    parser.add_argument("--max-depth", type=float, default=1.5, help="what is near in these, m (default 1.5)")
    parser.add_argument("--only", default=",".join(SECTIONS), help=f"of {', '.join(SECTIONS)} (default: all)")
    parser.add_argument("--limit", type=int, help="take so many videos, of as many robots as possible")
    parser.add_argument("--without", choices=BOXES, help="run the model without one of its boxes, in PyTorch")
    add_model_arguments(parser)
    add_hygiene_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measure, print a table, write ``OUT/hints.json``."""
    check_option("--limit", arguments.limit, 1, MOST_ITEMS)
    check_option("--max-depth", arguments.max_depth, LEAST_DEPTH_M, MOST_DEPTH_M)
    wanted = tuple(arguments.only.split(","))
    if unknown := set(wanted) - set(SECTIONS):
        raise ValueError(f"--only names {', '.join(sorted(unknown))}, known are {', '.join(SECTIONS)}")
    pictures: list[Path] = []
    if arguments.absent is not None:
        pictures = sorted(p for p in arguments.absent.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
        if not pictures:
            raise ValueError(f"{arguments.absent} holds no pictures")
    videos = choose(read_root(arguments.root, frames=arguments.frames), arguments.limit)
    if arguments.without is not None:
        # The loop's exported graphs hold the whole model.
        arguments.backend = "torch"
    robotseg = load_model(arguments)
    ablation = without(robotseg.model, arguments.without) if arguments.without else contextlib.nullcontext()
    with ablation:
        rows, details = _measure(robotseg, arguments, videos, pictures, wanted)
    arguments.out.mkdir(parents=True, exist_ok=True)
    whole = {"rows": [dict(zip(("told", "target", "cases", "figure"), row, strict=True)) for row in rows]}
    (arguments.out / "hints.json").write_text(json.dumps(whole | details, indent=1) + "\n")
    print(f"{robotseg.preset} ({robotseg.source}) at {robotseg.model.config.image_size} px, {len(videos)} videos")
    for told, target, cases, figure in rows:
        print(f"{told:44}{target:10}{cases:6}{figure:10.3f}")
    return 0


def _measure(
    robotseg: RobotSeg,
    arguments: argparse.Namespace,
    videos: list[Video],
    pictures: list[Path],
    wanted: tuple[str, ...],
) -> tuple[list[Row], dict[str, Any]]:
    rows: list[Row] = []
    details: dict[str, Any] = {}
    annotated = [video for video in videos if video.shows_robot()]
    several = [video for video in annotated if video.annotated > 1]
    if "frame" in wanted and annotated:
        scores = [s for video in tqdm(annotated, "hinted frames") for s in measure.hinted_parts(robotseg, video)]
        details["frame"] = [asdict(s) for s in scores]
        for protocol in measure.ON_THE_FRAME:
            for part in PARTS:
                rows.append((f"{protocol}: IoU of the hinted frame", part, *measure.mean_of(scores, part, protocol)))
    if "negative" in wanted and videos:
        clicks = [n for video in tqdm(videos, "negative clicks") for n in measure.negative_clicks(robotseg, video)]
        details["negative"] = [asdict(n) for n in clicks]
        rows += _of_negative(clicks)
    if "first-mask" in wanted and several:
        objects = [s for video in tqdm(several, "first masks") for s in measure.later_frames(robotseg, video)]
        for hint, told in (("auto", "no hint"), ("mask", "first mask given")):
            for part in (*PARTS, "all"):
                found = [s for s in objects if s.protocol == hint and part in ("all", s.part)]
                rows.append((f"{told}: J&F of later frames", part, len(found), 100 * _mean([_jf(s) for s in found])))
                rows.append((f"{told}: IoU of later frames", part, len(found), _mean([s.j / 100 for s in found])))
    if "late" in wanted and several:
        late = [one for video in tqdm(several, "late hints") for one in measure.late_hints(robotseg, video)]
        details["late"] = [asdict(one) for one in late]
        rows += _of_late(late)
    if "memory" in wanted and several:
        worth = [unhinted.memory_worth(robotseg, video) for video in tqdm(several, "memory")]
        for key, text in (("clear", "memory on, clear frames"), ("on", "memory on"), ("off", "memory off")):
            for part in (*PARTS, "all"):
                found = [s for w in worth for s in w[key] if part in ("all", s.part)]
                told = text if key == "clear" else f"{text}, frames that need it"
                rows.append((f"{told}: J&F", part, len(found), summarise(found).jf))
    if "thin" in wanted and annotated:
        thin = [share for video in tqdm(annotated, "thin fingers") for share in unhinted.thin_recall(robotseg, video)]
        rows.append(("thin pieces of grippers: recall as gripper", "gripper", len(thin), _mean([t[0] for t in thin])))
        rows.append(("  as robot", "robot", len(thin), _mean([t[1] for t in thin])))
    if "objects" in wanted and (targets := things(arguments.root, videos)):
        for hint in ("1c", "bb", "mask"):
            found_objects = [measure.followed(robotseg, t, hint) for t in tqdm(targets, f"objects, {hint}")]
            details[f"objects {hint}"] = [
                {"video": f.target.video.name, "name": f.target.name, "first": f.first, "later": f.later.tolist()}
                for f in found_objects
            ]
            first = [f.first for f in found_objects]
            rows.append((f"{hint}: IoU of the hinted frame", "object", len(first), _mean(first)))
            later = [float(f.later.mean()) for f in found_objects if len(f.later)]
            rows.append((f"{hint}: J&F of later frames", "object", len(later), 100 * _mean(later)))
    if "pairs" in wanted and (pairs := robots_of_pairs(arguments.root, videos)):
        for hint in ("auto", "1c", "bb"):
            two = [measure.followed(robotseg, t, hint, alone=False) for t in tqdm(pairs, f"one of two robots, {hint}")]
            rows.append((f"{hint} on one of two robots: its IoU", "robot", len(two), _mean([f.first for f in two])))
            wrong = [float(np.mean(f.other)) for f in two if f.other]
            rows.append(("  share of the other's pixels marked, all frames", "robot", len(wrong), _mean(wrong)))
            few = [share <= 0.02 for share in wrong]
            rows.append(("  share of robots whose other has 2 % at most", "robot", len(few), _mean(few)))
    if "depth" in wanted and arguments.depth is not None:
        near = list(tqdm(one_of_two(robotseg, arguments.depth, max_depth=arguments.max_depth), "one before another"))
        details["depth"] = [asdict(one) for one in near]
        for way in WAYS:
            chosen = [one for one in near if one.way == way]
            rows.append((f"{way}: IoU of the robot meant", "robot", len(chosen), _mean([one.iou for one in chosen])))
            outside = _mean([one.outside for one in chosen])
            rows.append(("  marked outside it, share of its area", "robot", len(chosen), outside))
    if "absent" in wanted and pictures:
        shares = unhinted.false_pixels(robotseg, tqdm(pictures, "pictures without robots"))
        rows.append(("no robot: % of pixels marked", "robot", len(shares), 100 * _mean(shares)))
        rows.append(("no robot: % of pictures unmarked", "robot", len(shares), 100 * _mean([s == 0 for s in shares])))
    if "back" in wanted and pictures and several:
        back = [unhinted.frames_until_back(robotseg, video, pictures[0]) for video in tqdm(several[:8], "coming back")]
        seen = [b for b in back if b is not None]
        details["back"] = seen
        rows.append((f"away for {unhinted.AWAY} frames: frames until TRACKING", "robot", len(seen), _mean(seen)))
        rows.append(("  the most", "robot", len(seen), float(max(seen, default=float("nan")))))
    return rows, details


def _of_negative(clicks: list[measure.Negative]) -> list[Row]:
    gone, stay = [n.left <= measure.GONE for n in clicks], [n.later <= measure.GONE for n in clicks]
    return [
        ("negative click: share of things gone", "robot", len(clicks), _mean(gone)),
        (f"  and gone for {measure.LATER} frames", "robot", len(clicks), _mean(stay)),
        ("  IoU of what was right, before and after", "robot", len(clicks), _mean([n.kept for n in clicks])),
    ]


def _of_late(late: list[measure.LateHint]) -> list[Row]:
    rows: list[Row] = []
    for part in ("gripper", "robot"):
        for hint in measure.LATE:
            found = [one for one in late if (one.target, one.protocol) == (part, hint)]
            for told, values in (
                (f"{hint} in mid-video: IoU of that frame", [one.frame for one in found]),
                ("  without it", [one.frame_without for one in found]),
                ("  J&F of the frames after it", [100 * one.later for one in found]),
                ("  without it", [100 * one.later_without for one in found]),
            ):
                rows.append((told, part, len(found), _mean(values)))
    return rows


def _jf(score: ObjectScore) -> float:
    return float(np.mean([(frame.j + frame.f) / 2 for frame in score.frames]))


def _mean(values: list[Any]) -> float:
    return float(np.mean(values)) if values else float("nan")
