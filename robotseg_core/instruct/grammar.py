# SPDX-License-Identifier: Apache-2.0
"""Answers of Seg-R1 in tags: reading them, their format reward, and the prompts that they say (SEGR1 1.2, 1.3, 2).

Nothing in an answer is evaluated: patterns first, then a JSON parser.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from robotseg_core.instruct.prompt_set import MAX_INSTANCES, MAX_POINTS, Answer, Instance, PromptSet

MAX_ANSWER = 1 << 16
"""Characters of an answer that are looked at; 1024 tokens are some 4,000."""
_COMMA = r"\s*(?:,\s*)?"
_INTS = r"\[\s*\d+(?:\s*,\s*\d+)*" + _COMMA + r"\]"
_BOX = re.compile(r"<bbox>\s*(\[\s*\d+\s*,\s*\d+\s*,\s*\d+\s*,\s*\d+" + _COMMA + r"\])\s*</bbox>")
_PAIR = r"\[\s*\d+\s*,\s*\d+" + _COMMA + r"\]"
# The comma between pairs is optional here and missed by the JSON parser: that is the released parser's exception.
_POINTS = re.compile(r"<points>\s*(\[\s*(?:" + _PAIR + _COMMA + r")+\])\s*</points>")
_LABELS = re.compile(r"<labels>\s*(" + _INTS + r")\s*</labels>")
_THINK = re.compile(r"<think>.*?</think>", re.DOTALL)
_TRAILING = re.compile(r",\s*\]")


@dataclass(frozen=True)
class Parsed:
    """What an answer holds; None: the part is absent or does not match.

    Attributes:
        boxes: (x1, y1, x2, y2) each, pixels of the square image that the model saw, as written.
        points: (x, y) each.
        labels: one for each point; after a mismatch of lengths both are None.
        thinks: whether there is a closed pair of thinking tags.
    """

    boxes: tuple[tuple[int, ...], ...] | None
    points: tuple[tuple[int, ...], ...] | None
    labels: tuple[int, ...] | None
    thinks: bool

    @property
    def format_reward(self) -> float:
        """1 where box, points, as many labels and a closed think pair are there (stage RL), else 0."""
        return float(self.boxes is not None and self.thinks and self.points_format_reward == 1)

    @property
    def points_format_reward(self) -> float:
        """1 where points and as many labels are there (stage pre-RL), else 0."""
        return float(self.points is not None and self.labels is not None)

    @property
    def scored(self) -> bool:
        """Whether RL training makes a mask of it: box, points and labels are all there."""
        return self.boxes is not None and self.points is not None and self.labels is not None

    @property
    def usable(self) -> bool:
        """Whether evaluation makes a mask of it: a box, or points with labels."""
        return self.boxes is not None or (self.points is not None and self.labels is not None)

    def kept(self) -> tuple[tuple[int, ...], ...]:
        """For each box the numbers of the points that lie in it, borders included; others are never used."""
        points = self.points if self.labels is not None and self.points is not None else ()
        return tuple(
            tuple(i for i, (x, y) in enumerate(points) if x1 <= x <= x2 and y1 <= y <= y2)
            for x1, y1, x2, y2 in self.boxes or ()
        )


def parse(text: str) -> Parsed:
    """Read an answer; never raises."""
    text = text[:MAX_ANSWER]
    thinks = _THINK.search(text) is not None
    try:
        boxes = tuple(tuple(_numbers(match)) for match in _BOX.findall(text)) or None
        found = _POINTS.search(text)
        points = tuple(tuple(pair) for pair in _numbers(found[1])) if found else None
        found = _LABELS.search(text)
        labels = tuple(_numbers(found[1])) if found else None
    except ValueError:
        return Parsed(None, None, None, thinks)
    if points is not None and labels is not None and len(points) != len(labels):
        points = labels = None
    return Parsed(boxes, points, labels, thinks)


def _numbers(text: str) -> list:
    """A list as JSON has it, but for a trailing comma.

    Raises:
        ValueError: it is none.
    """
    return list(json.loads(_TRAILING.sub("]", text)))


def to_prompts(text: str, size: tuple[int, int], seen: tuple[float, float], *, part: str = "robot") -> PromptSet:
    """The prompts that an answer says, in pixels of the frame.

    One instance a box, with the points that lie in it; without boxes one of all points.  Corners are put in order and
    clipped to the frame, labels other than 0 and 1 left out with their points (inside SAM 2 they would be corners of
    a box).  Boxes beyond the fourth, and points beyond the 32nd of a box, are left out.

    Args:
        text: as the model wrote it.
        size: (width, height) of the frame.
        seen: (width, height) in whose pixels the model writes.
        part: category under which the target is followed.

    Returns:
        FOUND, or NOT_UNDERSTOOD where nothing usable is written: Seg-R1 has no word for "nothing there".
    """
    parsed = parse(text)
    sx, sy = size[0] / seen[0], size[1] / seen[1]
    points = [(x * sx, y * sy) for x, y in parsed.points or ()]
    labels = list(parsed.labels or ()) if parsed.points is not None else []
    if not labels:
        points = []
    instances = []
    if parsed.boxes is None:
        good = [i for i, label in enumerate(labels) if label in (0, 1)][:MAX_POINTS]
        if any(labels[i] == 1 for i in good):
            instances.append(Instance(None, tuple(points[i] for i in good), tuple(labels[i] for i in good)))
    for box, inside in zip(parsed.boxes or (), parsed.kept(), strict=True):
        x0, x1 = (min(max(v * sx, 0.0), size[0] - 1.0) for v in sorted(box[0::2]))
        y0, y1 = (min(max(v * sy, 0.0), size[1] - 1.0) for v in sorted(box[1::2]))
        if x0 < x1 and y0 < y1 and len(instances) < MAX_INSTANCES:
            good = [i for i in inside if labels[i] in (0, 1)][:MAX_POINTS]
            corners = (x0, y0, x1, y1)
            instances.append(Instance(corners, tuple(points[i] for i in good), tuple(labels[i] for i in good)))
    if not instances:
        return PromptSet(Answer.NOT_UNDERSTOOD, part=part, raw=text[:MAX_ANSWER])
    return PromptSet(Answer.FOUND, tuple(instances), part=part, raw=text[:MAX_ANSWER])
