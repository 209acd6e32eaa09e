# SPDX-License-Identifier: Apache-2.0
"""The policy without weights: keywords, sides, colours and counts over the automatic masks and their geometry.

It knows robots, arms and grippers and nothing else; what it does not understand it says.  The masks are the stream's
own, so nothing is segmented again.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from robotseg_core.instruct.candidates import Candidate, candidates, colour_shares
from robotseg_core.instruct.prompt_set import MAX_INSTANCES, Answer, Instance, PromptSet, View
from robotseg_core.instruct.request import Request
from robotseg_core.instruct.words import Query, UnknownWords, query_of
from robotseg_core.types import PartMasks

MIDDLE = 0.05
"""Of the frame's width or height: who stands alone and is no further from the middle is on either side."""
MIN_COLOUR = 0.15
"""Share of a candidate's pixels that must have a colour by which it is called."""
SHADED = {"white": ("grey", 0.5), "orange": ("brown", 0.7)}
"""What a camera sees of a colour in shade, and by how much that counts as the colour."""
NEAR = 0.05
"""Of the frame's diagonal: how far a gripper may be from the arm that carries it."""


class CannotTell(ValueError):
    """A request that is read, but that the masks cannot answer; the message says why."""


class RulesPolicy:
    """See the module."""

    name = "rules"
    reads_features = False

    def look(self, encoded: Any, parts: PartMasks) -> None:
        """Nothing: the masks are enough."""

    def answer(self, request: Request, view: View) -> PromptSet:
        """Find what is asked for; never raises for what is asked."""
        try:
            return self.answer_query(query_of(request.text), view)
        except (UnknownWords, CannotTell) as error:
            return PromptSet(Answer.NOT_UNDERSTOOD, raw=str(error))

    def answer_query(self, query: Query, view: View) -> PromptSet:
        """The same for a request that is read.

        Raises:
            CannotTell: the masks cannot answer it.
        """
        found = select(query, view)
        part = query.without and _other(query.without) or query.part
        if not found:
            return PromptSet(Answer.NONE, invert=query.invert, part=part, raw=str(query))
        kept = sorted(sorted(found, key=lambda c: -c.area)[:MAX_INSTANCES], key=lambda c: c.centre)
        instances = tuple(instance_of(c) for c in kept)
        # Of a part as such the stream's own mask is the target's, frame by frame.
        return PromptSet(
            Answer.FOUND, instances, invert=query.invert, part=part, automatic=query.plain, raw=str(query)
        )  # fmt: skip


def _other(part: str) -> str:
    """What is left of a robot without a part."""
    return {"arm": "gripper", "gripper": "arm"}[part]


def instance_of(candidate: Candidate) -> Instance:
    """A candidate as a thing of an answer: its box and its mask."""
    x0, y0, x1, y1 = candidate.box
    return Instance((float(x0), float(y0), float(max(x1 - 1, x0 + 1)), float(max(y1 - 1, y0 + 1))), mask=candidate.mask)


def select(query: Query, view: View) -> list[Candidate]:
    """The candidates that a query means; none where what is asked for is not in view.

    Raises:
        CannotTell: the masks cannot answer it.
    """
    whole = candidates(view.parts, query.part)
    if query.of is not None:
        owners = select(query.of, view)
        whole = [c for c in whole if any(_touches(c, owner) for owner in owners)]
    if query.part == "arm" and not query.plural and (query.side or query.size):
        _refuse_joined_arms(whole, view)
    chosen = _choose(query, whole, view)
    if query.without is not None:
        left = view.parts[_other(query.without)].mask > 0
        chosen = [Candidate.of(rest) for c in chosen if (rest := c.mask & left).any()]
    return chosen


def _choose(query: Query, whole: list[Candidate], view: View) -> list[Candidate]:
    height, width = view.rgb.shape[:2]
    found = whole
    if query.colour is not None:
        shares = [_share_of(query.colour, colour_shares(view.rgb, c.mask)) for c in found]
        found = [c for c, share in zip(found, shares, strict=True) if share >= MIN_COLOUR]
        if found and not query.plural:
            found = [whole[int(np.argmax(shares))]]
    if query.side is not None:
        axis, extent = (1, height) if query.side in ("top", "bottom") else (0, width)
        found = _on_side(found, query, axis, extent)
    if query.size is not None and found:
        found = [max(found, key=lambda c: c.area if query.size == "large" else -c.area)]
    if query.count is not None and len(found) != query.count:
        # "Both arms" of one arm are not in view; of three it is not said which.
        if len(found) > query.count:
            raise CannotTell(f"{query.count} are asked for, {len(found)} are in view")
        return []
    return found


def _share_of(colour: str, shares: dict[str, float]) -> float:
    shade, weight = SHADED.get(colour, (colour, 0.0))
    return shares.get(colour, 0.0) + weight * shares.get(shade, 0.0)


def _on_side(found: list[Candidate], query: Query, axis: int, extent: int) -> list[Candidate]:
    """Those on a side of the picture: of several in singular the outermost, alone or in plural by its half."""
    where = [c.centre[axis] / extent for c in found]
    first = query.side in ("left", "top")
    if query.side == "middle":
        if len(found) >= 3 and not query.plural:
            return [sorted(found, key=lambda c: c.centre[axis])[len(found) // 2]]
        return [c for c, at in zip(found, where, strict=True) if 1 / 3 <= at <= 2 / 3]
    if len(found) > 1 and not query.plural or query.rank > 1:
        ordered = sorted(found, key=lambda c: c.centre[axis], reverse=not first)
        return ordered[query.rank - 1 : query.rank]
    limit = 0.5 + MIDDLE if first else 0.5 - MIDDLE
    return [c for c, at in zip(found, where, strict=True) if (at <= limit if first else at >= limit)]


def _touches(one: Candidate, other: Candidate) -> bool:
    """Whether two masks overlap or nearly touch."""
    reach = NEAR * float(np.hypot(*one.mask.shape))
    x0, y0, x1, y1 = one.box
    slack = int(reach) + 1
    box = (slice(max(0, y0 - slack), y1 + slack), slice(max(0, x0 - slack), x1 + slack))
    if not other.mask[box].any():
        return False
    rows, columns = np.nonzero(other.mask[box])
    mine_rows, mine_columns = np.nonzero(_border(one.mask[box]))
    step = max(1, len(rows) // 2000)
    gaps = (rows[::step, None] - mine_rows[None, ::2]) ** 2 + (columns[::step, None] - mine_columns[None, ::2]) ** 2
    return bool(gaps.size and gaps.min() <= reach**2)


def _border(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    inner = mask.copy()
    inner[1:-1, 1:-1] &= mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
    edge = mask.copy()
    edge[1:-1, 1:-1] &= ~inner[1:-1, 1:-1]
    return edge


def _refuse_joined_arms(arms: list[Candidate], view: View) -> None:
    """Two grippers at one piece of arm: two arms that the mask shows as one.

    Raises:
        CannotTell: so it is.
    """
    grippers = candidates(view.parts, "gripper")
    for arm in arms:
        if sum(_touches(gripper, arm) for gripper in grippers) > 1:
            raise CannotTell("two arms of one robot are one piece in the mask and cannot be told apart")
