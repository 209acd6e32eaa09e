# SPDX-License-Identifier: Apache-2.0
"""What a policy is trained on: cached frames, requests drawn for them, and the answers as tokens (SEGR1 10.5)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from robotseg_core.instruct.small.text import words_of
from robotseg_core.instruct.small.tokens import MAX_ANSWER_INSTANCES, Target, write_answer
from robotseg_core.synth.requests.generate import is_held_out_composition, phrase
from robotseg_core.synth.requests.phrasings import FAMILIES, NOUNS, RANKS, plural
from robotseg_core.synth.requests.programs import SPOKEN, Asked
from robotseg_core.train.language.cache import CachedFrame, load_cached
from robotseg_core.train.language.instances import InstanceMaps, instances_of
from robotseg_core.train.language.refused import REFUSED

ABSENT = 0.18
"""Share of requests without a target (SEGR1 10.5: 15 to 20 %)."""
REFUSE = 0.04
"""Share of requests that are about no robot: "not understood" is the answer."""
CHOICE = 0.6
"""Share of requests with a target for which several candidates are in view, where frames have such: the others can be
answered by the kind alone, and teach no word."""
BEFORE = ("please", "now", "ok", "hey", "just", "only", "can you", "would you", "i would like", "give me", "get me",
          "pick", "look at", "select", "highlight", "track", "locate", "detect")  # fmt: skip
AFTER = ("please", "now", "thanks", "only", "in the image", "here", "in view", "if you can")
CARRIERS = (
    "can you segment {}", "would you mark {} for me", "please follow {} while it moves", "i would like a mask of {}",
    "could you find {} in this picture", "let me see {}", "what part of the image shows {}", "tell me where {} is",
    "is {} in view", "put a mask on {}", "draw a line around {}", "label {}", "detect {} and follow it",
    "from now on watch {}", "the target is {}", "target {}", "{} is what i am after", "next {}", "we have to see {}",
    "the camera should follow {}", "for the next step i have to know where {} is", "start tracking {}",
    "keep tracking {}", "switch to {}", "go on with {}", "concentrate on {}", "focus on {}",
    "separate {} from its surroundings", "extract {}", "get a segmentation of {}", "the shape of {}", "return {}",
    "which region is {}", "show where {} is in the image", "paint over {}", "query {}", "object {}", "ok now {}",
    "also {}", "again {}", "yes {}", "sorry i want to see {}", "not sure where {} is so find it",
    "do you see {} if so mark it", "if there is {} mark it", "it would help me to have {}", "search for {}",
    "we are interested in {}", "it is about {}", "try to find {}", "i wonder where {} is", "my question is about {}",
    "make {} stand out", "where in the frame is {}", "add a mask for {} and nothing more", "select {} in the video",
    "what i am interested in is {}", "point at {}", "point me to {}", "identify {}", "take {}", "use {} as the target",
)  # fmt: skip
"""Sentences around what is asked for; none has words of a held-out phrasing that say what is meant."""
CARRIED = ("the", "both", "everything", "anything")
"""First words of what can stand in a sentence."""
SWAPS = {
    "left": ("left", "left", "lefthand", "leftmost"),
    "right": ("right", "right", "righthand", "rightmost"),
    "everything": ("everything", "anything", "all"),
    "nearest": ("nearest", "closest"),
    "larger": ("larger", "bigger", "largest", "biggest"),
    "smaller": ("smaller", "littler", "smallest", "tiny"),
    "grey": ("grey", "gray"),
    "both": ("both", "the two", "all two"),
}
"""Words that say the same, by hand; held-out phrasings use none of those that are only here."""


def training_words() -> list[str]:
    """Words of the phrasings that are trained on, sorted; everything else is known by its n-grams."""
    found: set[str] = set()
    for family in FAMILIES.values():
        for template in family.known:
            found.update(words_of(template.replace("{", " ").replace("}", " ")))
    for nouns in NOUNS.values():
        for noun in nouns.known:
            found.update(words_of(f"{noun} {plural(noun)} {noun}'s"))
    found.update(words_of(" ".join(SPOKEN)), RANKS, words_of("left right smaller larger holding the open closed"))
    around = (*SWAPS.values(), BEFORE, AFTER, [carrier.replace("{}", " ") for carrier in CARRIERS])
    found.update(word for several in around for text in several for word in words_of(text))
    return sorted(found)


@dataclass(frozen=True, eq=False)
class Example:
    """A request about a frame.

    Attributes:
        frame: of the pool.
        words: of the request.
        asked: what it means; None: nothing that is known, to be refused.
        tokens: a right answer, see :func:`answer_of`.
    """

    frame: int
    words: tuple[str, ...]
    asked: Asked | None
    tokens: tuple[int, ...]


class Pool:
    """Cached frames in memory, without what only the segmenter's decoder reads."""

    def __init__(self, folders: Sequence[Path]) -> None:
        """Read all frames of some folders.

        Raises:
            ValueError: there is none.
        """
        self.paths = [path for folder in folders for path in sorted(folder.glob("*.safetensors"))]
        if not self.paths:
            raise ValueError(f"no cached frame in {', '.join(map(str, folders))}")
        self.frames: list[CachedFrame] = []
        self.instances: list[InstanceMaps] = []
        self._families: list[dict[str, list[Asked]]] = []
        self._choices: list[dict[str, list[Asked]]] = []
        for path in self.paths:
            frame = load_cached(path)
            self.instances.append(instances_of(frame))
            slim = {name: value for name, value in frame.arrays.items() if name not in ("h4", "h8")}
            asked = tuple(one for one in frame.asked if _answerable(frame, one))
            self.frames.append(CachedFrame(frame.name, slim, asked, frame.entities, frame.boxes, frame.size))
            by_family: dict[str, list[Asked]] = defaultdict(list)
            choices: dict[str, list[Asked]] = defaultdict(list)
            for one in asked:
                if not is_held_out_composition(one):
                    by_family[one.family].append(one)
                    if one.needs_language and one.target and one.others:
                        choices[one.family].append(one)
            self._families.append(dict(by_family))
            self._choices.append(dict(choices))
        self._crowded = [number for number, choices in enumerate(self._choices) if choices]

    def draw(self, rng: np.random.Generator, frames: int, each: int, *, points: bool = True) -> list[Example]:
        """``each`` requests about each of ``frames`` frames, families alike, words drawn anew."""
        examples: list[Example] = []
        while len(examples) < frames * each:
            among = self._crowded if self._crowded and rng.random() < CHOICE else range(len(self.frames))
            number = int(among[int(rng.integers(len(among)))])
            if not self._families[number]:
                continue
            examples += [self._one(rng, number, points) for _ in range(each)]
        return examples

    def _one(self, rng: np.random.Generator, number: int, points: bool) -> Example:
        families = self._families[number]
        if rng.random() < REFUSE:
            text = REFUSED[int(rng.integers(len(REFUSED)))]
            return Example(number, tuple(words_of(text)), None, tuple(write_answer("unknown")))
        names = [name for name in families if name != "absence"]
        if not names or ("absence" in families and rng.random() < ABSENT):
            names = ["absence"] if "absence" in families else names
        elif self._choices[number] and rng.random() < CHOICE:
            families, names = self._choices[number], list(self._choices[number])
        several = families[names[int(rng.integers(len(names)))]]
        asked = several[int(rng.integers(len(several)))]
        text = varied(phrase(asked, rng, held_out=False), rng)
        frame = self.frames[number]
        tokens = answer_of(frame, asked, rng if points else None)
        return Example(number, tuple(hidden(words_of(text), rng)), asked, tokens)


