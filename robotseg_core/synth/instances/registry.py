# SPDX-License-Identifier: Apache-2.0
"""Find what is in a compiled scene: which leaf each geom belongs to, and what robots, grippers and limbs there are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import mujoco
import numpy as np
from numpy.typing import NDArray

from robotseg_core.synth.instances.colours import Tone, geom_colours, main_tone
from robotseg_core.synth.instances.records import GripperRecord, Instance, LimbRecord, RobotRecord, SceneRecord
from robotseg_core.synth.robots.catalog import PROCEDURAL
from robotseg_core.synth.robots.followers import Cable, Held
from robotseg_core.synth.robots.robot import ARM, GRIPPER, HAND_PREFIX, Robot
from robotseg_core.synth.scenes.room import HIDDEN_Z, Thing
from robotseg_core.synth.scenes.scene import Scene

HAND_JOINTS = 5
"""A gripper with as many moving joints of its own accord counts as a hand."""
JAWS_OF_MANY = ("robotiq", "onrobot", "dh_ag95", "xarm_gripper")
"""Jaws whose linkages have many joints."""
SUCTION = ("onrobot_vg", "robotiq_epick", "schmalz")
ToneOf = Callable[[Sequence[int]], Tone]
PARTS = {ARM: "arm", GRIPPER: "gripper"}


@dataclass(frozen=True)
class Registry:
    """A scene's leaves.

    Attributes:
        record: what they are.
        leaf: [ngeom] uint16 leaf of each geom, 0 for background.
        geoms: [n] ids of the geoms of all leaves, leaf after leaf.
        starts: [leaves] where each leaf begins in ``geoms``.
        grippers: for each gripper its robot and its root body.
    """

    record: SceneRecord
    leaf: NDArray[np.uint16]
    geoms: NDArray[np.int64]
    starts: NDArray[np.int64]
    grippers: tuple[tuple[Robot, int], ...]


@dataclass
class _Leaf:
    """A leaf under construction, and the body by which twins are known."""

    instance: Instance
    geoms: list[int]
    body: str = ""
    twin: str | None = None


def find_instances(
    scene: Scene, things: Sequence[Thing], moving: Sequence[int] = (), events: Sequence[str] = ()
) -> Registry:
    """Number everything that can be seen, robots first.

    Args:
        scene: painted, with its followers.
        things: all things built; those that were not placed are left out.
        moving: ids of bodies that move in the world.
        events: what happens in the video, for the record.
    """
    model = scene.model
    colours = geom_colours(model)
    weight = np.asarray(model.geom_rbound, np.float64) ** 2

    def tone(geoms: Sequence[int]) -> Tone:
        return main_tone(colours[list(geoms)], weight[list(geoms)])

    leaves: list[_Leaf] = []

    def add(geoms: list[int], name: str, kind: str) -> _Leaf:
        paint = tone(geoms)
        leaves.append(_Leaf(Instance(len(leaves) + 1, name, kind, paint.name, paint.rgb, paint.share), geoms))
        return leaves[-1]

    roots: list[tuple[Robot, int]] = [(robot, root) for robot in scene.robots for root in robot.gripper_roots]
    for number, robot in enumerate(scene.robots):
        first = sum(len(r.gripper_roots) for r in scene.robots[:number])
        for (body, label), geoms in _links(model, robot).items():
            above = _ancestors(model, body)
            hand = next((k for k, root in enumerate(robot.gripper_roots) if root in above), None)
            limb = _limb(model, robot, body)
            if label == GRIPPER and hand is None:  # a mesh that counts as gripper though its body is the arm's
                hand = 0 if limb is None else limb
            name = model.body(body).name.removeprefix(robot.prefix).removeprefix(HAND_PREFIX)
            leaf = add(geoms, name, "link")
            leaf.instance = replace(
                leaf.instance,
                robot=number,
                part=PARTS[label],
                gripper=None if label == ARM or hand is None else first + hand,
                limb=None if label == GRIPPER or limb is None else first + limb,
                moves=robot.mount in moving,
            )
    for follower in scene.followers:
        if isinstance(follower, Cable):
            owner = _owner(model, scene.robots, follower.bodies[1])
            leaf = add(follower.geoms.tolist(), "cable", "cable")
            leaf.instance = replace(leaf.instance, robot=owner, part="arm")
    carried = {int(f.geoms[0]): f.body for f in scene.followers if isinstance(f, Held)}
    root_number = {root: k for k, (_, root) in enumerate(roots)}
    for thing in things:
        body = model.body(thing.body)
        geoms = list(range(int(body.geomadr[0]), int(body.geomadr[0] + body.geomnum[0])))
        holder = carried.get(geoms[0]) if geoms else None
        hidden = model.body_pos[body.id][2] <= HIDDEN_Z + 1 and body.id not in moving and holder is None
        if not geoms or hidden:
            continue
        leaf = add(geoms, thing.name, thing.kind)
        leaf.body, leaf.twin = thing.body, thing.twin_of
        leaf.instance = replace(
            leaf.instance,
            held_by=None if holder is None else root_number[holder],
            robot_like=thing.robot_like,
            moves=body.id in moving,
        )
    _name_twins(leaves)
    instances = tuple(leaf.instance for leaf in leaves)
    table = np.zeros(model.ngeom, np.uint16)
    for item in leaves:
        table[item.geoms] = item.instance.id
    record = SceneRecord(
        instances,
        tuple(_robot_record(scene, n, instances, leaves, tone) for n in range(len(scene.robots))),
        tuple(_gripper_record(scene, k, *roots[k], instances, leaves, tone) for k in range(len(roots))),
        tuple(
            LimbRecord(
                k, _number(scene, robot), k, _side(model, robot, root), tuple(i.id for i in instances if i.limb == k)
            )
            for k, (robot, root) in enumerate(roots)
        ),
        tuple(events),
    )
    starts = np.cumsum([0, *(len(item.geoms) for item in leaves)])[:-1]
    order = np.array([g for item in leaves for g in item.geoms], np.int64)
    return Registry(record, table, order, starts.astype(np.int64), tuple(roots))


def _number(scene: Scene, robot: Robot) -> int:
    return next(i for i, r in enumerate(scene.robots) if r is robot)


def _links(model: mujoco.MjModel, robot: Robot) -> dict[tuple[int, int], list[int]]:
    """Geoms of each link, by body and part, in the order of the bodies."""
    links: dict[tuple[int, int], list[int]] = {}
    for geom, label in zip(robot.geoms.tolist(), robot.labels.tolist(), strict=True):
        links.setdefault((int(model.geom_bodyid[geom]), label), []).append(geom)
    return {key: links[key] for key in sorted(links)}


def _ancestors(model: mujoco.MjModel, body: int) -> list[int]:
    """``body`` and all above it, but the world."""
    out = []
    while body > 0:
        out.append(body)
        body = int(model.body_parentid[body])
    return out


def _limb(model: mujoco.MjModel, robot: Robot, body: int) -> int | None:
    """Which of the robot's limbs a body belongs to: it carries that gripper alone, or hangs on such a body.

    A robot with one gripper is all limb.
    """
    if len(robot.gripper_roots) == 1:
        return 0
    chains = [set(_ancestors(model, root)) for root in robot.gripper_roots]
    for above in _ancestors(model, body):
        on = [k for k, chain in enumerate(chains) if above in chain]
        if on:
            return on[0] if len(on) == 1 else None
    return None


def _owner(model: mujoco.MjModel, robots: Sequence[Robot], body: int) -> int | None:
    above = _ancestors(model, body)
    return next((i for i, robot in enumerate(robots) if robot.mount in above), None)


def _name_twins(leaves: list[_Leaf]) -> None:
    """Both twins name the other, where both are in the scene."""
    by_body = {leaf.body: leaf for leaf in leaves if leaf.body}
    for leaf in leaves:
        other = by_body.get(leaf.twin or "")
        if other is not None:
            leaf.instance = replace(leaf.instance, twin_of=other.instance.id)
            other.instance = replace(other.instance, twin_of=leaf.instance.id)


def _side(model: mujoco.MjModel, robot: Robot, root: int) -> str | None:
    """Left or right, from the names of the bodies that carry the gripper."""
    if len(robot.gripper_roots) == 1:
        return None
    others = {b for r in robot.gripper_roots if r != root for b in _ancestors(model, r)}
    for body in _ancestors(model, root):
        if body in others:
            break
        words = model.body(body).name.removeprefix(robot.prefix).lower().replace("/", "_").split("_")
        for side, short in (("left", "l"), ("right", "r")):
            if side in words or short in words or words[0].startswith(side):
                return side
    return None


def gripper_kind(robot: Robot, root: int, name: str) -> str:
    """What sort of end-effector it is: "jaws", "hand", "suction", or "tool" for another one without moving fingers."""
    which = robot.gripper_roots.index(root)
    own = robot.grip_group == which
    moving = int((np.abs(robot.grip_open - robot.grip_closed)[own] > 1e-4).sum())
    if moving == 0:
        return "suction" if name.startswith(SUCTION) else "tool"
    if moving >= HAND_JOINTS and not name.startswith(JAWS_OF_MANY):
        return "hand"
    return "jaws"


def _robot_record(
    scene: Scene, number: int, instances: Sequence[Instance], leaves: Sequence[_Leaf], tone: ToneOf
) -> RobotRecord:
    robot = scene.robots[number]
    own = [i for i in instances if i.robot == number]
    geoms = [g for i in own for g in leaves[i.id - 1].geoms]
    paint = tone(geoms)
    first = sum(len(r.gripper_roots) for r in scene.robots[:number])
    mine = tuple(range(first, first + len(robot.gripper_roots)))
    twin = next((i for i, r in enumerate(scene.robots) if i != number and r.choice == robot.choice), None)
    choice = robot.choice
    return RobotRecord(
        number,
        str(choice),
        choice.arm,
        choice.gripper,
        choice.variant is not None or choice.arm == PROCEDURAL,
        robot.mobile,
        paint.name,
        paint.rgb,
        twin,
        tuple(i.id for i in own),
        tuple(i.id for i in own if i.part == "arm"),
        tuple(i.id for i in own if i.part == "gripper"),
        mine,
        mine,
    )


def _gripper_record(
    scene: Scene,
    number: int,
    robot: Robot,
    root: int,
    instances: Sequence[Instance],
    leaves: Sequence[_Leaf],
    tone: ToneOf,
) -> GripperRecord:
    ids = tuple(i.id for i in instances if i.gripper == number)
    paint = tone([g for i in ids for g in leaves[i - 1].geoms])
    name = robot.choice.gripper or robot.choice.arm
    return GripperRecord(
        number,
        _number(scene, robot),
        number,
        name,
        gripper_kind(robot, root, name),
        _side(scene.model, robot, root),
        paint.name,
        paint.rgb,
        ids,
        tuple(i.id for i in instances if i.held_by == number),
    )
