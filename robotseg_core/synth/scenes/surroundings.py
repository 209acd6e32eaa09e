# SPDX-License-Identifier: Apache-2.0
"""What is built around robots: a whole room for a video, or some things beside the robot of a cut-out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import mujoco
import numpy as np
from numpy.typing import NDArray

from robotseg_core.synth.robots.catalog import RobotChoice, is_mobile
from robotseg_core.synth.robots.followers import Held, hold
from robotseg_core.synth.scenes.room import HIDDEN_Z, Room, RoomBuilder, Thing
from robotseg_core.synth.scenes.scene import Scene, update
from robotseg_core.synth.scenes.stock import ROBOT_LIKE, Stock
from robotseg_core.synth.scenes.views import Extent, measure

CABLES = 0.3
"""How often a robot carries loose cables."""


@dataclass(frozen=True)
class Contents:
    """What rooms are filled with.

    Attributes:
        stock: the kinds of things.
        held: how often a gripper holds a thing.
        twins: how often a thing has a twin, equal or of another colour.
        robot_like: how often a machine with joints stands beside robots.
        occluded: how often a thing is made that may pass before the camera.
    """

    stock: Stock = Stock()
    held: float = 0.3
    twins: float = 0.15
    robot_like: float = 0.2
    occluded: float = 0.3


GRIPPERS = 2
"""Most grippers that a robot has."""

NOTHING = Extent(
    np.array([0.0, 0.0, 0.2]),
    0.45,
    np.zeros(3),
    ((np.array([0.0, 0.0, 0.2]), np.array([0.05, 0.0, 0.2]), np.array([0.0, 1.0, 0.0])),),
)
"""Where to look when there is no robot."""


def room_around(
    root: Path,
    choices: Sequence[RobotChoice],
    photo: bool,
    contents: Contents,
    rng: np.random.Generator,
    out: list[Room],
) -> Callable[[mujoco.MjSpec], None]:
    """A function that builds a room around ``choices``; the room is appended to ``out``.

    Where one robot stands on the floor by itself, the others get stands; else all share a table or have pedestals.

    Args:
        root: the robots folder.
        photo: a photograph will be seen instead of floor and walls.
        contents: what there is in it.
    """
    walks = [is_mobile(root, c) for c in choices]
    mobile = any(walks)
    floor = 0.0 if mobile else -float(rng.uniform(0.55, 0.95))
    reach = (3.2 if mobile else 2.1) + 0.5 * max(0, len(choices) - 1)

    def build(spec: mujoco.MjSpec) -> None:
        builder = RoomBuilder(spec, rng, contents.stock)
        mirror = float(rng.uniform(0.05, 0.35)) if rng.random() < 0.15 else 0.0
        if not photo:
            builder.floor(floor, mirror=mirror)
            builder.walls(floor, (reach, reach + 2.0))
        table, stands = None, []
        if mobile:
            for i, walk in enumerate(walks):
                if not walk:
                    high = float(rng.uniform(0.45, 0.9))
                    stands.append((i, builder.pedestal(-high), high))
            if rng.random() < 0.6:
                angle = rng.uniform(0, 2 * np.pi)
                table = builder.table(1.3 * np.cos(angle), 1.3 * np.sin(angle), float(rng.uniform(0.6, 0.85)), floor)
        elif not choices or rng.random() < (0.5 if photo else 0.7):
            grow = 0.1 + 0.35 * max(0, len(choices) - 1)
            table = builder.table(
                float(rng.uniform(0, 0.35)), float(rng.uniform(-0.2, 0.2)), 0.0, floor, grow, mirror=mirror
            )
        elif not photo or rng.random() < 0.7:
            stands = [(i, builder.pedestal(floor), 0.0) for i in range(len(choices))]
        things: list[Thing] = []
        if table is not None:
            for _ in range(int(rng.integers(2, 10))):
                things += _with_twin(builder, builder.thing, contents.twins)
        if not photo:
            things += [builder.thing(floor=True) for _ in range(int(rng.integers(0, 5)))]
        if choices and rng.random() < contents.robot_like:
            on_floor = table is None
            names = [n for n in (contents.stock.floors if on_floor else contents.stock.tables) if n in ROBOT_LIKE]
            if names and not (on_floor and photo):
                things.append(builder.machine(str(rng.choice(names)), floor=on_floor))
        blocker = builder.occluder() if rng.random() < contents.occluded else None
        held: list[Thing | None] = []
        for _ in range(GRIPPERS * len(choices)):
            if rng.random() < contents.held:
                pair = _with_twin(builder, builder.small, 0.4 if table is not None else 0.0)
                held.append(pair[-1])
                things += pair[:-1]
            else:
                held.append(None)
        room = Room(floor, table, tuple(things), reach - 0.2, blocker, tuple(held))
        out.append(replace(room, fixtures=tuple(builder.fixtures), stands=tuple(stands)))

    return build


def _with_twin(builder: RoomBuilder, make: Callable[[], Thing], share: float) -> list[Thing]:
    if builder.rng.random() >= share:
        return [make()]
    return list(builder.twins(make, recolour=bool(builder.rng.random() < 0.4)))


def things_beside(rng: np.random.Generator, alone: bool, out: list[Room]) -> Callable[[mujoco.MjSpec], None]:
    """A function that builds a few things for a cut-out; ``alone``: there is no robot.  The room goes to ``out``."""

    def build(spec: mujoco.MjSpec) -> None:
        builder = RoomBuilder(spec, rng)
        count = int(rng.integers(1, 5)) if alone or rng.random() < 0.35 else 0
        things = []
        for _ in range(count):
            draw = rng.random()
            things.append(builder.occluder() if draw < 0.3 else builder.thing(floor=draw < 0.4))
        held = builder.small() if not alone and rng.random() < Contents.held else None
        out.append(Room(0.0, None, tuple(things), held=(held,)))

    return build


def place_beside(scene: Scene, things: Sequence[Thing], extent: Extent, rng: np.random.Generator) -> None:
    """Put things on the ground around the robot, floating ones near its gripper; each stays away half the time."""
    for thing in things:
        body = scene.model.body(thing.body).id
        if scene.robots and rng.random() < 0.5:
            scene.model.body_pos[body] = (0, 0, HIDDEN_Z)
            continue
        turn, away = rng.uniform(0, 2 * np.pi), extent.radius * rng.uniform(0.3, 1.3) + 0.5 * thing.radius
        pos = extent.base + away * np.array([np.cos(turn), np.sin(turn), 0.0])
        quat = np.array([np.cos(turn / 2), 0, 0, np.sin(turn / 2)])
        if "occluder" in thing.body:
            hand = np.mean([(a + b) / 2 for a, b, _ in extent.grips], axis=0)
            pos, quat = hand + rng.normal(0, 0.25, 3) * extent.radius, rng.normal(size=4)
        scene.model.body_pos[body] = pos
        scene.model.body_quat[body] = quat / np.linalg.norm(quat)
    update(scene)


def hold_things(scene: Scene, held: Sequence[Thing | None], rng: np.random.Generator) -> Scene:
    """The scene with things between the fingers of its grippers, GRIPPERS of them for each robot."""
    followers = list(scene.followers)
    for number, robot in enumerate(scene.robots):
        mine = held[GRIPPERS * number : GRIPPERS * (number + 1)][: len(robot.gripper_roots)]
        if not any(thing is not None for thing in mine):
            continue
        scene.data.qpos[robot.qadr] = robot.home
        scene.data.qpos[robot.grip_qadr] = (robot.grip_open + robot.grip_closed) / 2
        update(scene)
        grips = measure(scene, robot).grips
        for which, thing in enumerate(mine):
            if thing is not None:
                root, tip, _ = grips[which]
                at = root + (tip - root) * rng.uniform(0.8, 1.1)
                followers.append(hold(scene.model, scene.data, thing.body, robot.gripper_roots[which], at, rng))
    return replace(scene, followers=tuple(followers))


def close_on_held(scene: Scene, path: NDArray[np.float64]) -> NDArray[np.float64]:
    """Joint positions [frames, nq] with the fingers of grippers that hold a thing as they were when it was put in."""
    path = path.copy()
    holding = {f.body for f in scene.followers if isinstance(f, Held)}
    for robot in scene.robots:
        for which, root in enumerate(robot.gripper_roots):
            if root in holding:
                own = robot.grip_group == which
                path[:, robot.grip_qadr[own]] = ((robot.grip_open + robot.grip_closed) / 2)[own]
    return path


def stand_robots(scene: Scene, room: Room) -> None:
    """Put stands under the robots that need them, once the robots have their places."""
    for number, thing, high in room.stands:
        mount, stand = scene.robots[number].mount, scene.model.body(thing.body).id
        scene.model.body_pos[mount][2] = high
        scene.model.body_pos[stand] = scene.model.body_pos[mount]
        scene.model.body_quat[stand] = scene.model.body_quat[mount]