def varied(text: str, rng: np.random.Generator) -> str:
    """The same said a little differently: words for words, in a sentence, politely, in haste, with slips."""
    words = [str(rng.choice(SWAPS[w])) if w in SWAPS and rng.random() < 0.2 else w for w in text.split()]
    text = " ".join(words)
    if words[0] in CARRIED and rng.random() < 0.35:
        text = CARRIERS[int(rng.integers(len(CARRIERS)))].format(text)
    if rng.random() < 0.12:
        text = f"{BEFORE[int(rng.integers(len(BEFORE)))]} {text}"
    if rng.random() < 0.08:
        text = f"{text} {AFTER[int(rng.integers(len(AFTER)))]}"
    if rng.random() < 0.08:
        # As who writes in haste, or in a language that is not theirs.
        text = " ".join(word for word in text.split() if word not in ("the", "a", "an")) or text
    while rng.random() < 0.1 and len(text) > 4:
        text = _slip(text, int(rng.integers(1, len(text) - 1)), rng)
    return text


def _slip(text: str, at: int, rng: np.random.Generator) -> str:
    """A character is left out, written twice, or changes places with the next."""
    how = int(rng.integers(3))
    if how == 0:
        return text[:at] + text[at + 1 :]
    if how == 1:
        return text[: at + 1] + text[at:]
    return text[:at] + text[at + 1] + text[at] + text[at + 2 :]


