# SPDX-License-Identifier: Apache-2.0
"""Programs over a scene: what may be asked of it and what the answer is.  Near ties are left out.

Absence: asked for and not in view, the answer is "none".  A side said of somebody who stands alone is right on his
half of the picture and absent on the other.  Ambiguity: "the arm" where several are in view means all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from robotseg_core.synth.requests.scene import Entity, FrameScene, distance

SIDE_GAP = 0.05
"""Of the width: closer centres are neither left nor right of each other."""
TIE = 0.15
"""Distances and sizes that differ by less are tied."""
FAR_COLOUR = 0.15
"""Share of a colour that another candidate must not reach."""
KINDS = ("arm", "gripper", "robot")
SPOKEN = ("white", "black", "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown")
"""Colours that are asked for; grey is what most robots are."""


@dataclass(frozen=True)
class Asked:
    """One thing to ask for.

    Attributes:
        family: of the eleven of SEGR1 10.5 (order and number are three here: order, number, size).
        phrasing: key of the phrasings.
        kind: of what is asked for: arm, gripper or robot.
        slots: words for the template besides the nouns.
        target: leaves of the answer; empty: absent.
        others: leaves of all other candidates of the kind.
        instances: leaves of each instance of the answer, from left to right.
        count: instances.
        invert: everything else is asked for.
        owner: kind of the owner, for compositions.
        needs_language: another candidate of the kind is in view.
    """

    family: str
    phrasing: str
    kind: str
    target: tuple[int, ...]
    others: tuple[int, ...] = ()
    slots: dict[str, str] = field(default_factory=dict)
    instances: tuple[tuple[int, ...], ...] = ()
    count: int = 1
    invert: bool = False
    owner: str | None = None
    needs_language: bool = False


def _leaves(entities: tuple[Entity, ...] | list[Entity]) -> tuple[int, ...]:
    return tuple(sorted({i for e in entities for i in e.ids}))


def _ask(
    family: str, phrasing: str, kind: str, chosen: list[Entity], scene: FrameScene, **more: object
) -> Asked:  # fmt: skip
    target = _leaves(chosen)
    others = tuple(i for i in _leaves(scene.of(kind)) if i not in set(target))
    needs = len(scene.of(kind)) > 1
    each = tuple(e.ids for e in chosen)
    asked = Asked(family, phrasing, kind, target, others, instances=each, count=max(1, len(chosen)), **more)  # type: ignore[arg-type]
    return replace(asked, needs_language=needs)


def asked_of(scene: FrameScene, ids: NDArray[np.uint16]) -> list[Asked]:
    """All that may be asked of a frame, in a fixed order."""
    found: list[Asked] = []
    for kind in KINDS:
        if kind not in scene.hidden:
            for program in (_category, _side, _colour, _order, _number, _size, _exclusion):
                found += program(kind, scene)
            found += _relation(kind, scene, ids)
    found += _state(scene)
    found += _composition(scene)
    found += _without(scene)
    return found


def _category(kind: str, scene: FrameScene) -> Iterator[Asked]:
    phrasing = "whole" if kind == "robot" else "part"
    seen = list(scene.of(kind))
    family = "absence" if not seen else "ambiguity" if len(seen) > 1 else phrasing
    # The base of a two-armed robot is part of its arm masks, but of neither arm.
    if not (kind == "arm" and family == "ambiguity"):
        yield _ask(family, phrasing, kind, seen, scene)


def _sides(seen: tuple[Entity, ...]) -> dict[str, Entity | None] | None:
    """Who is on which side; None in place of somebody: nobody; None: a tie."""
    if len(seen) == 1:
        x = seen[0].centre[0]
        if abs(x - 0.5) < SIDE_GAP:
            return None
        return {"left": seen[0] if x < 0.5 else None, "right": seen[0] if x > 0.5 else None}
    if len(seen) < 2:
        return None
    gaps = np.diff([e.centre[0] for e in seen])
    if gaps[0] < SIDE_GAP or gaps[-1] < SIDE_GAP:
        return None
    return {"left": seen[0], "right": seen[-1]}


def _side(kind: str, scene: FrameScene) -> Iterator[Asked]:
    for side, who in (_sides(scene.of(kind)) or {}).items():
        family = "side" if who else "absence"
        yield _ask(family, "side", kind, [who] if who else [], scene, slots={"side": side})


def _colour(kind: str, scene: FrameScene) -> Iterator[Asked]:
    seen = scene.of(kind)
    for colour in SPOKEN:
        shares = [e.share(colour) for e in seen]
        if not seen:
            continue
        best = int(np.argmax(shares))
        rest = max([s for i, s in enumerate(shares) if i != best], default=0.0)
        if seen[best].colour == colour and rest < FAR_COLOUR:
            yield _ask("attribute", "attribute", kind, [seen[best]], scene, slots={"colour": colour})
        elif shares[best] == 0:
            yield _ask("absence", "attribute", kind, [], scene, slots={"colour": colour})


def _order(kind: str, scene: FrameScene) -> Iterator[Asked]:
    seen = scene.of(kind)
    if len(seen) < 2 or min(np.diff([e.centre[0] for e in seen])) < SIDE_GAP:
        return
    for rank, word in ((1, "second"), (2, "third")):
        for side in ("left", "right"):
            ordered = seen if side == "left" else seen[::-1]
            who = list(ordered[rank : rank + 1])
            family = "order" if who else "absence"
            if len(seen) > 2 or rank == 2:
                yield _ask(family, "order", kind, who, scene, slots={"rank": word, "side": side})


def _number(kind: str, scene: FrameScene) -> Iterator[Asked]:
    seen = scene.of(kind)
    if len(seen) in (1, 2):
        yield _ask("order" if len(seen) == 2 else "absence", "number", kind, list(seen) * (len(seen) == 2), scene)


def _size(kind: str, scene: FrameScene) -> Iterator[Asked]:
    ordered = sorted(scene.of(kind), key=lambda e: e.area)
    if len(ordered) > 1:
        for word, one, next_one in (("smaller", ordered[0], ordered[1]), ("larger", ordered[-1], ordered[-2])):
            small, large = sorted((one.area, next_one.area))
            if small < (1 - TIE) * large:
                yield _ask("order", "size", kind, [one], scene, slots={"size": word})


def _exclusion(kind: str, scene: FrameScene) -> Iterator[Asked]:
    if scene.of(kind) and not (kind == "arm" and len(scene.arms) > 1):
        yield _ask("exclusion", "exclusion", kind, list(scene.of(kind)), scene, invert=True)


def _named(scene: FrameScene) -> list[tuple[str, Entity]]:
    """Things that have a name of their own, with their colour where that is needed."""
    named = []
    for thing in scene.things:
        same = [t for t in scene.things if t.name == thing.name]
        if len(same) == 1:
            named.append((thing.name, thing))
        elif thing.colour and sum(t.share(thing.colour) >= FAR_COLOUR for t in same) == 1:
            named.append((f"{thing.colour} {thing.name}", thing))
    return named


def _relation(kind: str, scene: FrameScene, ids: NDArray[np.uint16]) -> Iterator[Asked]:
    seen = scene.of(kind)
    if len(seen) < 2:
        return
    masks = [np.isin(ids, e.ids) for e in seen]
    for name, thing in _named(scene)[:3]:
        where = np.isin(ids, thing.ids)
        gaps = sorted((distance(mask, where), i) for i, mask in enumerate(masks))
        if gaps[0][0] < (1 - TIE) * gaps[1][0] and gaps[1][0] - gaps[0][0] > 0.02 * ids.shape[1]:
            yield _ask("relation", "relation", kind, [seen[gaps[0][1]]], scene, slots={"thing": name})


def _state(scene: FrameScene) -> Iterator[Asked]:
    named = {thing.number: name for name, thing in _named(scene)}
    for gripper in scene.grippers:
        for number in gripper.holds:
            if number in named:
                state = f"holding the {named[number]}"
                yield _ask("state", "state", "gripper", [gripper], scene, slots={"state": state})
                arms = [a for a in scene.arms if a.robot == gripper.robot]
                if len(arms) == 1 and "arm" not in scene.hidden:
                    yield _ask("state", "state", "arm", arms, scene, slots={"state": state})
    held = {i for g in scene.grippers for i in g.holds}
    for name, thing in _named(scene):
        if scene.grippers and thing.number not in held and "gripper" not in scene.hidden:
            yield _ask("absence", "state", "gripper", [], scene, slots={"state": f"holding the {name}"})
            break
    known = [(g.opening, g) for g in scene.grippers if g.opening is not None]
    if len(known) == len(scene.grippers) > 1:
        for word, ordered in (("open", known), ("closed", [(1 - o, g) for o, g in known])):
            ordered = sorted(ordered, key=lambda pair: -pair[0])
            if ordered[0][0] > 0.7 and ordered[1][0] < 0.3:
                yield _ask("state", "state", "gripper", [ordered[0][1]], scene, slots={"state": word})


def _composition(scene: FrameScene) -> Iterator[Asked]:
    for part, owner in (("gripper", "robot"), ("arm", "robot")):
        if {part, owner} & scene.hidden:
            continue
        for side, who in (_sides(scene.of(owner)) or {}).items():
            if who is None or len(scene.of(owner)) < 2:
                continue
            own = [e for e in scene.of(part) if e.robot == who.number]
            if len(own) == 1:
                yield _ask("composition", "composition", part, own, scene, slots={"side": side}, owner=owner)


def _without(scene: FrameScene) -> Iterator[Asked]:
    if len(scene.robots) == 1 and len(scene.arms) == 1 and scene.grippers and not scene.hidden:
        for left_out, kept in (("gripper", "arm"), ("arm", "gripper")):
            asked = _ask("exclusion", "without", kept, list(scene.of(kept)), scene, owner="robot")
            others = _leaves(scene.of(left_out))
            yield Asked(**{**asked.__dict__, "slots": {"left_out": left_out}, "others": others})
