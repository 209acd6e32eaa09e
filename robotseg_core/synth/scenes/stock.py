# SPDX-License-Identifier: Apache-2.0
"""Which things rooms are filled with, by name; a set of videos can leave kinds out, so that others show new ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from robotseg_core.synth.scenes import household, machines, small_things

SMALL: dict[str, small_things.Maker] = {
    "box": small_things.package,
    "can": small_things.can,
    "bottle": small_things.bottle,
    "ball": small_things.ball,
    "mug": small_things.mug,
    "books": small_things.books,
    "stick": small_things.stick,
    "bowl": household.bowl,
    "plate": household.plate,
    "cup": household.cup,
    "ring": household.ring,
    "brick": household.brick,
    "cube": household.cube,
    "cone": household.cone,
    "banana": household.banana,
    "spoon": household.spoon,
    "toy car": household.toy_car,
    "jug": household.jug,
    "nut": household.nut,
    "fruit": household.fruit,
    "torch": household.torch,
    "duck": household.duck,
    "plant": household.plant,
}
"""Small things that lie on tables and in grippers."""

MACHINES: dict[str, machines.Maker] = {
    "lamp": machines.lamp,
    "tripod": machines.tripod,
    "monitor": machines.monitor_arm,
    "vise": machines.vise,
    "microscope": machines.microscope,
    "drill press": machines.drill_press,
    "pipes": machines.pipes,
    "drill": machines.hand_drill,
    "tool": machines.hand_tool,
    "frame": machines.frame,
    "appliance": machines.appliance,
    "fan": machines.fan,
    "stand": machines.stand,
    "chair": machines.chair,
}
"""Metal and jointed things; chairs stand on the floor only."""

ON_FLOOR: tuple[str, ...] = ("chair", "tripod", "pipes", "drill press", "appliance", "fan", "stand")
ROBOT_LIKE: tuple[str, ...] = ("lamp", "stand", "monitor", "tripod", "drill press")
"""Machines with arms and joints, easily taken for a robot."""


@dataclass(frozen=True)
class Stock:
    """Names of the small things, of machines for tables and of machines for floors, each drawn equally often."""

    small: tuple[str, ...] = tuple(SMALL)
    tables: tuple[str, ...] = tuple(n for n in MACHINES if n != "chair")
    floors: tuple[str, ...] = ON_FLOOR

    def only(self, names: Iterable[str]) -> Stock:
        """These names alone."""
        return self._keep(_known(names), True)

    def without(self, names: Iterable[str]) -> Stock:
        """All but these names."""
        return self._keep(_known(names), False)

    def _keep(self, names: frozenset[str], inside: bool) -> Stock:
        small, tables, floors = (
            tuple(n for n in group if (n in names) == inside) for group in (self.small, self.tables, self.floors)
        )
        if not small:
            raise ValueError(f"no small thing is left; there are {', '.join(SMALL)}")
        return replace(self, small=small, tables=tables, floors=floors)


def _known(names: Iterable[str]) -> frozenset[str]:
    asked = frozenset(names)
    unknown = sorted(asked - set(SMALL) - set(MACHINES))
    if unknown:
        raise ValueError(f"unknown things {unknown}; there are {', '.join([*SMALL, *MACHINES])}")
    return asked
