# SPDX-License-Identifier: Apache-2.0
"""``robotseg eval-public``: a policy on sets that people publish, for who has them.  Every sample is scored.

The published figures of Seg-R1 were made otherwise: one random sentence a picture on RefCOCO, random pictures on
ReasonSeg, and answers that could not be used left out (SEGR1 6.5, 8).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from robotseg_core.evaluation.language.foreground import score
from robotseg_core.evaluation.language.public.foregrounds import LAYOUTS, read_foregrounds
from robotseg_core.evaluation.language.public.reasonseg import read_reasonseg
from robotseg_core.evaluation.language.public.refcoco import NAMES, read_refcoco
from robotseg_core.evaluation.language.public.samples import IGNORED, TARGET, PublicSample
from robotseg_core.evaluation.language.referring import RequestScore, score_request, summarise
from robotseg_core.files.pictures import read_rgb
from robotseg_core.instruct.policies import add_policy_arguments, make_policy
from robotseg_core.instruct.prompt_set import Answer, Policy, View
from robotseg_core.instruct.request import MAX_CHARACTERS, Request
from robotseg_core.instruct.segmenter import segment
from robotseg_core.model_arguments import add_model_arguments, load_model
from robotseg_core.option_limits import MOST_ITEMS, check_option
from robotseg_core.stream.robotseg import RobotSeg

SETS = (*NAMES, "reasonseg", *LAYOUTS)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``robotseg eval-public``."""
    parser.add_argument("set", choices=SETS, help="layout of the set")
    parser.add_argument("root", type=Path, help="its folder, e.g. refcoco+ or ReasonSeg/val or COD10K-v3")
    parser.add_argument("--split", default="val", help="of RefCOCO: val, testA, testB or test (default val)")
    parser.add_argument("--images", type=Path, help="folder with COCO's pictures, for RefCOCO")
    parser.add_argument("--limit", type=int, help="score the first so many samples alone, and say so")
    parser.add_argument("--out", type=Path, default=Path("out/eval-public"), help="folder for public.json")
    add_policy_arguments(parser)
    add_model_arguments(parser)


def read_set(arguments: argparse.Namespace) -> list[PublicSample]:
    """The samples that the arguments ask for.

    Raises:
        ValueError: RefCOCO without the folder of its pictures; a set that is not of its layout.
    """
    if arguments.set in NAMES:
        if arguments.images is None:
            raise ValueError(f"{arguments.set} needs --images FOLDER with COCO's pictures")
        return read_refcoco(arguments.root, arguments.split, images=arguments.images, by=NAMES[arguments.set])
    if arguments.set == "reasonseg":
        return read_reasonseg(arguments.root)
    return read_foregrounds(arguments.root, arguments.set)


def run(arguments: argparse.Namespace) -> int:
    """Measure, print, write ``OUT/public.json``."""
    check_option("--limit", arguments.limit, 1, MOST_ITEMS)
    samples = read_set(arguments)
    kept = samples[: arguments.limit]
    robotseg = load_model(arguments)
    policy = make_policy(arguments, robotseg)
    scores, foregrounds = measure(robotseg, policy, kept, foreground=arguments.set in LAYOUTS)
    summary = summarise(scores)
    row: dict[str, object] = {
        "set": arguments.set, "policy": policy.name, "samples": len(kept), "of": len(samples),
        "giou": summary.giou, "low": summary.low, "high": summary.high, "ciou": summary.ciou,
    }  # fmt: skip
    if foregrounds:
        row |= {name: float(np.mean([f[name] for f in foregrounds])) for name in foregrounds[0]}
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "public.json").write_text(json.dumps(row, indent=1) + "\n")
    print(f"{robotseg.preset} ({robotseg.source}), {policy.name}, {len(kept)} of {len(samples)} samples")
    print(", ".join(f"{name} {value:.4f}" for name, value in row.items() if isinstance(value, float)))
    return 0


def measure(
    robotseg: RobotSeg, policy: Policy, samples: Sequence[PublicSample], *, foreground: bool
) -> tuple[list[RequestScore], list[dict[str, float]]]:
    """Scores of all samples, and where the set is one of foregrounds also S, E, F, weighted F and MAE of each mask."""
    scores, foregrounds = [], []
    for sample in tqdm(samples, unit="sample"):
        rgb, truth = read_rgb(sample.image), sample.truth()
        if truth.shape != rgb.shape[:2]:
            raise ValueError(f"{sample.name}: the truth is {truth.shape}, the picture {rgb.shape[:2]}")
        mask, said_none = _answered(robotseg, policy, sample.text, rgb)
        counted = truth != IGNORED
        wanted = truth == TARGET
        own = mask & counted
        scores.append(score_request(own, wanted, None, scene=sample.name, family="", said_none=said_none))
        if foreground:
            found = score(mask.astype(np.uint8) * 255, wanted)
            foregrounds.append(
                {"S": found.s, "E mean": found.e.mean, "F mean": found.f.mean, "F weighted": found.weighted_f,
                 "MAE": found.mae}
            )  # fmt: skip
    return scores, foregrounds


def _answered(robotseg: RobotSeg, policy: Policy, text: str, rgb: NDArray[np.uint8]) -> tuple[NDArray[np.bool_], bool]:
    """The mask [H, W], inversions done, and whether "none" was answered.  Long questions are cut at the limit."""
    (encoded,) = robotseg.encode_frames([rgb])
    parts = robotseg.stream().step_encoded(encoded.again())
    answer = policy.answer(Request.of(text[:MAX_CHARACTERS]), View(rgb, parts, policy.look(encoded, parts)))
    mask = segment(robotseg, encoded, answer)
    if answer.answer is Answer.FOUND and answer.invert:
        mask = ~mask
    return mask, answer.answer is Answer.NONE