def hidden(words: Sequence[str], rng: np.random.Generator) -> list[str]:
    """Some words lose their own entry, so that n-grams are learned, too."""
    return [f"~{word}" if rng.random() < 0.12 else word for word in words]


def leaf_mask(frame: CachedFrame, leaves: Sequence[int]) -> NDArray[np.bool_]:
    """Where the frame shows some leaves, [4g, 4g]."""
    return np.isin(frame.arrays["ids"], leaves)


def _answerable(frame: CachedFrame, asked: Asked) -> bool:
    """Whether every instance is seen at stride 4, and there are not too many."""
    if len(asked.instances) > MAX_ANSWER_INSTANCES:
        return False
    return all(leaf_mask(frame, leaves).any() and any(i in frame.boxes for i in leaves) for leaves in asked.instances)


def answer_of(frame: CachedFrame, asked: Asked, rng: np.random.Generator | None = None) -> tuple[int, ...]:
    """The right answer as tokens; with ``rng`` some have points besides the box."""
    if not asked.instances:
        return tuple(write_answer("none"))
    targets = [_target(frame, leaves, rng) for leaves in asked.instances]
    targets.sort(key=lambda t: t.place)
    op = "invert" if asked.invert else "many" if len(targets) > 1 else "one"
    return tuple(write_answer(op, asked.kind, targets))


def _target(frame: CachedFrame, leaves: Sequence[int], rng: np.random.Generator | None) -> Target:
    mask = leaf_mask(frame, leaves)
    boxes = np.array([frame.boxes[i] for i in leaves if i in frame.boxes])
    x0, y0, x1, y1 = (float(v) for v in (*boxes[:, :2].min(0), *boxes[:, 2:].max(0)))
    depth = _depth(mask)
    place = _deepest(depth)
    points: list[tuple[float, float, int]] = []
    if rng is not None and rng.random() < 0.25:
        rows, columns = np.mgrid[: mask.shape[0], : mask.shape[1]]
        near = np.hypot(columns / mask.shape[1] - place[0], rows / mask.shape[0] - place[1]) < 1.5 * depth.max() / 96
        points.append((*_deepest(np.where(near, 0, depth)), 1))
        if rng.random() < 0.4:
            inside = np.zeros_like(mask)
            side = mask.shape[0]
            inside[int(y0 * side) : int(np.ceil(y1 * side)), int(x0 * side) : int(np.ceil(x1 * side))] = True
            outside = np.where(inside & ~mask, _depth(~mask), 0)
            if outside.max() > 2:
                points.append((*_deepest(outside), 0))
    return Target(place, (x0, y0, x1, y1), tuple(points))


def _depth(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    found = cv2.distanceTransform(np.pad(mask, 1).view(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    return np.asarray(found, np.float32)


def _deepest(depth: NDArray) -> tuple[float, float]:
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return (float(column) + 0.5) / depth.shape[1], (float(row) + 0.5) / depth.shape[0]
