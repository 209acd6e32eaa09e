# SPDX-License-Identifier: Apache-2.0
"""What one frame of a rendered video shows, as one may speak of it: robots, arms, grippers and things."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from robotseg_core.synth.instances.files import VideoIds

MIN_SHARE = 0.001
"""Of the frame's pixels from which on a thing counts as seen: 200 of 448 x 448."""
MIN_COLOUR = 0.6
"""Share of its pixels that must have a colour by which a thing may be called."""


@dataclass(frozen=True)
class Entity:
    """Something that can be asked for.

    Attributes:
        kind: "robot", "arm", "gripper" or "thing".
        number: of the robot, limb, gripper or instance.
        name: of a thing, e.g. "mug"; else empty.
        ids: its leaves.
        area: pixels that are seen.
        centre: mean (x, y) of them, 0 to 1 of the frame's width and height.
        colours: share of its pixels by colour.
        robot: number of its robot, or None.
        opening: of a gripper, 0 to 1, or None.
        holds: ids of what a gripper holds.
    """

    kind: str
    number: int
    name: str
    ids: tuple[int, ...]
    area: int
    centre: tuple[float, float]
    colours: tuple[tuple[str, float], ...]
    robot: int | None = None
    opening: float | None = None
    holds: tuple[int, ...] = ()

    @property
    def colour(self) -> str | None:
        """The colour by which it may be called, if it has one."""
        best = max(self.colours, key=lambda c: c[1], default=("", 0.0))
        return best[0] if best[1] >= MIN_COLOUR else None

    def share(self, colour: str) -> float:
        """How much of it has a colour, 0 to 1."""
        return dict(self.colours).get(colour, 0.0)


@dataclass(frozen=True)
class FrameScene:
    """All that is seen in a frame, each from left to right.

    Attributes:
        hidden: numbers of (kind, number) that are in the frame with fewer pixels than count as seen: requests about
            their kind would be ties.
    """

    robots: tuple[Entity, ...]
    arms: tuple[Entity, ...]
    grippers: tuple[Entity, ...]
    things: tuple[Entity, ...]
    hidden: frozenset[str]

    def of(self, kind: str) -> tuple[Entity, ...]:
        """Entities of a kind."""
        return {"robot": self.robots, "arm": self.arms, "gripper": self.grippers, "thing": self.things}[kind]


def frame_scene(video: VideoIds, index: int, ids: NDArray[np.uint16]) -> FrameScene:
    """Read one frame; ``ids`` [H, W] is its map."""
    height, width = ids.shape
    most = max(video.instances, default=0)
    areas = np.bincount(ids.ravel(), minlength=most + 1)
    ys, xs = np.arange(height, dtype=np.float64), np.arange(width, dtype=np.float64)
    sum_x = np.bincount(ids.ravel(), np.broadcast_to(xs, ids.shape).ravel(), minlength=most + 1)
    sum_y = np.bincount(ids.ravel(), np.broadcast_to(ys[:, None], ids.shape).ravel(), minlength=most + 1)
    openings = {g["gripper"]: g["opening"] for g in video.frames[index]["grippers"]}
    hidden: set[str] = set()

    def entity(
        kind: str,
        number: int,
        leaves: Iterable[int],
        *,
        name: str = "",
        robot: int | None = None,
        opening: float | None = None,
        holds: tuple[int, ...] = (),
    ) -> Entity | None:
        members = tuple(int(i) for i in leaves)
        area = int(sum(areas[i] for i in members))
        if area < MIN_SHARE * ids.size:
            if area:
                hidden.add(kind)
            return None
        shares: dict[str, float] = {}
        for i in members:
            leaf = video.instances[i]
            shares[leaf["colour"]] = shares.get(leaf["colour"], 0.0) + leaf["colour_share"] * int(areas[i]) / area
        centre = (
            float(sum(sum_x[i] for i in members)) / area / width,
            float(sum(sum_y[i] for i in members)) / area / height,
        )
        colours = tuple(sorted(shares.items()))
        return Entity(kind, number, name, members, area, centre, colours, robot, opening, holds)

    robots = [entity("robot", r["robot"], r["ids"], robot=r["robot"]) for r in video.robots]
    arms = []
    for r in video.robots:
        limbs = [limb for limb in video.limbs if limb["robot"] == r["robot"]]
        if len(limbs) > 1:
            arms += [entity("arm", limb["limb"], limb["ids"], robot=r["robot"]) for limb in limbs]
        else:
            arms.append(entity("arm", 1000 + r["robot"], r["arm_ids"], robot=r["robot"]))
    grippers = [
        entity(
            "gripper", g["gripper"], g["ids"], robot=g["robot"], opening=openings.get(g["gripper"]),
            holds=tuple(g["holds"]),
        )
        for g in video.grippers
    ]  # fmt: skip
    things = [
        entity("thing", number, [number], name=leaf["name"])
        for number, leaf in video.instances.items()
        if leaf["kind"] == "thing"
    ]

    def seen(found: list[Entity | None]) -> tuple[Entity, ...]:
        return tuple(sorted((e for e in found if e is not None), key=lambda e: e.centre))

    return FrameScene(seen(robots), seen(arms), seen(grippers), seen(things), frozenset(hidden))


def distance(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Pixels between two masks [H, W] that are not empty; 0 where they touch."""
    return float(cv2.distanceTransform((~a).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[b].min())
