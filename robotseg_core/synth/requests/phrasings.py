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
         "follow the {x}", "where is the {x}",
         "i am looking for the {x}", "can you see the {x}", "give me the {x}", "only the {x}", "a mask for the {x}",
         "track the {x} for me", "look at the {x}", "just the {x}, nothing else", "that {x}",
         "highlight the {x} in this frame"),
        ("could you outline the {x}", "i need the mask of the {x}", "all pixels of the {x}"),
    ),
    "whole": Phrasings(
        ("the {x}", "{x}", "segment the {x}", "the whole {x}", "show me the {x}", "find the {x}", "the entire {x}",
         "mark the complete {x}", "follow the {x}",
         "i am looking for the {x}", "can you see the {x}", "give me the full {x}", "only the {x}",
         "a mask for the {x}", "track the {x} for me", "the {x} from base to tip", "the {x} with all its parts",
         "that {x}", "highlight the {x} in this frame"),
        ("please outline the whole {x}", "i want the {x}, all of it", "every pixel of the {x}"),
    ),
    "side": Phrasings(
        ("the {side} {x}", "{side} {x}", "the {x} on the {side}", "the {x} to the {side}", "segment the {side} {x}",
         "the {x} on the {side} side", "the {side}most {x}", "the {x} at the {side} of the image",
         "follow the {side} {x}", "show me the {x} on the {side}",
         "where is the {side} {x}", "the {x} at the {side} edge",
         "which {x} is on the {side}", "look for the {side} {x}", "give me the {x} at the {side}",
         "the one on the {side}, the {x}", "track the {x} that you see on the {side}",
         "there is a {x} on the {side}, mark it", "on the {side} there is a {x}", "the {side} hand {x}"),
        ("the {x} in the {side} half of the picture", "the {x} that stands {side}", "of the {xs}, the {side} one",
         "i mean the {x} further {side}"),
    ),
    "attribute": Phrasings(
        ("the {colour} {x}", "{colour} {x}", "segment the {colour} {x}", "the {x} that is {colour}",
         "find the {colour} {x}",
         "the {x} painted {colour}", "follow the {colour} {x}", "the {x} in {colour}", "mark the {colour} colored {x}",
         "where is the {colour} {x}", "the {x} with the {colour} paint", "look for a {colour} {x}",
         "which {x} is {colour}", "a {x} that looks {colour}", "give me the {x} in {colour}",
         "the {x} with {colour} parts", "{x}, the {colour} one", "only the {colour} {x}",
         "there is a {colour} {x}, track it"),
        ("the {x} whose colour is {colour}", "please get me the {colour} {x}", "the {colour} one of the {xs}"),
    ),
    "relation": Phrasings(
        ("the {x} nearest to the {thing}", "the {x} next to the {thing}", "the {x} closest to the {thing}",
         "the {x} by the {thing}", "segment the {x} near the {thing}", "the {x} beside the {thing}",
         "find the {x} nearest the {thing}",
         "where is the {x} near the {thing}", "the {x} right next to the {thing}", "the {x} close to the {thing}",
         "look for the {x} that is closest to the {thing}", "whichever {x} is nearest the {thing}",
         "the {x} that is near the {thing}", "the {x} in the neighbourhood of the {thing}",
         "near the {thing}, the {x}", "give me the {x} that is next to the {thing}",
         "track the {x} beside the {thing}"),
        ("which {x} is closest to the {thing}", "the {x} at the {thing}",
         "the {x} with the smallest distance to the {thing}"),
    ),
    "state": Phrasings(
        ("the {x} {state}", "segment the {x} {state}", "find the {x} {state}", "the {x} that is {state}",
         "follow the {x} {state}", "show me the {x} {state}", "{x} {state}",
         "where is the {x} {state}", "look for the {x} {state}", "which {x} is {state}", "the {x}, {state}",
         "give me the {x} that is {state}", "only the {x} {state}", "a {x} that is {state}",
         "track the {x} that is {state}", "the one {state}, the {x}"),
        ("the {x} which is now {state}", "please mark whichever {x} is {state}", "i need the {x} {state}"),
    ),
    "order": Phrasings(
        ("the {rank} {x} from the {side}", "{rank} {x} from the {side}", "segment the {rank} {x} from the {side}",
         "the {rank} {x} counted from the {side}", "find the {rank} {x} from the {side}",
         "follow the {rank} {x} from the {side}", "the {x} that is {rank} from the {side}",
         "where is the {rank} {x} from the {side}", "from the {side}, the {rank} {x}",
         "the {x} in {rank} place from the {side}", "count from the {side} and take the {rank} {x}",
         "number the {xs} from the {side}, i want the {rank}", "look for the {rank} {x} seen from the {side}",
         "the {rank} of the {xs} from the {side}", "give me {x} number {rank} from the {side}",
         "going from the {side}, take the {rank} {x}"),
        ("counting from the {side}, the {rank} {x}", "of the {xs} from the {side}, the {rank}",
         "starting {side}, the {rank} {x}"),
    ),
    "number": Phrasings(
        ("both {xs}", "the two {xs}", "segment both {xs}", "both of the {xs}", "follow both {xs}", "find the two {xs}",
         "mark both {xs}", "show me both {xs}",
         "where are the two {xs}", "the two of the {xs}", "look for both {xs}", "give me the two {xs}",
         "track both of the {xs}", "{xs}, both of them", "two {xs}", "each of the two {xs}", "both {xs} together",
         "i am looking for both {xs}", "a mask for both {xs}"),
        ("the pair of {xs}", "i want the two {xs} together", "one and the other {x}"),
    ),
    "size": Phrasings(
        ("the {size} {x}", "segment the {size} {x}", "find the {size} {x}", "the {x} that looks {size}",
         "follow the {size} {x}", "{size} {x}", "mark the {size} of the {xs}",
         "where is the {size} {x}", "which {x} is the {size} one", "the {x} of {size} size",
         "look for the {size} {x}", "give me the {x} that is {size}", "{x}, the {size} one", "only the {size} {x}",
         "track the {size} of the two {xs}", "the {x} that takes the {size} space in the image"),
        ("the {size} one of the {xs}", "of the {xs} the {size} one", "the {x}, i mean the {size} one"),
    ),
    "composition": Phrasings(
        ("the {x} of the {side} {y}", "the {side} {y}'s {x}", "segment the {x} of the {side} {y}",
         "the {x} on the {side} {y}", "the {x} belonging to the {side} {y}", "{x} of the {side} {y}",
         "follow the {x} of the {side} {y}",
         "where is the {x} of the {side} {y}", "the {x} at the end of the {side} {y}",
         "the {x} that belongs to the {side} {y}", "look for the {side} {y} and take its {x}",
         "the {x} attached to the {side} {y}", "the {side} {y}, its {x}", "give me the {x} of the {y} on the {side}",
         "track the {x} that is part of the {side} {y}", "the {x} of the {y} at the {side}"),
        ("the {x} that the {side} {y} carries", "on the {side} {y}, the {x}", "the {x} mounted on the {side} {y}"),
    ),
    "exclusion": Phrasings(
        ("everything but the {x}", "everything except the {x}", "all but the {x}", "all pixels except the {x}",
         "everything apart from the {x}", "segment everything but the {x}", "the image without the {x}",
         "everything that is not the {x}",
         "everything other than the {x}", "all that is not the {x}",
         "the whole scene without the {x}", "everything around the {x}", "all pixels but those of the {x}",
         "the background behind the {x}", "anything except the {x}", "the picture with the {x} taken out",
         "not the {x} but all the rest", "mark all except the {x}"),
        ("whatever is not the {x}", "leave out the {x} and mark the rest", "the scene minus the {x}"),
    ),
    "without": Phrasings(
        ("the {y} without its {x}", "the {y} but not its {x}", "the {y} without the {x}",
         "segment the {y} without its {x}",
         "the {y} except its {x}", "the {y} except for the {x}", "{y} without {x}",
         "the {y} with no {x}", "only the {y}, not the {x}", "the {y}, but leave the {x} off",
         "the {y} excluding the {x}", "mark the {y} but skip its {x}", "the {y} apart from its {x}",
         "where is the {y} without the {x}", "the {y} up to the {x}", "take the {y} and drop the {x}",
         "{y} excluding {x}"),
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
