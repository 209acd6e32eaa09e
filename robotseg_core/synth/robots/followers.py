# SPDX-License-Identifier: Apache-2.0
"""What moves with a robot without being one of its bodies: cables from link to link, and a thing held by the gripper.

Their geoms belong to the world.  After every change of the robot's pose their place is written into the state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import mujoco
import numpy as np
from numpy.typing import NDArray

from robotseg_core.synth.robots.robot import ARM, Robot
from robotseg_core.synth.robots.shapes import GEOM, Vector, bezier, unit

SEGMENTS = 12
HIDDEN = np.array([0.0, 0.0, -60.0])


class Follower(Protocol):
    """Something whose geoms follow bodies."""

    def follow(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """Write the places of its geoms; positions of bodies must be up to date."""


@dataclass(frozen=True)
class Cable:
    """A hose or cable from a point on one body to a point on another, as a chain of capsules.

    Attributes:
        geoms: [SEGMENTS] ids.
        bodies: ids of the two bodies.
        points: [2, 3] metres, in the frames of the bodies.
        ways: [2, 3] metres, where the cable leaves them; its length is how far it reaches out.
    """

    geoms: NDArray[np.int64]
    bodies: tuple[int, int]
    points: Vector
    ways: Vector

    def follow(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """Lay the capsules along a Bezier curve."""
        turn = data.xmat[list(self.bodies)].reshape(2, 3, 3)
        ends = data.xpos[list(self.bodies)] + np.einsum("nij,nj->ni", turn, self.points)
        ways = np.einsum("nij,nj->ni", turn, self.ways)
        curve = bezier([ends[0], ends[0] + ways[0], ends[1] + ways[1], ends[1]], len(self.geoms) + 1)
        step = np.diff(curve, axis=0)
        length = np.linalg.norm(step, axis=1)
        z = step / np.maximum(length, 1e-9)[:, None]
        x = np.cross(z, np.where(np.abs(z[:, :1]) < 0.8, np.array([1.0, 0, 0]), np.array([0, 1.0, 0])))
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        data.geom_xpos[self.geoms] = (curve[1:] + curve[:-1]) / 2
        data.geom_xmat[self.geoms] = np.stack([x, np.cross(z, x), z], axis=2).reshape(-1, 9)
        model.geom_size[self.geoms, 1] = length / 2


@dataclass(frozen=True)
class Held:
    """A thing in a gripper: geoms fixed to ``body`` at ``pos`` [n, 3] (metres) and ``mat`` [n, 3, 3]."""

    geoms: NDArray[np.int64]
    body: int
    pos: Vector
    mat: Vector

    def follow(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """Carry the geoms along."""
        turn = data.xmat[self.body].reshape(3, 3)
        data.geom_xpos[self.geoms] = data.xpos[self.body] + self.pos @ turn.T
        data.geom_xmat[self.geoms] = (turn @ self.mat).reshape(-1, 9)


def add_cable(spec: mujoco.MjSpec, name: str, rng: np.random.Generator) -> None:
    """Add the capsules of a cable, out of sight; :func:`lay_cable` gives them their ends."""
    if rng.random() < 0.6:
        colour = np.full(3, rng.uniform(0.03, 0.25))
    else:
        colour = rng.uniform(0.05, 0.95, 3)
    spec.add_material(name=name, rgba=[*colour.tolist(), 1.0], specular=float(rng.uniform(0, 0.5)), shininess=0.3)
    for k in range(SEGMENTS):
        spec.worldbody.add_geom(
            name=f"{name}_{k}",
            type=GEOM.mjGEOM_CAPSULE,
            size=[0.005, 0.01, 0],
            pos=HIDDEN.tolist(),
            material=name,
            contype=0,
            conaffinity=0,
        )


def _surface(model: mujoco.MjModel, geom: int, rng: np.random.Generator) -> tuple[Vector, Vector]:
    """A point on the box of ``geom`` and the way out of it, in its body's frame."""
    out = unit(rng.normal(size=3))
    half = np.maximum(model.geom_aabb[geom, 3:], 1e-4)
    out[int(np.argmax(half))] *= 0.2  # beside a long part, not at its end
    out = unit(out)
    point = model.geom_aabb[geom, :3] + out * float(np.min(half / np.maximum(np.abs(out), 1e-3))) * 0.85
    turn = np.zeros(9)
    mujoco.mju_quat2Mat(turn, model.geom_quat[geom])
    matrix = turn.reshape(3, 3)
    return model.geom_pos[geom] + matrix @ point, matrix @ out


def lay_cable(model: mujoco.MjModel, name: str, robot: Robot, rng: np.random.Generator) -> Cable | None:
    """Fix the ends of a cable to two bodies of ``robot``, near each other; None for a robot of one body."""
    biggest: dict[int, int] = {}
    for g in robot.geoms[robot.labels == ARM]:
        body = int(model.geom_bodyid[g])
        if body not in biggest or model.geom_rbound[g] > model.geom_rbound[biggest[body]]:
            biggest[body] = int(g)
    pairs = []
    for body in biggest:
        above, steps = int(model.body_parentid[body]), 0
        while above > 0 and steps < 4:
            if above in biggest:
                steps += 1
                pairs.append((above, body))
            above = int(model.body_parentid[above])
    if not pairs:
        return None
    bodies = pairs[int(rng.integers(len(pairs)))]
    ends = [_surface(model, biggest[b], rng) for b in bodies]
    size = float(np.mean([model.geom_rbound[biggest[b]] for b in bodies]))
    reach = size * rng.uniform(0.3, 1.1)
    geoms = np.array([model.geom(f"{name}_{k}").id for k in range(SEGMENTS)], np.int64)
    model.geom_size[geoms, 0] = np.clip(size * rng.uniform(0.02, 0.09), 0.0015, 0.02)
    return Cable(geoms, bodies, np.array([p for p, _ in ends]), np.array([reach * w for _, w in ends]))


def hold(
    model: mujoco.MjModel,
    data: mujoco.MjData,
    body: str,
    gripper: int,
    at: Sequence[float] | Vector,
    rng: np.random.Generator,
) -> Held:
    """Put the geoms of ``body`` at the point ``at`` [3] of the world, carried by ``gripper``."""
    first = model.body(body)
    geoms = np.arange(first.geomadr[0], first.geomadr[0] + first.geomnum[0])
    quat, turn = unit(rng.normal(size=4)), np.zeros(9)
    mujoco.mju_quat2Mat(turn, quat)
    matrix = turn.reshape(3, 3)
    own = np.zeros((len(geoms), 3, 3))
    for i, g in enumerate(geoms):
        mujoco.mju_quat2Mat(turn, model.geom_quat[g])
        own[i] = turn.reshape(3, 3)
    carrier = data.xmat[gripper].reshape(3, 3)
    pos = np.asarray(at, np.float64) + model.geom_pos[geoms] @ matrix.T
    return Held(geoms, gripper, (pos - data.xpos[gripper]) @ carrier, carrier.T @ matrix @ own)
