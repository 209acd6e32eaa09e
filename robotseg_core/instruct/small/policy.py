# SPDX-License-Identifier: Apache-2.0
"""The small policy behind the one interface, and its file.

The file says which weights of the segmenter it was trained on.  On other ones its features mean something else: it is
refused there (:class:`OtherWeights`), and whoever may choose takes the rules instead.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from robotseg_core.instruct.candidates import Candidate, candidates
from robotseg_core.instruct.prompt_set import Instance, PromptSet, View
from robotseg_core.instruct.request import Request
from robotseg_core.instruct.rules import CannotTell, RulesPolicy, instance_of
from robotseg_core.instruct.small.inputs import Looked, frame_inputs, look_at
from robotseg_core.instruct.small.network import NetworkConfig, SmallNetwork
from robotseg_core.instruct.small.text import batch_words, familiar, words_of
from robotseg_core.instruct.small.tokens import GRID, read_answer, to_prompt_set
from robotseg_core.instruct.words import UnknownWords, query_of
from robotseg_core.stream.frame_state import EncodedFrame
from robotseg_core.stream.robotseg import RobotSeg
from robotseg_core.types import PartMasks
from robotseg_core.weights.files import expected_sha256, sha256_of

FORMAT = "robotseg small policy 2"
MEANT = 0.35
"""IoU from which a box of the network and that of a candidate are about the same thing."""
MAX_SIZE = 4096
"""Of any size in a file: a forged one could ask for all memory."""


class OtherWeights(ValueError):
    """A policy that was trained on the features of other weights than those that are loaded."""


@dataclass(frozen=True, eq=False)
class SmallWeights:
    """A network with what it needs.

    Attributes:
        network: in float32.
        vocabulary: word to number, from 1; 0 stands for all others.
        bases: SHA-256 of the segmenter's weights that it was trained on; others follow on which it was measured and
            found to be as good.
        note: how it was trained.
    """

    network: SmallNetwork
    vocabulary: dict[str, int]
    bases: tuple[str, ...]
    note: str = ""


def save_policy(path: Path, weights: SmallWeights) -> None:
    """Write a policy, float16."""
    words = sorted(weights.vocabulary, key=lambda word: weights.vocabulary[word])
    metadata = {
        "format": FORMAT,
        "network": json.dumps(asdict(weights.network.config)),
        "words": " ".join(words),
        "bases": " ".join(weights.bases),
        "note": weights.note,
    }
    state = {name: value.detach().half().contiguous() for name, value in weights.network.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, path, metadata=metadata)


def load_policy(path: Path) -> SmallWeights:
    """Read a policy.

    Raises:
        ValueError: it is no file of a small policy, or of another version of it, or not the one that ``SHA256SUMS``
            beside it names.
        OSError: it cannot be read.
    """
    expected = expected_sha256(path)
    if expected is not None and sha256_of(path) != expected:
        raise ValueError(f"{path} is not the file that SHA256SUMS names: its hash is {sha256_of(path)[:12]}")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    except OSError:
        raise
    except Exception as error:
        raise ValueError(f"{path} is no safetensors file: {error}") from error
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path} says it is {metadata.get('format')!r}, this program reads {FORMAT!r}")
    try:
        sizes = json.loads(metadata["network"])
        if not all(type(size) is int and 1 <= size <= MAX_SIZE for size in sizes.values()):
            raise ValueError(f"sizes are {sizes}, must be 1 to {MAX_SIZE}")
        network = SmallNetwork(NetworkConfig(**sizes))
        network.load_state_dict(state)
        if not all(bool(value.isfinite().all()) for value in state.values()):
            raise ValueError("a weight is not finite")
        words = metadata["words"].split(" ")
        vocabulary = {word: i for i, word in enumerate(words, 1)}
        return SmallWeights(network.eval(), vocabulary, tuple(metadata["bases"].split()), metadata.get("note", ""))
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error


class SmallPolicy:
    """Reads requests with a network.  Safe to be asked by any thread: it keeps nothing between requests.

    The network's boxes are rougher than the stream's masks, so the masks are taken where they can be: what the rules
    can read and answer is answered by them, and a box of the network that is about a candidate's means that candidate.

    Args:
        weights: the network with what it needs.
        alone: the network answers whatever is asked, and its boxes stay as they are: to measure it by itself.
    """

    name = "small"
    reads_features = True

    def __init__(self, weights: SmallWeights, *, alone: bool = False) -> None:
        self.weights, self._alone = weights, alone

    @classmethod
    def load(cls, path: Path, robotseg: RobotSeg, *, alone: bool = False) -> SmallPolicy:
        """Load a policy for a model; ``alone`` as of the class.

        Raises:
            OtherWeights: it was trained on other weights, or the model has another size.
            ValueError, OSError: the file, see :func:`load_policy`.
        """
        weights = load_policy(path)
        config = robotseg.model.config
        if config.d_model != weights.network.config.features or config.grid != 2 * GRID:
            raise OtherWeights(
                f"{path} reads {weights.network.config.features} channels at {32 * GRID} pixels, the model has "
                f"{config.d_model} at {config.image_size}"
            )
        if robotseg.sha256 not in weights.bases:
            raise OtherWeights(
                f"{path} was trained on the features of other weights ({weights.bases[0][:12]}) than those that are "
                f"loaded ({robotseg.sha256[:12]})"
            )
        return cls(weights, alone=alone)

    def look(self, encoded: EncodedFrame, parts: PartMasks) -> Looked:
        """What is kept of every frame, 0.3 MB; the rest is made of it when somebody asks."""
        with torch.inference_mode():
            return look_at(encoded)

    def answer(self, request: Request, view: View) -> PromptSet:
        """Find what is asked for: the likeliest token each time.

        Raises:
            ValueError: the view has no encoded frame.
        """
        return self.answer_all([request], view)[0]

    def answer_all(self, requests: Sequence[Request], view: View) -> list[PromptSet]:
        """Several requests about one frame at once, which is faster than one after another.

        Raises:
            ValueError: the view has no encoded frame.
        """
        return [answer for (answer,) in self._write(requests, view, 1, 0.0, None)]

    def draw_all(
        self, requests: Sequence[Request], view: View, count: int, generator: torch.Generator
    ) -> list[list[PromptSet]]:
        """``count`` answers to each request, drawn at temperature 1, as GRPO draws them.

        Raises:
            ValueError: the view has no encoded frame.
        """
        return self._write(requests, view, count, 1.0, generator)

    @torch.inference_mode()
    def _write(
        self,
        requests: Sequence[Request],
        view: View,
        count: int,
        temperature: float,
        generator: torch.Generator | None,
    ) -> list[list[PromptSet]]:
        if not isinstance(view.features, Looked):
            raise ValueError("the small policy reads the encoder's features, and the view has none")
        read = [None if self._alone else _by_rules(request, view) for request in requests]
        others = [request for request, answer in zip(requests, read, strict=True) if answer is None]
        written = iter(self._by_network(others, view, view.features, count, temperature, generator) if others else [])
        return [[answer] * count if answer is not None else next(written) for answer in read]

    def _by_network(
        self,
        requests: Sequence[Request],
        view: View,
        looked: Looked,
        count: int,
        temperature: float,
        generator: torch.Generator | None,
    ) -> list[list[PromptSet]]:
        network, vocabulary = self.weights.network, self.weights.vocabulary
        cells = network.frames(frame_inputs(looked, view.parts)).expand(len(requests), -1, -1)
        words = [familiar(words_of(request.text), vocabulary) for request in requests]
        text = network.words(batch_words(words, vocabulary))
        scene = network.scene(cells, text)
        tokens, mask, logp = network.generate(scene, count, temperature=temperature, generator=generator)
        size = (view.rgb.shape[1], view.rgb.shape[0])
        rows = zip(tokens, mask, logp.sum(1).tolist(), strict=True)
        found = [_prompts(_kept(row, kept), size, float(sum_logp)) for row, kept, sum_logp in rows]
        if not self._alone:
            known = {part: candidates(view.parts, part) for part in {answer.part for answer in found}}
            found = [meant(answer, known[answer.part]) for answer in found]
        return [found[begin : begin + count] for begin in range(0, len(found), count)]


def _by_rules(request: Request, view: View) -> PromptSet | None:
    """The rules' answer, which is one of the stream's own masks; None: they cannot read it, or not answer it.

    Whose a part is ("the gripper of the left arm") the rules only tell by which masks touch: the network does better.
    """
    try:
        query = query_of(request.text)
        return RulesPolicy().answer_query(query, view) if query.of is None else None
    except (UnknownWords, CannotTell):
        return None


def meant(answer: PromptSet, known: Sequence[Candidate]) -> PromptSet:
    """The answer with the masks of those candidates that its boxes are about."""
    return replace(answer, instances=tuple(_meant(instance, known) for instance in answer.instances))


def _meant(instance: Instance, known: Sequence[Candidate]) -> Instance:
    box = instance.box
    if box is None or not known:
        return instance
    near = max(known, key=lambda candidate: box_iou(candidate.box, box))
    return instance_of(near) if box_iou(near.box, box) >= MEANT else instance


def box_iou(a: Sequence[float], b: Sequence[float]) -> float:
    """IoU of two boxes (x0, y0, x1, y1), 0 to 1."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(0.0, width) * max(0.0, height)
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def _kept(tokens: Tensor, mask: Tensor) -> list[int]:
    return [int(token) for token in tokens[mask]]


def _prompts(tokens: Sequence[int], size: tuple[int, int], logp: float) -> PromptSet:
    written = read_answer(tokens)
    raw = " ".join(map(str, tokens)) if written.op != "unknown" else "it seems to ask for no robot, arm or gripper"
    return to_prompt_set(written, size, log_probability=logp, raw=raw)
