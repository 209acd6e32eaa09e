# SPDX-License-Identifier: Apache-2.0
"""Which robots a scene holds, and where they and the things around them stand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import mujoco
import numpy as np
from numpy.typing import NDArray

from robotseg_core.synth.robots.catalog import RobotChoice, embodiment, sample_made
from robotseg_core.synth.scenes.room import HIDDEN_Z, Room, Table
from robotseg_core.synth.scenes.scene import Scene


def made_share(asked: float | None, robots: Path | None, own: bool, test_arms: bool = False) -> float:
    """Share of robots that do not exist: as asked, else one half; all without a robots folder, none of an own robot.

    Raises:
        ValueError: what is asked cannot be.
    """
    if asked is not None and not 0 <= asked <= 1:
        raise ValueError(f"--procedural {asked}: a share, 0 to 1")
    if test_arms and robots is None:
        raise ValueError("--test-arms needs --robots")
    if own or test_arms:
        if asked:
            raise ValueError("test arms and an own robot are shown as they are: --procedural must be 0")
        return 0.0
    if robots is None:
        if asked is not None and asked < 1:
            raise ValueError("without --robots every robot is generated: --procedural must be 1")
        return 1.0
    return 0.5 if asked is None else asked


def choose_robots(
    root: Path,
    choices: Sequence[RobotChoice],
    rng: np.random.Generator,
    two: float = 0.15,
    procedural: float = 0.0,
    exclude: Sequence[str] = (),
) -> list[RobotChoice]:
    """One robot, or two, of which half the time both are alike, rarely three; ``procedural`` of them do not exist.

    Each embodiment is as likely as any other, so is each arm of one, so is each gripper of an arm.
    """
    kinds: dict[str, set[str]] = {}
    for c in choices:
        kinds.setdefault(embodiment(root, c), set()).add(c.arm)
    out: list[RobotChoice] = []
    count = 1 if rng.random() >= two else 2 if rng.random() < 0.85 else 3
    for _ in range(count):
        if out and rng.random() < 0.5:
            out.append(out[0])
            continue
        if procedural > 0 and rng.random() < procedural:
            out.append(sample_made(choices, root, rng, exclude))
            continue
        kind = sorted(kinds)[int(rng.integers(len(kinds)))]
        arm = sorted(kinds[kind])[int(rng.integers(len(kinds[kind])))]
        fitting = [c for c in choices if c.arm == arm]
        out.append(fitting[int(rng.integers(len(fitting)))])
    return out


def place_robots(scene: Scene, rng: np.random.Generator, hang: float = 0.0) -> None:
    """Turn each robot at random; put others beside the first, looking the same way, opposite it, or anywhere.

    ``hang`` of the scenes have them on a wall or a ceiling.
    """
    model = scene.model
    first, lean = rng.uniform(-np.pi, np.pi), 0.0
    wide = 1.5 if any(robot.mobile for robot in scene.robots) else 1.0
    if hang and rng.random() < hang:
        lean = np.pi if rng.random() < 0.5 else np.pi / 2
    tilt = np.array([np.cos(lean / 2), np.sin(lean / 2), 0.0, 0.0])
    for i, robot in enumerate(scene.robots):
        yaw = first
        model.body_pos[robot.mount] = 0
        if i:
            angle, away, way = (
                rng.uniform(0, 2 * np.pi),
                wide * rng.uniform(0.55, 1.2) * (1 + 0.4 * (i - 1)),
                rng.random(),
            )
            if way < 0.4:
                angle, yaw = first + np.pi / 2 + np.pi * (i - 1), first + rng.normal(0, 0.15)
            elif way < 0.7:
                yaw = angle + np.pi + rng.normal(0, 0.6)
            else:
                yaw = rng.uniform(-np.pi, np.pi)
            model.body_pos[robot.mount] = (away * np.cos(angle), away * np.sin(angle), 0)
        turn, quat = np.array([np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)]), np.zeros(4)
        mujoco.mju_mulQuat(quat, tilt, turn)
        model.body_quat[robot.mount] = quat


def place_things(
    scene: Scene, room: Room, rng: np.random.Generator, swept: NDArray[np.float64], margin: float = 0.05
) -> int:
    """Put the things on the table (or the floor) clear of each other and of ``swept`` [n, 3]; returns how many fit."""
    taken: list[tuple[float, float, float]] = []
    for thing in room.things:
        body = scene.model.body(thing.body).id
        scene.model.body_pos[body] = (0, 0, HIDDEN_Z)
        for _ in range(25):
            if room.table is not None and not thing.on_floor:
                top = room.table
                x = top.x + rng.uniform(-1, 1) * (top.half_x - 0.05)
                y = top.y + rng.uniform(-1, 1) * (top.half_y - 0.05)
                z = top.z
            else:
                far = max(1.0, room.clear - 0.3)
                x, y, z = rng.uniform(-far, far), rng.uniform(-far, far), room.floor_z
            low = swept[(swept[:, 2] < z + thing.height + margin) & (swept[:, 2] > z - 0.5)]
            gap = thing.radius + margin
            if len(low) and ((low[:, 0] - x) ** 2 + (low[:, 1] - y) ** 2).min() < gap**2:
                continue
            if thing.on_floor and room.table is not None and _under(room.table, x, y, thing.radius):
                continue
            if any((x - a) ** 2 + (y - b) ** 2 < (thing.radius + r) ** 2 for a, b, r in taken):
                continue
            yaw = rng.uniform(-np.pi, np.pi)
            scene.model.body_pos[body] = (x, y, z + thing.lift)
            scene.model.body_quat[body] = (np.cos(yaw / 2), 0, 0, np.sin(yaw / 2))
            taken.append((x, y, thing.radius))
            break
    return len(taken)


def _under(table: Table, x: float, y: float, radius: float) -> bool:
    return abs(x - table.x) < table.half_x + radius and abs(y - table.y) < table.half_y + radius
