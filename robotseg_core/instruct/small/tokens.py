# SPDX-License-Identifier: Apache-2.0
"""Answers as tokens, and which token may come next (SEGR1 10.2, form B: pointer).

    answer   = OP [ PART instance { NEXT instance } ] END         OP in {one, many, invert, none, unknown}
    instance = CELL OFFSET left top right bottom { POS|NEG u v }

An instance begins with a place on the target: a cell of the grid, scored against the image, and a square in it; four
distances to the sides of its box follow, then points in squares of the box.  A state machine says what may follow, in
drawing and in scoring alike, so that every answer can be read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robotseg_core.instruct.prompt_set import Answer, Instance, PromptSet
from robotseg_core.types import PARTS

GRID = 12
"""Cells along a side: stride 32 of 384 pixels."""
OFFSETS = 4
"""Squares along a side of a cell: 8 pixels."""
DISTANCES = 64
"""Steps of a distance, finer where it is short."""
POINT_GRID = 16
"""Squares along a side of a box in which points lie."""
MAX_ANSWER_INSTANCES = 4
MAX_ANSWER_POINTS = 2
"""Of an instance: nano follows its box and hardly its clicks, more points are tokens without an effect."""
OPS = ("one", "many", "invert", "none", "unknown")
KINDS = ("end", "next", "pos", "neg")
_COUNTS = {
    "op": len(OPS),
    "part": len(PARTS),
    "offset": OFFSETS**2,
    "distance": DISTANCES,
    "kind": len(KINDS),
    "place": POINT_GRID,
    "cell": GRID**2,
}
FIRST: dict[str, int] = {}
"""First token of each block."""
VOCABULARY = 0
for _name, _count in _COUNTS.items():
    FIRST[_name] = VOCABULARY
    VOCABULARY += _count
CELLS = FIRST["cell"]
"""The cells are the last block: their scores come from the image, all others from a table."""
END, NEXT, POS, NEG = (FIRST["kind"] + i for i in range(4))
PAD = 0
"""Fills up after the end; any token would do, it is never scored."""
MAX_TOKENS = 2 + MAX_ANSWER_INSTANCES * (7 + 3 * MAX_ANSWER_POINTS)
"""Of an answer."""

# Places in an answer, and the block that stands there.
OP, PART, CELL, OFFSET, LEFT, TOP, RIGHT, BOTTOM, KIND, U, V, DONE = range(12)
PLACES = 12
BLOCKS = ("op", "part", "cell", "offset", "distance", "distance", "distance", "distance", "kind", "place", "place")
_NEAR = 4 / 384
"""Of the frame: distances up to about this grow evenly, longer ones by a share of themselves."""
_GROWTH = math.log1p(1 / _NEAR) / (DISTANCES - 1)


def to_distance(step: int | Tensor) -> float | Tensor:
    """Share of the frame's side, 0 to 1, of a step 0 to :data:`DISTANCES` - 1."""
    if isinstance(step, Tensor):
        return _NEAR * torch.expm1(_GROWTH * step)
    return _NEAR * math.expm1(_GROWTH * step)


def to_step(distance: float) -> int:
    """The step nearest to a share of the frame's side."""
    return min(DISTANCES - 1, max(0, round(math.log1p(max(distance, 0.0) / _NEAR) / _GROWTH)))


def share_of_steps(distance: NDArray) -> NDArray[np.float32]:
    """Distances, shares of the frame's side, as steps that need not be whole over all steps, 0 to 1."""
    return np.asarray(np.log1p(np.maximum(distance, 0) / _NEAR) / (_GROWTH * (DISTANCES - 1)), np.float32)


@dataclass(frozen=True)
class Target:
    """One instance of an answer, in shares of the frame's width and height.

    Attributes:
        place: (x, y) on the target.
        box: (x0, y0, x1, y1).
        points: (x, y, label) each, in the box.
    """

    place: tuple[float, float]
    box: tuple[float, float, float, float]
    points: tuple[tuple[float, float, int], ...] = ()


