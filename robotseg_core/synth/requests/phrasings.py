# SPDX-License-Identifier: Apache-2.0
"""Ways to say a request, family by family.  The last ones of each list are never trained on: held-out phrasings.

Places in braces: ``x`` a noun of the part, ``xs`` its plural, ``side``, ``colour``, ``thing``, ``rank``, ``size``,
``state``, ``y`` and ``ys`` the nouns of an owner.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Phrasings:
    """Templates of a family: those that are trained on, and those held out."""

    known: tuple[str, ...]
    held_out: tuple[str, ...]


FAMILIES: dict[str, Phrasings] = {
    "part": Phrasings(
        ("the {x}", "{x}", "segment the {x}", "show me the {x}", "find the {x}", "the {x} please", "mark the {x}",
         "follow the {x}", "where is the {x}"),
        ("could you outline the {x}", "i need the mask of the {x}", "all pixels of the {x}"),
    ),
    "whole": Phrasings(
        ("the {x}", "{x}", "segment the {x}", "the whole {x}", "show me the {x}", "find the {x}", "the entire {x}",
         "mark the complete {x}", "follow the {x}"),
        ("please outline the whole {x}", "i want the {x}, all of it", "every pixel of the {x}"),
    ),
    "side": Phrasings(
        ("the {side} {x}", "{side} {x}", "the {x} on the {side}", "the {x} to the {side}", "segment the {side} {x}",
         "the {x} on the {side} side", "the {side}most {x}", "the {x} at the {side} of the image",
         "follow the {side} {x}", "show me the {x} on the {side}"),
        ("the {x} in the {side} half of the picture", "the {x} that stands {side}", "of the {xs}, the {side} one",
         "i mean the {x} further {side}"),
    ),
    "attribute": Phrasings(
        ("the {colour} {x}", "{colour} {x}", "segment the {colour} {x}", "the {x} that is {colour}",
         "find the {colour} {x}",
         "the {x} painted {colour}", "follow the {colour} {x}", "the {x} in {colour}", "mark the {colour} colored {x}"),
        ("the {x} whose colour is {colour}", "please get me the {colour} {x}", "the {colour} one of the {xs}"),
    ),
    "relation": Phrasings(
        ("the {x} nearest to the {thing}", "the {x} next to the {thing}", "the {x} closest to the {thing}",
         "the {x} by the {thing}", "segment the {x} near the {thing}", "the {x} beside the {thing}",
         "find the {x} nearest the {thing}"),
        ("which {x} is closest to the {thing}", "the {x} at the {thing}",
         "the {x} with the smallest distance to the {thing}"),
    ),
    "state": Phrasings(
        ("the {x} {state}", "segment the {x} {state}", "find the {x} {state}", "the {x} that is {state}",
         "follow the {x} {state}", "show me the {x} {state}", "{x} {state}"),
        ("the {x} which is now {state}", "please mark whichever {x} is {state}", "i need the {x} {state}"),
    ),
    "order": Phrasings(
        ("the {rank} {x} from the {side}", "{rank} {x} from the {side}", "segment the {rank} {x} from the {side}",
         "the {rank} {x} counted from the {side}", "find the {rank} {x} from the {side}",
         "follow the {rank} {x} from the {side}", "the {x} that is {rank} from the {side}"),
        ("counting from the {side}, the {rank} {x}", "of the {xs} from the {side}, the {rank}",
         "starting {side}, the {rank} {x}"),
    ),
    "number": Phrasings(
        ("both {xs}", "the two {xs}", "segment both {xs}", "both of the {xs}", "follow both {xs}", "find the two {xs}",
         "mark both {xs}", "show me both {xs}"),
        ("the pair of {xs}", "i want the two {xs} together", "one and the other {x}"),
    ),
    "size": Phrasings(
        ("the {size} {x}", "segment the {size} {x}", "find the {size} {x}", "the {x} that looks {size}",
         "follow the {size} {x}", "{size} {x}", "mark the {size} of the {xs}"),
        ("the {size} one of the {xs}", "of the {xs} the {size} one", "the {x}, i mean the {size} one"),
    ),
    "composition": Phrasings(
        ("the {x} of the {side} {y}", "the {side} {y}'s {x}", "segment the {x} of the {side} {y}",
         "the {x} on the {side} {y}", "the {x} belonging to the {side} {y}", "{x} of the {side} {y}",
         "follow the {x} of the {side} {y}"),
        ("the {x} that the {side} {y} carries", "on the {side} {y}, the {x}", "the {x} mounted on the {side} {y}"),
    ),
    "exclusion": Phrasings(
        ("everything but the {x}", "everything except the {x}", "all but the {x}", "all pixels except the {x}",
         "everything apart from the {x}", "segment everything but the {x}", "the image without the {x}",
         "everything that is not the {x}"),
        ("whatever is not the {x}", "leave out the {x} and mark the rest", "the scene minus the {x}"),
    ),
    "without": Phrasings(
        ("the {y} without its {x}", "the {y} but not its {x}", "the {y} without the {x}",
         "segment the {y} without its {x}",
         "the {y} except its {x}", "the {y} except for the {x}", "{y} without {x}"),
        ("all of the {y} save its {x}", "the {y}, leaving out its {x}", "the {y} minus the {x}"),
    ),
}  # fmt: skip
"""Families of requests.  Absence and ambiguity take the phrasings of the others: only the scene is another one."""

NOUNS: dict[str, Phrasings] = {
    "arm": Phrasings(("arm", "robot arm", "manipulator", "robotic arm"), ("limb", "robot's arm")),
    "gripper": Phrasings(("gripper", "hand", "end effector", "claw", "robot hand"), ("jaws", "tool", "grasper")),
    "robot": Phrasings(("robot", "machine", "robot"), ("bot", "robotic system")),
}
"""Nouns of the parts."""
PLURALS = {"jaws": "jaws", "robot's arm": "robot's arms"}
"""Plurals that are not the noun and an s."""
RANKS = ("first", "second", "third", "fourth")
HELD_OUT_COMPOSITIONS = frozenset({("gripper", "left"), ("arm", "orange"), ("robot", "second"), ("arm", "smaller")})
"""Part and word that are both trained on, but never together."""


def plural(noun: str) -> str:
    """More than one of them."""
    return PLURALS.get(noun, f"{noun}s")
