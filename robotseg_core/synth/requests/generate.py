# SPDX-License-Identifier: Apache-2.0
"""Requests of a set of rendered videos: drawn by a seed, split by construction, kept as JSON lines."""

from __future__ import annotations

import json
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from robotseg_core.synth.instances.files import read_ids, read_ids_meta
from robotseg_core.synth.requests.phrasings import FAMILIES, HELD_OUT_COMPOSITIONS, NOUNS, Phrasings, plural
from robotseg_core.synth.requests.programs import Asked, asked_of
from robotseg_core.synth.requests.scene import frame_scene

SPLITS = ("known", "phrasing", "composition")
"""Known words in known order; held-out templates or nouns; known words never trained on together."""
FREE = "free"
"""Split of requests that somebody has written freely (:mod:`~robotseg_core.synth.requests.free`)."""
ABSENT = 0.18
"""Share of requests without a target, at most (SEGR1 10.5: 15 to 20 %)."""


@dataclass(frozen=True)
class SceneRequest:
    """A request with its answer.

    Attributes:
        video, frame: of which.
        text: what is said.
        family: part, whole, side, attribute, relation, state, order, composition, exclusion, absence or ambiguity.
        split: one of :data:`SPLITS`, or :data:`FREE`.
        kind: arm, gripper or robot.
        target: leaves of the answer, empty: none.
        others: leaves of the other candidates.
        count: instances asked for.
        invert: everything else is asked for.
        needs_language: another candidate of the kind is in view.
        instances: leaves of each instance of the answer; empty in files of before: they are not known.
    """

    video: str
    frame: int
    text: str
    family: str
    split: str
    kind: str
    target: tuple[int, ...]
    others: tuple[int, ...]
    count: int
    invert: bool
    needs_language: bool
    instances: tuple[tuple[int, ...], ...] = ()


def request_of(asked: Asked, video: str, index: int, text: str, split: str) -> SceneRequest:
    """A request about a frame that asks for ``asked`` with these words."""
    return SceneRequest(
        video, index, text, asked.family, split, asked.kind, asked.target, asked.others, asked.count, asked.invert,
        asked.needs_language, asked.instances,
    )  # fmt: skip


def split_order(split: str) -> tuple[int, str]:
    """Key by which splits are listed."""
    return (SPLITS.index(split) if split in SPLITS else len(SPLITS), split)


def phrase(asked: Asked, rng: np.random.Generator, *, held_out: bool) -> str:
    """Say it in one of the family's phrasings; held out: the template or the noun is never trained on."""
    family, nouns = FAMILIES[asked.phrasing], NOUNS[asked.slots.get("left_out", asked.kind)]
    owners = NOUNS[asked.owner] if asked.owner else NOUNS["robot"]
    # Both may be new; one must be.
    new_template = held_out and bool(rng.random() < 0.7)
    template = _pick(family, rng, new_template)
    noun = _pick(nouns, rng, held_out and (not new_template or bool(rng.random() < 0.3)))
    owner = _pick(owners, rng, False)
    slots = {name: word for name, word in asked.slots.items() if name != "left_out"}
    return template.format(x=noun, xs=plural(noun), y=owner, ys=plural(owner), **slots)


def _pick(phrasings: Phrasings, rng: np.random.Generator, held_out: bool) -> str:
    choices = phrasings.held_out if held_out else phrasings.known
    return choices[int(rng.integers(len(choices)))]


def is_held_out_composition(asked: Asked) -> bool:
    """Whether part and word are never trained on together."""
    return any((asked.kind, word) in HELD_OUT_COMPOSITIONS for word in asked.slots.values())


def requests_of_frame(
    root: Path, video: str, index: int, *, seed: int = 0, each: int = 8, splits: Iterable[str] = SPLITS
) -> list[SceneRequest]:
    """Up to ``each`` requests of a frame, families by turns, always the same for a seed."""
    ids = read_ids(root, video, index)
    scene = frame_scene(read_ids_meta(root, video), index, ids)
    return choose_requests(asked_of(scene, ids), video, index, seed=seed, each=each, splits=splits)


def choose_requests(
    questions: Iterable[Asked], video: str, index: int, *, seed: int = 0, each: int = 8, splits: Iterable[str] = SPLITS
) -> list[SceneRequest]:
    """The same of what may be asked of a frame."""
    rng = np.random.default_rng([seed, zlib.crc32(f"{video}/{index}".encode())])
    by_family: dict[str, list[Asked]] = defaultdict(list)
    for asked in questions:
        by_family[asked.family].append(asked)
    for several in by_family.values():
        rng.shuffle(several)
    chosen: list[SceneRequest] = []
    families = sorted(by_family)
    rng.shuffle(families)
    wanted = tuple(splits)
    while len(chosen) < each and any(by_family.values()):
        for family in families:
            if not by_family[family] or len(chosen) >= each:
                continue
            asked = by_family[family].pop()
            composition = is_held_out_composition(asked)
            if composition and "composition" in wanted:
                split = "composition"
            elif composition or not {"known", "phrasing"} & set(wanted):
                continue
            else:
                split = (
                    "phrasing" if "phrasing" in wanted and ("known" not in wanted or rng.random() < 0.5) else "known"
                )
            text = phrase(asked, rng, held_out=split == "phrasing")
            chosen.append(request_of(asked, video, index, text, split))
    return balanced(chosen)


def balanced(chosen: list[SceneRequest]) -> list[SceneRequest]:
    """Without the last ones of those that are absent, so that these are no more than their share of the rest."""
    present = sum(bool(r.target) for r in chosen)
    allowed = round(present * ABSENT / (1 - ABSENT)) if present else 1
    kept = []
    for request in chosen:
        allowed -= not request.target
        if request.target or allowed >= 0:
            kept.append(request)
    return kept


def complete_videos(root: Path) -> list[str]:
    """Names of the videos that are complete and have instance maps, sorted.

    Raises:
        ValueError: there is none.
    """
    found = [p.parent.name for p in sorted((root / "mask_gt").glob("*/meta.json"))]
    found = [name for name in found if (root / "ids" / name / "meta.json").is_file()]
    if not found:
        raise ValueError(f"{root} has no complete video with instance maps (ids/<video>/meta.json)")
    return found


def requests_of_set(
    root: Path, *, seed: int = 0, each: int = 8, frames: int = 1, splits: Iterable[str] = SPLITS
) -> Iterator[SceneRequest]:
    """Requests of all complete videos, of ``frames`` frames each, spread evenly."""
    splits = tuple(splits)
    for video in complete_videos(root):
        count = len(read_ids_meta(root, video).frames)
        for index in sorted({round(k * (count - 1) / max(1, frames - 1)) for k in range(frames)}):
            yield from requests_of_frame(root, video, index, seed=seed, each=each, splits=splits)


def write_requests(path: Path, requests: Iterable[SceneRequest]) -> int:
    """Write them as JSON lines; returns how many."""
    lines = [json.dumps(asdict(request)) for request in requests]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
    return len(lines)


def read_requests(path: Path) -> list[SceneRequest]:
    """Read what :func:`write_requests` has written.

    Raises:
        ValueError: a line is no request; the message names it.
    """
    found = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        try:
            doc = json.loads(line)
            instances = tuple(tuple(leaves) for leaves in doc.get("instances", ()))
            found.append(
                SceneRequest(
                    **{**doc, "target": tuple(doc["target"]), "others": tuple(doc["others"]), "instances": instances}
                )
            )
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{path}, line {number} is no request: {error}") from error
    return found
