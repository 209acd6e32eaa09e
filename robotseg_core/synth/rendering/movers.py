# SPDX-License-Identifier: Apache-2.0
"""Things that move by themselves, and robots that drive: where they are in each frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from robotseg_core.synth.rendering.motion import Motion, Mover, spline
from robotseg_core.synth.scenes.room import HIDDEN_Z, Room, Thing
from robotseg_core.synth.scenes.scene import Scene
from robotseg_core.synth.scenes.views import geom_points

Vector = NDArray[np.float64]
STEP = (0.012, 0.06)
"""Metres from frame to frame of a thing that moves."""


def _along(points: Sequence[Vector], turns: Sequence[float], frames: int, quat: Vector, body: int) -> Mover:
    """Through ``points`` [3] with ``turns`` (radians about the vertical, added to ``quat``), at rest at the ends."""
    at = np.linspace(0, len(points) - 1, frames)
    pos = spline(np.array(points, np.float64), at)
    angle = spline(np.array(turns, np.float64)[:, None], at)[:, 0] / 2
    c, s = np.cos(angle), np.sin(angle)
    w, x, y, z = quat
    turned = np.stack([c * w - s * z, c * x - s * y, c * y + s * x, c * z + s * w], axis=1)
    return Mover(body, pos, turned)


def _clear(scene: Scene, motion: Motion, mover: Mover, thing: Thing, looks: int = 4) -> bool:
    """Whether the thing stays away from the robots in some frames."""
    for frame in np.linspace(0, len(motion) - 1, looks).astype(int):
        motion.apply(scene, int(frame))
        x, y, z = mover.pos[frame]
        for robot in scene.robots:
            points = geom_points(scene, robot.geoms, inner=True)
            near = (points[:, 2] > z - 0.02) & (points[:, 2] < z + thing.height + 0.02)
            if near.any() and (np.hypot(points[near, 0] - x, points[near, 1] - y)).min() < thing.radius + 0.01:
                return False
    return True


def move_things(
    scene: Scene, room: Room, motion: Motion, rng: np.random.Generator, most: int = 3, tries: int = 6
) -> tuple[tuple[Mover, ...], bool]:
    """Movers for up to ``most`` of the room's small things, hands, machines and people; they avoid the robots.

    A thing slides, is lifted over to another place, goes and comes back, or leaves; where there are twins, or two
    things near each other, they may change places, passing each other.

    Returns:
        the movers, and whether two things cross.
    """
    model, frames = scene.model, len(motion)
    placed = [t for t in room.things if t.kind != "furniture"]
    placed = [t for t in placed if model.body_pos[model.body(t.body).id][2] > HIDDEN_Z + 1]
    if not placed or frames < 2:
        return (), False
    movers: list[Mover] = []
    crossing = False
    if len(placed) > 1 and rng.random() < 0.5:
        pair = _pair(placed, rng)
        found = _swap(scene, motion, pair, rng)
        if found:
            movers, crossing = list(found), True
            placed = [t for t in placed if t not in pair]
    for k in rng.permutation(len(placed))[: int(rng.integers(0 if crossing else 1, most + 1))]:
        thing = placed[int(k)]
        body = model.body(thing.body).id
        start, quat = model.body_pos[body].copy(), model.body_quat[body].copy()
        for _ in range(tries):
            mover = _wander(start, quat, body, thing, frames, rng)
            if _clear(scene, motion, mover, thing):
                movers.append(mover)
                break
    return tuple(movers), crossing


def _pair(placed: Sequence[Thing], rng: np.random.Generator) -> tuple[Thing, Thing]:
    """Twins if there are any, else any two."""
    by_body = {t.body: t for t in placed}
    twins = [(by_body[t.twin_of], t) for t in placed if t.twin_of in by_body]
    if twins:
        return twins[int(rng.integers(len(twins)))]
    a, b = (int(v) for v in rng.permutation(len(placed))[:2])
    return placed[a], placed[b]


def _swap(
    scene: Scene, motion: Motion, pair: tuple[Thing, Thing], rng: np.random.Generator
) -> tuple[Mover, Mover] | None:
    """The two change places, the second on a bow around the first; None when a robot stands in the way."""
    model, frames = scene.model, len(motion)
    ids = [model.body(t.body).id for t in pair]
    (a, b), quats = model.body_pos[ids].copy(), model.body_quat[ids].copy()
    flat = np.array([b[0] - a[0], b[1] - a[1], 0.0])
    far = float(np.linalg.norm(flat))
    if far < 1e-6 or far > STEP[1] * 1.5 * frames:
        return None
    aside = np.array([-flat[1], flat[0], 0.0]) / far * (pair[0].radius + pair[1].radius + 0.01)
    reach = float(rng.uniform(0.7, 1.2))
    ends = (a + reach * (np.array([b[0], b[1], a[2]]) - a), b + reach * (np.array([a[0], a[1], b[2]]) - b))
    movers = tuple(
        _along(
            [start, (start + end) / 2 + way * aside, end],
            [0.0, *rng.normal(0, 0.5, 2)],
            frames,
            quat,
            body,
        )
        for start, end, way, quat, body in zip((a, b), ends, (1, -1), quats, ids, strict=True)
    )
    if not all(_clear(scene, motion, m, t) for m, t in zip(movers, pair, strict=True)):
        return None
    return movers[0], movers[1]


def _wander(start: Vector, quat: Vector, body: int, thing: Thing, frames: int, rng: np.random.Generator) -> Mover:
    """One thing's way: slide, lift over, there and back, or off and away."""
    length = float(rng.uniform(*STEP)) * (frames - 1)
    turn = rng.uniform(0, 2 * np.pi)
    flat = np.array([np.cos(turn), np.sin(turn), 0.0])
    draw = rng.random()
    twist = float(rng.normal(0, 0.8))
    high = 0.0 if thing.on_floor else float(rng.uniform(0.08, 0.35))
    up = np.array([0.0, 0.0, high])
    if draw < 0.35:
        bend = np.array([-flat[1], flat[0], 0.0]) * length * rng.normal(0, 0.2)
        points = [start, start + 0.5 * length * flat + bend, start + length * flat]
    elif draw < 0.6:
        points = [start, start + up, start + length * flat + up, start + length * flat]
    elif draw < 0.8:
        points = [start, start + 0.5 * length * flat + 0.5 * up, start]
    else:
        points = [start, start + 1.5 * length * flat + up, start + 4 * length * flat + up]
        if rng.random() < 0.5:
            points = points[::-1]
    return _along(points, np.linspace(0, twist, len(points)).tolist(), frames, quat, body)


