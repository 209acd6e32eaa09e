# SPDX-License-Identifier: Apache-2.0
"""``robotseg eval-language``: masks for requests on rendered scenes with instance maps, by split and family.

Beside the policy stand the category alone (the automatic mask of the part that is asked for, whatever else is said)
and the box and middle of the true mask, given to the same segmenter: what better words could reach.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from robotseg_core.evaluation.language.answers import score_answer, true_prompts
from robotseg_core.evaluation.language.referring import RequestScore, summarise
from robotseg_core.evaluation.language.sets import LabelledSet, RenderedSet, Shown, set_of
from robotseg_core.instruct.policies import add_policy_arguments, make_policy
from robotseg_core.instruct.prompt_set import Answer, Instance, Policy, PromptSet, View
from robotseg_core.instruct.request import Request
from robotseg_core.instruct.segmenter import segment
from robotseg_core.model_arguments import add_model_arguments, load_model
from robotseg_core.option_limits import MOST_SEED, check_option
from robotseg_core.stream.robotseg import RobotSeg
from robotseg_core.synth.requests.generate import (
    SceneRequest,
    read_requests,
    requests_of_set,
    split_order,
    write_requests,
)

CATEGORY, CEILING = "category", "true box"
__all__ = ["LabelledSet", "RenderedSet", "add_arguments", "measure", "run", "set_of", "write_requests"]
MOST_EACH, MOST_FRAMES = 1000, 10_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``robotseg eval-language``."""
    parser.add_argument(
        "root",
        type=Path,
        help="set of `robotseg synth` with image/ and ids/, or labelled frames with image/ and mask_gt/",
    )
    parser.add_argument("--out", type=Path, default=Path("out/eval-language"), help="folder for language.json")
    parser.add_argument("--requests", type=Path, help="requests as JSON lines (default: generated from --seed)")
    parser.add_argument("--seed", type=int, default=0, help="of the requests")
    parser.add_argument("--each", type=int, default=10, help="requests a frame (default 10)")
    parser.add_argument("--frames", type=int, default=1, help="frames a video, spread evenly (default the first)")
    add_policy_arguments(parser)
    add_model_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measure, print a table, write ``OUT/language.json`` and the requests."""
    check_option("--seed", arguments.seed, 0, MOST_SEED)
    check_option("--each", arguments.each, 1, MOST_EACH)
    check_option("--frames", arguments.frames, 1, MOST_FRAMES)
    frames = set_of(arguments.root)
    if arguments.requests is not None:
        requests = read_requests(arguments.requests)
    elif isinstance(frames, LabelledSet):
        requests = list(frames.requests(seed=arguments.seed, each=arguments.each))
    else:
        requests = list(
            requests_of_set(arguments.root, seed=arguments.seed, each=arguments.each, frames=arguments.frames)
        )
    robotseg = load_model(arguments)
    policy = make_policy(arguments, robotseg)
    scores = measure(robotseg, policy, frames, requests)
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_requests(arguments.out / "requests.jsonl", requests)
    rows = [
        {
            "policy": name,
            "requests": group,
            **asdict(summarise([s for s, r in zip(found, requests, strict=True) if keep(r)])),
        }
        for group, keep in _groups(requests)
        for name, found in scores.items()
    ]
    (arguments.out / "language.json").write_text(json.dumps(rows, indent=1) + "\n")
    print(f"{robotseg.preset} ({robotseg.source}), {len(requests)} requests on {arguments.root}")
    print(f"{'requests':22}{'policy':12}{'n':>6}{'gIoU':>7}{'95 %':>14}{'cIoU':>7}{'N-acc':>7}{'T-acc':>7}{'wrong':>7}")
    for row in rows:
        interval = f"{100 * row['low']:.1f}-{100 * row['high']:.1f}"
        figures = "".join(f"{100 * row[key]:7.1f}" for key in ("ciou", "n_acc", "t_acc", "wrong"))
        print(f"{row['requests']:22}{row['policy']:12}{row['count']:6}{100 * row['giou']:7.1f}{interval:>14}{figures}")
    return 0


def _groups(requests: list[SceneRequest]) -> Iterable[tuple[str, Any]]:
    yield "all", lambda r: True
    yield "needs language", lambda r: r.needs_language
    for split in sorted({r.split for r in requests}, key=split_order):
        yield f"split {split}", lambda r, split=split: r.split == split
    for family in sorted({r.family for r in requests}):
        yield family, lambda r, family=family: r.family == family


def measure(
    robotseg: RobotSeg, policy: Policy, frames: Shown, requests: list[SceneRequest]
) -> dict[str, list[RequestScore]]:
    """Scores of the policy, the category alone and the true boxes, in the order of the requests.

    Requests of one frame must follow each other; each frame is a first frame.

    Raises:
        ValueError: a frame or its map cannot be read.
    """
    found: dict[str, list[RequestScore]] = {CATEGORY: [], policy.name: [], CEILING: []}
    with tqdm(total=len(requests), desc="requests") as bar:
        for (video, frame), group in itertools.groupby(requests, key=lambda r: (r.video, r.frame)):
            rgb, ids = frames.frame(video, frame)
            (encoded,) = robotseg.encode_frames([rgb])
            parts = robotseg.stream().step_encoded(encoded.again())
            view = View(rgb, parts, policy.look(encoded, parts))
            for one in group:
                category = PromptSet(Answer.FOUND, (Instance((0, 0, 1, 1), mask=parts[one.kind].mask > 0),))
                answers = {
                    CATEGORY: category,
                    policy.name: policy.answer(Request.of(one.text), view),
                    CEILING: true_prompts(ids, one, points=1),
                }
                for name, answer in answers.items():
                    mask = segment(robotseg, encoded, answer)
                    found[name].append(score_answer(one, ids, mask, answer, knows=name != policy.name))
                bar.update()
    return found
