# SPDX-License-Identifier: Apache-2.0
"""``robotseg eval-language``: masks for requests on rendered scenes with instance maps, by split and family.

Beside the policy stand the category alone (the automatic mask of the part that is asked for, whatever else is said)
and the box and middle of the true mask, given to the same segmenter: what better words could reach.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from robotseg_core.evaluation.language.referring import RequestScore, score_request, summarise
from robotseg_core.files.pictures import read_rgb
from robotseg_core.instruct.policies import add_policy_arguments, make_policy
from robotseg_core.instruct.prompt_set import Answer, Instance, Policy, PromptSet, View
from robotseg_core.instruct.request import Request
from robotseg_core.instruct.segmenter import segment
from robotseg_core.model_arguments import add_model_arguments, load_model
from robotseg_core.option_limits import MOST_SEED, check_option
from robotseg_core.stream.robotseg import RobotSeg
from robotseg_core.synth.instances.files import read_ids
from robotseg_core.synth.requests.generate import (
    SPLITS,
    SceneRequest,
    choose_requests,
    read_requests,
    requests_of_set,
    write_requests,
)
from robotseg_core.synth.requests.labelled import labelled_asked, labelled_frames, labelled_scene, read_labelled

CATEGORY, CEILING = "category", "true box"
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
    for split in SPLITS:
        yield f"split {split}", lambda r, split=split: r.split == split
    for family in sorted({r.family for r in requests}):
        yield family, lambda r, family=family: r.family == family


class Shown(Protocol):
    """Frames by video and number."""

    def frame(self, video: str, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
        """Picture [H, W, 3] and map of instances [H, W]."""
        ...


@dataclass(frozen=True)
class RenderedSet:
    """A set of `robotseg synth`."""

    root: Path

    def frame(self, video: str, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
        """See :class:`Shown`."""
        return read_rgb(self.root / "image" / video / f"{index:05d}.jpg"), read_ids(self.root, video, index)


@dataclass(frozen=True)
class LabelledSet:
    """Real frames with masks of the three parts: separate pieces count as separate robots, arms, grippers."""

    root: Path

    def frame(self, video: str, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
        """See :class:`Shown`; ``index`` is the frame's place in its clip, in the order of the names."""
        rgb, masks = read_labelled(*self._clips[video][index])
        return rgb, labelled_scene(masks)[1]

    def requests(self, *, seed: int, each: int) -> Iterable[SceneRequest]:
        """Up to ``each`` requests of every frame."""
        for clip, files in self._clips.items():
            for index, (picture, masks) in enumerate(files):
                scene, ids = labelled_scene(read_labelled(picture, masks)[1])
                yield from choose_requests(labelled_asked(scene, ids), clip, index, seed=seed, each=each)

    @functools.cached_property
    def _clips(self) -> dict[str, list[tuple[Path, dict[str, Path]]]]:
        found: dict[str, list[tuple[Path, dict[str, Path]]]] = {}
        for _, picture, masks in labelled_frames(self.root):
            found.setdefault(picture.parent.name, []).append((picture, masks))
        return found


def set_of(root: Path) -> RenderedSet | LabelledSet:
    """What a folder holds: instance maps, or labelled frames."""
    return RenderedSet(root) if (root / "ids").is_dir() else LabelledSet(root)


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
                truth = np.isin(ids, one.target)
                category = PromptSet(Answer.FOUND, (Instance((0, 0, 1, 1), mask=parts[one.kind].mask > 0),))
                answers = {
                    CATEGORY: category,
                    policy.name: policy.answer(Request.of(one.text), view),
                    CEILING: _true_box(truth, one.kind),
                }
                for name, answer in answers.items():
                    mask = segment(robotseg, encoded, answer)
                    found[name].append(_score(one, ids, truth, mask, answer, knows=name != policy.name))
                bar.update()
    return found


def _score(
    one: SceneRequest, ids: NDArray[np.uint16], truth: NDArray[np.bool_], mask: NDArray[np.bool_], answer: PromptSet,
    *, knows: bool,
) -> RequestScore:  # fmt: skip
    """The mask before an inversion; a policy that misses the inversion has marked the opposite."""
    if not knows and answer.answer is Answer.FOUND and answer.invert is not one.invert:
        mask = ~mask
    others = np.isin(ids, one.others) if one.others else None
    # "Not understood" says nothing about the picture: it is no "none", and its mask is empty all the same.
    said_none = answer.answer is Answer.NONE or (answer.answer is Answer.FOUND and not mask.any())
    if answer.answer is Answer.NOT_UNDERSTOOD and not one.target:
        mask = np.ones_like(mask)
    return score_request(mask, truth, others, scene=one.video, family=one.family, said_none=said_none)


def _true_box(truth: NDArray[np.bool_], kind: str) -> PromptSet:
    if not truth.any():
        return PromptSet(Answer.NONE)
    x, y, w, h = cv2.boundingRect(truth.view(np.uint8))
    depth = cv2.distanceTransform(np.pad(truth, 1).view(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    box = (float(x), float(y), float(x + max(w - 1, 1)), float(y + max(h - 1, 1)))
    return PromptSet(Answer.FOUND, (Instance(box, ((float(column), float(row)),), (1,)),), part=kind)
