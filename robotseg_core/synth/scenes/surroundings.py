# SPDX-License-Identifier: Apache-2.0
"""What is built around robots: a whole room for a video, or some things beside the robot of a cut-out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import mujoco
import numpy as np

from robotseg_core.synth.robots.catalog import RobotChoice, is_mobile
from robotseg_core.synth.robots.followers import hold
from robotseg_core.synth.scenes.room import HIDDEN_Z, Room, RoomBuilder, Thing
from robotseg_core.synth.scenes.scene import Scene, update
from robotseg_core.synth.scenes.views import Extent, measure

CABLES = 0.3
"""How often a robot carries loose cables."""
HELD = 0.3
"""How often a gripper holds a thing."""

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
    occluded: float,
    rng: np.random.Generator,
    out: list[Room],
) -> Callable[[mujoco.MjSpec], None]:
    """A function that builds a room around ``choices``; the room is appended to ``out``.

    Args:
        root: the robots folder.
        photo: a photograph will be seen instead of floor and walls.
        occluded: how often a thing is made that may pass before the camera.
    """
    mobile = any(is_mobile(root, c) for c in choices)
    floor = 0.0 if mobile else -float(rng.uniform(0.55, 0.95))
    reach = 3.2 if mobile else 2.1

    def build(spec: mujoco.MjSpec) -> None:
        builder = RoomBuilder(spec, rng)
        mirror = float(rng.uniform(0.05, 0.35)) if rng.random() < 0.15 else 0.0
        if not photo:
            builder.floor(floor, mirror=mirror)
            builder.walls(floor, (reach, reach + 2.0))
        table = None
        if mobile:
            if rng.random() < 0.6:
                angle = rng.uniform(0, 2 * np.pi)
                table = builder.table(1.3 * np.cos(angle), 1.3 * np.sin(angle), float(rng.uniform(0.6, 0.85)), floor)
        elif not choices or rng.random() < (0.5 if photo else 0.7):
            table = builder.table(
                float(rng.uniform(0, 0.35)), float(rng.uniform(-0.2, 0.2)), 0.0, floor, 0.1, mirror=mirror
            )
        elif not photo or rng.random() < 0.7:
            builder.pedestal(floor)
        things = [builder.thing() for _ in range(int(rng.integers(2, 10)))] if table is not None else []
        if not photo:
            things += [builder.thing(floor=True) for _ in range(int(rng.integers(0, 5)))]
        blocker = builder.occluder() if rng.random() < occluded else None
        held = builder.held() if choices and rng.random() < HELD else None
        out.append(Room(floor, table, tuple(things), reach - 0.2, blocker, held))

    return build


def things_beside(rng: np.random.Generator, alone: bool, out: list[Room]) -> Callable[[mujoco.MjSpec], None]:
    """A function that builds a few things for a cut-out; ``alone``: there is no robot.  The room goes to ``out``."""

    def build(spec: mujoco.MjSpec) -> None:
        builder = RoomBuilder(spec, rng)
        count = int(rng.integers(1, 5)) if alone or rng.random() < 0.35 else 0
        things = []
        for _ in range(count):
            draw = rng.random()
            things.append(builder.occluder() if draw < 0.3 else builder.thing(floor=draw < 0.4))
        held = builder.held() if not alone and rng.random() < HELD else None
        out.append(Room(0.0, None, tuple(things), held=held))

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


def hold_thing(scene: Scene, held: Thing | None, rng: np.random.Generator) -> Scene:
    """The scene with ``held`` between the fingers of its first robot."""
    if held is None or not scene.robots:
        return scene
    robot = scene.robots[0]
    scene.data.qpos[robot.qadr] = robot.home
    scene.data.qpos[robot.grip_qadr] = (robot.grip_open + robot.grip_closed) / 2
    update(scene)
    grips = measure(scene, robot).grips
    which = int(rng.integers(len(grips)))
    root, tip, _ = grips[which]
    at = root + (tip - root) * rng.uniform(0.8, 1.1)
    follower = hold(scene.model, scene.data, held.body, robot.gripper_roots[which], at, rng)
    return replace(scene, followers=(*scene.followers, follower))