def write_answer(op: str, part: str = "robot", targets: Sequence[Target] = ()) -> list[int]:
    """Tokens of an answer, the end included.

    Raises:
        ValueError: op and number of targets do not fit.
    """
    op_token = FIRST["op"] + OPS.index(op)
    count = len(targets)
    fits = {"one": count == 1, "many": 2 <= count, "invert": 1 <= count}.get(op, count == 0)
    if not fits or count > MAX_ANSWER_INSTANCES:
        raise ValueError(f"{op!r} with {count} targets, at most {MAX_ANSWER_INSTANCES}")
    if not targets:
        return [op_token, END]
    tokens = [op_token, FIRST["part"] + PARTS.index(part)]
    for i, target in enumerate(targets):
        tokens += ([NEXT] if i else []) + _instance(target)
    return [*tokens, END]


def _instance(target: Target) -> list[int]:
    column, row = (min(GRID * OFFSETS - 1, max(0, int(v * GRID * OFFSETS))) for v in target.place)
    cell = (row // OFFSETS) * GRID + column // OFFSETS
    offset = (row % OFFSETS) * OFFSETS + column % OFFSETS
    x, y = (column + 0.5) / (GRID * OFFSETS), (row + 0.5) / (GRID * OFFSETS)
    x0, y0, x1, y1 = target.box
    tokens = [CELLS + cell, FIRST["offset"] + offset]
    tokens += [FIRST["distance"] + to_step(d) for d in (x - x0, y - y0, x1 - x, y1 - y)]
    for px, py, label in target.points[:MAX_ANSWER_POINTS]:
        u = min(POINT_GRID - 1, max(0, int((px - x0) / max(x1 - x0, 1e-6) * POINT_GRID)))
        v = min(POINT_GRID - 1, max(0, int((py - y0) / max(y1 - y0, 1e-6) * POINT_GRID)))
        tokens += [POS if label else NEG, FIRST["place"] + u, FIRST["place"] + v]
    return tokens


@dataclass(frozen=True)
class Written:
    """An answer that has been read: op, part and its targets."""

    op: str
    part: str = "robot"
    targets: tuple[Target, ...] = ()


def read_answer(tokens: Sequence[int]) -> Written:
    """Read tokens up to the end.

    Raises:
        ValueError: the state machine does not allow them.
    """
    state = start(1, torch.device("cpu"))
    kept: list[int] = []
    for token in tokens:
        if not bool(allowed(state)[0, token]):
            raise ValueError(f"token {token} cannot follow {kept}")
        state = advance(state, torch.tensor([token]))
        kept.append(int(token))
        if token == END:
            break
    else:
        raise ValueError(f"{kept} has no end")
    op = OPS[kept[0] - FIRST["op"]]
    if op in ("none", "unknown"):
        return Written(op)
    part, targets, at = PARTS[kept[1] - FIRST["part"]], [], 2
    while kept[at] != END:
        at += kept[at] == NEXT
        cell, offset = kept[at] - CELLS, kept[at + 1] - FIRST["offset"]
        x = ((cell % GRID) * OFFSETS + offset % OFFSETS + 0.5) / (GRID * OFFSETS)
        y = ((cell // GRID) * OFFSETS + offset // OFFSETS + 0.5) / (GRID * OFFSETS)
        left, top, right, bottom = (float(to_distance(t - FIRST["distance"])) for t in kept[at + 2 : at + 6])
        box = (max(0.0, x - left), max(0.0, y - top), min(1.0, x + right), min(1.0, y + bottom))
        at += 6
        points = []
        while kept[at] in (POS, NEG):
            u, v = ((t - FIRST["place"] + 0.5) / POINT_GRID for t in kept[at + 1 : at + 3])
            points.append((box[0] + u * (box[2] - box[0]), box[1] + v * (box[3] - box[1]), int(kept[at] == POS)))
            at += 3
        targets.append(Target((x, y), box, tuple(points)))
    return Written(op, part, tuple(targets))


def to_prompt_set(written: Written, size: tuple[int, int], *, log_probability: float = 0.0, raw: str = "") -> PromptSet:
    """Prompts in pixels of a frame (width, height)."""
    if written.op in ("none", "unknown"):
        answer = Answer.NONE if written.op == "none" else Answer.NOT_UNDERSTOOD
        return PromptSet(answer, log_probability=log_probability, raw=raw)
    width, height = size
    instances = []
    for target in sorted(written.targets, key=lambda t: t.place):
        x0, y0, x1, y1 = target.box
        x0, x1 = _span(x0 * width, x1 * width, width)
        y0, y1 = _span(y0 * height, y1 * height, height)
        points = tuple((min(px * width, width - 1.0), min(py * height, height - 1.0)) for px, py, _ in target.points)
        instances.append(Instance((x0, y0, x1, y1), points, tuple(label for _, _, label in target.points)))
    return PromptSet(
        Answer.FOUND, tuple(instances), invert=written.op == "invert", part=written.part,
        log_probability=log_probability, raw=raw,
    )  # fmt: skip


def _span(low: float, high: float, side: int) -> tuple[float, float]:
    """Two ends on a frame's axis, at least a pixel apart."""
    low = min(max(low, 0.0), side - 2.0)
    return low, max(low + 1.0, min(high - 1.0, side - 1.0))


@dataclass(frozen=True)
class Reading:
    """How far N answers are; all [N] int64.

    Attributes:
        place: what stands next, :data:`OP` to :data:`DONE`.
        op: the first token.
        instances, points: complete or begun.
    """

    place: Tensor
    op: Tensor
    instances: Tensor
    points: Tensor


def start(count: int, device: torch.device) -> Reading:
    """Before the first token."""
    nothing = torch.zeros(count, dtype=torch.int64, device=device)
    return Reading(nothing, nothing, nothing, nothing)


def _blocks() -> Tensor:
    table = torch.zeros(PLACES, VOCABULARY, dtype=torch.bool)
    for place, block in enumerate(BLOCKS):
        table[place, FIRST[block] : FIRST[block] + _COUNTS[block]] = True
    table[DONE, PAD] = True
    return table


_BLOCKS = _blocks()
_WITHOUT_TARGET = (OPS.index("none"), OPS.index("unknown"))
_FOLLOWS = torch.tensor([PART, CELL, OFFSET, LEFT, TOP, RIGHT, BOTTOM, KIND, DONE, V, KIND, DONE])


def allowed(reading: Reading) -> Tensor:
    """Which tokens may come next, [N, VOCABULARY] bool; never none."""
    table = _BLOCKS.to(reading.place.device)[reading.place]
    choosing = reading.place == KIND
    op = reading.op
    bare = (op == _WITHOUT_TARGET[0]) | (op == _WITHOUT_TARGET[1])
    one, many = op == OPS.index("one"), op == OPS.index("many")
    table[:, END] &= ~(choosing & many & (reading.instances < 2))
    table[:, NEXT] &= ~(choosing & (one | bare | (reading.instances >= MAX_ANSWER_INSTANCES)))
    for token in (POS, NEG):
        table[:, token] &= ~(choosing & (bare | (reading.points >= MAX_ANSWER_POINTS)))
    return table


def advance(reading: Reading, token: Tensor) -> Reading:
    """After ``token`` [N]."""
    place = reading.place
    op = torch.where(place == OP, token - FIRST["op"], reading.op)
    bare = (op == _WITHOUT_TARGET[0]) | (op == _WITHOUT_TARGET[1])
    after = _FOLLOWS.to(place.device)[place]
    after = torch.where((place == OP) & bare, KIND, after)
    choosing = place == KIND
    after = torch.where(choosing & (token == NEXT), CELL, after)
    point = choosing & ((token == POS) | (token == NEG))
    after = torch.where(point, U, after)
    begins = place == CELL
    instances = reading.instances + begins.long()
    points = torch.where(begins, 0, reading.points) + point.long()
    return Reading(after, op, instances, points)


def masks_of(tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Allowed tokens [N, T, VOCABULARY] at each step of written answers [N, T], and the places [N, T]."""
    reading = start(tokens.shape[0], tokens.device)
    masks, places = [], []
    for step in range(tokens.shape[1]):
        masks.append(allowed(reading))
        places.append(reading.place)
        reading = advance(reading, tokens[:, step])
    return torch.stack(masks, 1), torch.stack(places, 1)
