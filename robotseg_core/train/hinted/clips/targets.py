# SPDX-License-Identifier: Apache-2.0
"""What the rows of a clip are asked for, and what a negative click may be on: products of layers, labels and ids."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robotseg_core.train.hinted.packs.catalogue import ROBOT, Catalogue, CutOut
from robotseg_core.train.hinted.packs.files import IDS, Group
from robotseg_core.train.hinted.settings import Shares

CATEGORIES: tuple[tuple[bool, bool, bool], ...] = ((False, True, False), (False, False, True), (False, True, True))
"""Labels (0 none, 1 arm, 2 gripper) that belong to arm, gripper and robot."""
ROLE_WEIGHTS = {"object": 1.0, "link": 0.1, "arm": 0.3, "gripper": 1.0, "robot": 1.0, "region": 1.0}
"""How often which of a scene's things is hinted at."""


@dataclass(frozen=True)
class Target:
    """What a row shows, as factors: layers, labels, ids (None: all)."""

    owners: tuple[int, ...] | None
    labels: tuple[bool, bool, bool] = (True, True, True)
    ids: tuple[int, ...] | None = None
    category: int | None = None
    needs_labels: bool = False


class Asker:
    """Draws what the rows of a clip show; ``pasted`` are the cut-outs of its layers, None where there is none."""

    def __init__(self, catalogue: Catalogue, shares: Shares) -> None:
        self.catalogue, self.shares = catalogue, shares

    @staticmethod
    def automatic(category: int) -> Target:
        """All of a category in view."""
        return Target(None, CATEGORIES[category], None, category, needs_labels=True)

    @staticmethod
    def anything(rng: np.random.Generator, pasted: list[CutOut | None]) -> Target:
        """Anything pasted; else the background."""
        there = [k for k, cut in enumerate(pasted) if cut is not None and cut.ids]
        return Target((int(rng.choice(there)),)) if there else Target((0,), (True, False, False), (0,))

    def hinted(
        self, hint: str, video: int, frame: int, pasted: list[CutOut | None], rng: np.random.Generator
    ) -> tuple[Target, Target]:
        """What is hinted at, and what a negative click is on."""
        catalogue = self.catalogue
        one = catalogue.videos[video]
        parts = one.parts[frame - one.first]
        layers = [k for k, cut in enumerate(pasted) if cut is not None]
        things = [k for k in layers if pasted[k].ids]  # type: ignore[union-attr]
        robots = [k for k in layers if k not in things]
        groups = catalogue.groups_in(video, frame)
        base_robot = ROBOT in parts and parts[ROBOT][0] > 0.003

        if hint == "negative":
            return self._negative(robots, things, groups, base_robot=base_robot, rng=rng)

        often = self.shares.parts
        choices: list[tuple[float, Target]] = [(1.0, Target((k,))) for k in things]
        for k in robots:
            choices.append((0.7 * often, Target((k,), CATEGORIES[2], None, self._own(2, rng))))
            choices.append((0.5 * often, Target((k,), CATEGORIES[1], None, self._own(1, rng))))
            choices.append((0.2 * often, Target((k,), CATEGORIES[0], None, self._own(0, rng))))
        if base_robot:
            for c, value, weight in ((0, 1, 0.2), (1, 2, 0.8), (2, ROBOT, 0.5)):
                if value in parts and parts[value][0] > 0.0015:
                    target = Target((0,), CATEGORIES[c], None, self._own(c, rng), needs_labels=True)
                    choices.append((weight * often, target))
        if groups:
            # Links are many and alike.
            p = np.array([ROLE_WEIGHTS[group.role] for group in groups])
            for g in rng.choice(len(groups), min(3, len(groups)), replace=False, p=p / p.sum()):
                choices.append((0.7, self._group(groups[int(g)], rng)))
        if not choices:
            # Nothing to hint at: the robot that is not there.
            return self.automatic(2), self.anything(rng, pasted)
        weights = np.array([w for w, _ in choices])
        i = int(rng.choice(len(choices), p=weights / weights.sum()))
        others = [t for j, (_, t) in enumerate(choices) if j != i and t.owners != choices[i][1].owners]
        avoid = others[int(rng.integers(len(others)))] if others and rng.random() < 0.8 else self.anything(rng, pasted)
        return choices[i][1], avoid

    def _own(self, category: int, rng: np.random.Generator) -> int | None:
        return category if rng.random() < self.shares.own_token else None

    def _group(self, group: Group, rng: np.random.Generator) -> Target:
        own = {"arm": 0, "gripper": 1, "robot": 2}.get(group.role)
        return Target((0,), (True, True, True), group.ids, None if own is None else self._own(own, rng))

    def _negative(
        self, robots: list[int], things: list[int], groups: list[Group], *, base_robot: bool, rng: np.random.Generator
    ) -> tuple[Target, Target]:
        """A category without what was clicked: one robot less, or none where a thing was clicked that is no robot."""
        category = int(rng.choice([0, 1, 2], p=[0.2, 0.4, 0.4]))
        whole = CATEGORIES[category]
        clickable = [*robots, *([0] if base_robot else [])]
        if clickable and (rng.random() < 0.6 or not (things or groups)):
            off = int(rng.choice(clickable))
            stays = tuple(k for k in range(1 + len(self.shares.layers)) if k != off)
            return Target(stays, whole, None, category, needs_labels=True), Target((off,), whole)
        everything = Target(None, whole, None, category, needs_labels=True)
        if things and (rng.random() < 0.5 or not groups):
            return everything, Target((int(rng.choice(things)),), (True, False, False))
        if groups:
            return everything, Target((0,), (True, False, False), groups[int(rng.integers(len(groups)))].ids)
        return everything, Target((0,), (True, False, False))


def tables(prefix: str, targets: list[Target], layers: int) -> dict[str, NDArray[np.generic]]:
    """The factors of R targets: ``prefix_owner`` [R, layers], ``prefix_part`` [R, 3], ``prefix_id`` [R, 256]."""
    owner, ids = np.zeros((len(targets), layers), bool), np.zeros((len(targets), IDS), bool)
    for r, target in enumerate(targets):
        owner[r, slice(None) if target.owners is None else list(target.owners)] = True
        ids[r, slice(None) if target.ids is None else list(target.ids)] = True
    labels = np.array([target.labels for target in targets])
    return {f"{prefix}_owner": owner, f"{prefix}_part": labels, f"{prefix}_id": ids}