def drive_robots(
    scene: Scene, room: Room, frames: int, share: float, rng: np.random.Generator, tries: int = 12
) -> tuple[Mover, ...]:
    """Movers for the mounts of robots that stand on the floor by themselves, ``share`` of them; clear of the table."""
    movers: list[Mover] = []
    if frames < 2:
        return ()
    for robot in scene.robots:
        if not robot.mobile or rng.random() >= share:
            continue
        start, quat = scene.model.body_pos[robot.mount].copy(), scene.model.body_quat[robot.mount].copy()
        others = [scene.model.body_pos[r.mount] for r in scene.robots if r is not robot]
        for _ in range(tries):
            turn, length = rng.uniform(0, 2 * np.pi), float(rng.uniform(0.015, 0.12)) * (frames - 1)
            end = start + length * np.array([np.cos(turn), np.sin(turn), 0.0])
            points = [start, (start + end) / 2 + rng.normal(0, 0.08 * length, 3) * (1, 1, 0), end]
            if rng.random() < 0.3:
                points = [start, end, start]
            mover = _along(points, np.cumsum([0.0, *rng.normal(0, 0.3, 2)]).tolist(), frames, quat, robot.mount)
            far = all(np.linalg.norm(mover.pos - o, axis=1).min() > 0.7 for o in others)
            if far and (room.table is None or _off_table(mover.pos, room)):
                movers.append(mover)
                break
    return tuple(movers)


def _off_table(pos: Vector, room: Room, gap: float = 0.3) -> bool:
    table = room.table
    assert table is not None
    start = np.maximum(np.abs(pos[0, :2] - (table.x, table.y)) - (table.half_x, table.half_y), 0)
    gap = min(gap, float(np.linalg.norm(start)))
    away = np.maximum(np.abs(pos[:, :2] - (table.x, table.y)) - (table.half_x, table.half_y), 0)
    return bool(np.linalg.norm(away, axis=1).min() >= gap - 1e-6)
