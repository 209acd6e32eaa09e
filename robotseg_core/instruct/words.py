# SPDX-License-Identifier: Apache-2.0
"""Words of a request to a query: which part, which of them, what is left out.  Unknown words are said to be unknown.

Sides are the viewer's: the left arm is the one further left in the picture.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from robotseg_core.instruct.candidates import COLOURS


class UnknownWords(ValueError):
    """A request that says something the rules do not know; the message names it."""


@dataclass(frozen=True)
class Query:
    """What is asked for.

    Attributes:
        part: "arm", "gripper" or "robot".
        plural: several may be meant.
        count: exactly so many, as in "both arms"; None: not said.
        side: "left", "right", "top", "bottom" or "middle"; None: not said.
        rank: with ``side`` the how-manieth from there, 1 is the outermost.
        size: "large" or "small": the largest or the smallest.
        colour: of :data:`~robotseg_core.instruct.candidates.COLOURS`.
        of: whose it is, as in "the gripper of the left arm".
        without: a part of it that is left out.
        invert: everything else is asked for.
    """

    part: str
    plural: bool = False
    count: int | None = None
    side: str | None = None
    rank: int = 1
    size: str | None = None
    colour: str | None = None
    of: Query | None = None
    without: str | None = None
    invert: bool = False

    @property
    def plain(self) -> bool:
        """Whether a part as such is asked for, as in "everything but the robot": the stream marks it anyway."""
        return not (self.side or self.size or self.colour or self.of) and self.count is None


_PARTS = {
    "gripper": "gripper grippers hand hands claw claws finger fingers effector effectors endeffector endeffectors tool "
    "tools jaw jaws grasper pincer pincers",
    "arm": "arm arms manipulator manipulators limb limbs",
    "robot": "robot robots bot bots machine machines system systems",
}
PART_OF = {word: part for part, words in _PARTS.items() for word in words.split()}
"""Word to part."""
_PLURALS = {word for word in PART_OF if word.endswith("s")} - {"fingers", "jaws", "pincers"}
_ALIASES = {"gray": "grey", "violet": "purple", "silver": "grey", "beige": "white", "center": "middle"}
_SIDES = {
    "left": "left leftmost lefthand",
    "right": "right rightmost righthand",
    "top": "top upper topmost highest uppermost higher",
    "bottom": "bottom lower lowest bottommost lowermost",
    "middle": "middle centre central",
}
_SIDE_OF = {word: side for side, words in _SIDES.items() for word in words.split()}
_SIZES = {
    "large": "large larger largest big bigger biggest",
    "small": "small smaller smallest little littlest tiny",
}
_SIZE_OF = {word: size for size, words in _SIZES.items() for word in words.split()}
_NUMBERS = {"both": 2, "two": 2, "2": 2, "pair": 2, "three": 3, "3": 3, "four": 4, "4": 4}
_RANKS = {"first": 1, "second": 2, "third": 3, "fourth": 4, "1st": 1, "2nd": 2, "3rd": 3, "4th": 4}
MEANINGS = {
    **{word: f"{part}s" if word in _PLURALS else part for word, part in PART_OF.items()},
    **{word: {"large": "larger", "small": "smaller"}[size] for word, size in _SIZE_OF.items()},
    **_SIDE_OF,
    **_ALIASES,
    "pair": "two",
}
"""Word to a word for the same that is known wherever requests are read."""
_ALL = {"all", "every", "each", "any"}
# Words that change nothing.
_IDLE = set(
    "a an the this that these those please could can would you i we me us my want need to like give show mark segment "
    "find track follow highlight select pick get see locate detect outline mask masks pixel pixels of where which is "
    "are be one ones there here in on at from by it its image picture frame view photo scene camera side hand part "
    "half edge end just only now robotic robot's with colored coloured colour color whole entire complete full "
    "painted standing located visible shown seen look looking for and am was take do does there's that's identify "
    "display search trace extract return label wants looks parts paint place counted them".split()
)
_LEAD = set(
    "please could can would you i we want need to show me us mark segment find track follow highlight select pick give "
    "get see locate detect outline out just only now masks mask pixels of where is every pixel".split()
)
_PICTURE = r"(?:image|picture|frame|view|photo|scene)"
_EVERYTHING = re.compile(
    rf"^(?:everything|all|anything|every pixel|all pixels|the rest|(?:the )?(?:whole )?{_PICTURE}|what is)"
    r"(?: of)?(?: the)?(?: else| things?| pixels?| image| picture| scene| visible)?"
    r" (?:but|except|except for|besides|apart from|other than|outside|around|without|that is not|which is not|not"
    r"|minus) "
)
_REST = re.compile(
    rf"^(?:not (?P<not>.+) but all the rest|(?:the )?(?:whole )?{_PICTURE} with (?P<out>.+) taken out) $"
)
_BACKGROUND = re.compile(
    r"^(?:(?:the )?background|what is not|all that is not|everything else than)\b ?(?:of|behind)? ?"
)
_WITHOUT = re.compile(
    r" (?:without|with no|apart from|except|except for|but not|but without|excluding|minus|leaving out|not) "
)
_OF = re.compile(r" (?:of|on|belonging to|attached to|at the end of|at the tip of|mounted on|carried by) ")
_OF_PICTURE = re.compile(rf"\b(?:side |half |part |edge )?(?:of|in) (?:the |this )?{_PICTURE}\b")
_OWN = {"own", "his", "her", "their"}


def query_of(text: str) -> Query:
    """Read a request.

    Raises:
        UnknownWords: it holds a word or a form that the rules do not know, or no part is named.
    """
    words = " ".join(re.findall(r"[a-z0-9]+(?:'s)?", text.lower().replace("-", " ").replace("’", "'")))
    words = " ".join(_ALIASES.get(word, word) for word in words.split())
    words = re.sub(r"\b(left|right) hand (?=side|arm|gripper|robot|one|manipulator)", r"\1 ", words)
    words = _lead(re.sub(r" (?:and )?nothing else$", "", words))
    if found := _REST.match(words + " "):
        return replace(_noun(found["not"] or found["out"]), invert=True)
    for pattern in (_EVERYTHING, _BACKGROUND):
        if found := pattern.match(words + " "):
            rest = words[found.end() :].strip()
            return replace(_noun(rest) if rest else Query("robot"), invert=True)
    return _noun(words)


def _lead(words: str) -> str:
    """Without the words before what is asked for: "please segment", "show me"."""
    kept = words.split()
    while len(kept) > 1 and kept[0] in _LEAD:
        kept.pop(0)
    return " ".join(kept)


def _noun(words: str) -> Query:
    """A noun phrase, with what it belongs to and what is left out of it."""
    if found := _WITHOUT.search(words):
        left_out = _noun(words[found.end() :].replace("its ", ""))
        whole = _noun(words[: found.start()])
        if whole.part != "robot" or left_out.part == "robot" or left_out.of or left_out.side:
            raise UnknownWords(f"{words!r} leaves out something that is no part of a robot")
        return replace(whole, without=left_out.part)
    words = _OF_PICTURE.sub(" ", words)
    if found := re.search(r"\b(\w+)'s ", words):
        owner, own = words[: found.end() - 3], words[found.end() :]
        if found[1] in PART_OF:
            return _belongs(own, owner)
    if found := _OF.search(words):
        own, owner = words[: found.start()], words[found.end() :]
        if any(w in PART_OF for w in own.split()) and any(w in PART_OF for w in owner.split()):
            return _belongs(own, owner)
    return _plain(words)


def _belongs(own: str, owner: str) -> Query:
    whose = _noun(owner)
    query = _noun(own)
    if whose.part == "gripper" or query.part == "robot":
        raise UnknownWords(f"a {query.part} of a {whose.part} is not known")
    return replace(query, of=whose)


def _plain(words: str) -> Query:
    tokens = words.split()
    parts = [PART_OF[t] for t in tokens if t in PART_OF]
    if not parts:
        raise UnknownWords(f"{words!r} names no robot, arm or gripper")
    # "robot arm", "the arm robot's gripper": the last one is the noun.
    query = Query(parts[-1])
    for i, token in enumerate(tokens):
        if token in PART_OF:
            query = replace(query, plural=query.plural or (token in _PLURALS and PART_OF[token] == query.part))
        elif token in _OWN:
            raise UnknownWords("sides are the viewer's; a robot's own left is not known")
        elif token in _NUMBERS:
            query = replace(query, count=_NUMBERS[token], plural=True)
        elif token in _RANKS:
            query = replace(query, rank=_RANKS[token])
        elif token in _ALL:
            query = replace(query, plural=True)
        elif token in _SIDE_OF:
            side = _SIDE_OF[token]
            if query.side not in (None, side):
                raise UnknownWords(f"{words!r} names two sides, {query.side} and {side}")
            query = replace(query, side=side)
        elif token in _SIZE_OF:
            query = replace(query, size=_SIZE_OF[token])
        elif token in COLOURS:
            query = replace(query, colour=token)
        elif token not in _IDLE and not (token == "far" and i + 1 < len(tokens) and tokens[i + 1] in _SIDE_OF):
            raise UnknownWords(f"the word {token!r} is not known")
    if query.rank > 1 and query.side is None:
        query = replace(query, side="left")
    return query
