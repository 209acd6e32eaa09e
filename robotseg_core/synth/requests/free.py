# SPDX-License-Identifier: Apache-2.0
"""Requests that people have written freely, each with what it means, matched to frames where it can be asked.

A file has one JSON object a line; lines that begin with ``#`` are comments::

    {"text": "the hand next to the {thing}", "phrasing": "relation", "kind": "gripper", "slots": {"thing": "*"}}

``phrasing``, ``kind``, ``slots`` and ``owner`` are those of :class:`~robotseg_core.synth.requests.programs.Asked`.  A
``*`` at the end of a slot stands for any words; ``{colour}`` and ``{thing}`` in the text become these words.
"""

from __future__ import annotations

import json
import zlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from robotseg_core.synth.requests.generate import FREE, SceneRequest, balanced, request_of
from robotseg_core.synth.requests.phrasings import FAMILIES
from robotseg_core.synth.requests.programs import KINDS, Asked

MOST_CHARACTERS = 200
"""Of a text, as of any request."""
PLACES = ("colour", "thing")
"""What may stand in braces in a text."""


@dataclass(frozen=True)
class FreeRequest:
    """A text and what it means.

    Attributes:
        text: what is said, with ``{colour}`` or ``{thing}`` where any one may stand.
        phrasing, kind, owner: as in :class:`~robotseg_core.synth.requests.programs.Asked`.
        slots: the same; a ``*`` at the end stands for any words.
    """

    text: str
    phrasing: str
    kind: str
    slots: dict[str, str] = field(default_factory=dict)
    owner: str | None = None

    def __post_init__(self) -> None:
        if self.phrasing not in FAMILIES or self.kind not in KINDS or self.owner not in (None, *KINDS):
            raise ValueError(
                f"phrasing {self.phrasing!r}, kind {self.kind!r}, owner {self.owner!r}, must be of {sorted(FAMILIES)} "
                f"and {KINDS}"
            )
        if not 0 < len(self.text) <= MOST_CHARACTERS:
            raise ValueError(f"a text has {len(self.text)} characters, must have 1 to {MOST_CHARACTERS}")
        rest = self.text
        for place in PLACES:
            rest = rest.replace(f"{{{place}}}", "")
        if "{" in rest or "}" in rest:
            raise ValueError(f"{self.text!r} has braces around something else than {PLACES}")

    def text_for(self, asked: Asked) -> str | None:
        """What is said where ``asked`` is meant; None: it means something else."""
        if (self.phrasing, self.kind, self.owner) != (asked.phrasing, asked.kind, asked.owner):
            return None
        if set(self.slots) != set(asked.slots):
            return None
        words = ""
        for name, wanted in self.slots.items():
            said = asked.slots[name]
            stem = wanted.removesuffix("*")
            if not said.startswith(stem) or (stem == wanted and said != wanted):
                return None
            if stem != wanted:
                words = said.removeprefix(stem)
        text = self.text
        for place in PLACES:
            text = text.replace(f"{{{place}}}", words)
        return text


def read_free(path: Path) -> list[FreeRequest]:
    """Read a file.

    Raises:
        ValueError: a line is no request; the message names it.
    """
    found = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            try:
                found.append(FreeRequest(**json.loads(line)))
            except (ValueError, TypeError, AttributeError) as error:
                raise ValueError(f"{path}, line {number} is no free request: {error}") from error
    return found


def choose_free(
    free: Sequence[FreeRequest], questions: Iterable[Asked], video: str, index: int, *, seed: int = 0, each: int = 4
) -> list[SceneRequest]:
    """Up to ``each`` of the requests that fit a frame, families by turns, always the same for a seed."""
    rng = np.random.default_rng([seed, zlib.crc32(f"free {video}/{index}".encode())])
    by_family: dict[str, list[tuple[Asked, str]]] = defaultdict(list)
    for asked in questions:
        texts = [text for one in free if (text := one.text_for(asked)) is not None]
        by_family[asked.family] += [(asked, text) for text in texts]
    turns = []
    for family in sorted(by_family):
        several = by_family[family]
        order = rng.permutation(len(several))
        turns += [(turn, float(rng.random()), several[int(i)]) for turn, i in enumerate(order)]
    turns.sort(key=lambda turn: turn[:2])
    return balanced([request_of(asked, video, index, text, FREE) for _, _, (asked, text) in turns[:each]])
