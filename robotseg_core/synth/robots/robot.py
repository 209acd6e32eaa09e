# SPDX-License-Identifier: Apache-2.0
"""Robot models: join an arm with a gripper, know each geom's part, sample joint positions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import mujoco
import numpy as np
from numpy.typing import NDArray

from robotseg_core.synth.robots.catalog import PROCEDURAL, OwnRobot, RobotChoice, RobotFile, read_robot
from robotseg_core.synth.robots.mixed import body_boxes, reproportion, reskin
from robotseg_core.synth.robots.own_robot import gripper_roots, read_joints, read_own
from robotseg_core.synth.robots.procedural_arm import MadeArm, build_arm
from robotseg_core.synth.robots.procedural_gripper import build_gripper

BACKGROUND, ARM, GRIPPER = 0, 1, 2
"""Values of a label image.  The part ``robot`` is every pixel that is not BACKGROUND."""

HAND_PREFIX = "hand/"

STRETCH_JOINTS: dict[str, tuple[float, float]] = {
    "joint_lift": (0.75, 0.3),
    "joint_arm_l0": (0.06, 0.06),
    "joint_arm_l1": (0.06, 0.06),
    "joint_arm_l2": (0.06, 0.06),
    "joint_arm_l3": (0.06, 0.06),
    "joint_wrist_yaw": (0.4, 1.0),
    "joint_wrist_pitch": (-0.3, 0.5),
    "joint_wrist_roll": (0.0, 0.8),
    "joint_head_pan": (-0.8, 0.9),
    "joint_head_tilt": (-0.4, 0.4),
}
"""Centre and half-width of the named joints of a robot whose robot.json says ``stretch``."""


@dataclass(frozen=True)
class RobotSpec:
    """An arm joined with its gripper, not yet in a scene.

    Attributes:
        choice: what it is.
        arm: the arm's file.
        grip: joint (named in ``spec``), open, closed.
        gripper_roots: bodies of ``spec`` whose subtree is gripper.
        spec: the MuJoCo specification; attaching it to a scene consumes it.
    """

    choice: RobotChoice
    arm: RobotFile
    grip: tuple[tuple[str, float, float], ...]
    gripper_roots: tuple[str, ...]
    spec: mujoco.MjSpec


def _load(file: RobotFile) -> mujoco.MjSpec:
    spec = mujoco.MjSpec.from_file(str(file.folder / "model.xml"))
    for i, body in enumerate(spec.bodies[1:]):
        if not body.name:
            body.name = f"unnamed_{i}"
    spec.option.timestep, spec.option.noslip_iterations = 0.002, 0  # nothing is simulated; avoids warnings on joining
    for joint in list(spec.joints):
        if joint.type == mujoco.mjtJoint.mjJNT_FREE:
            spec.delete(joint)
    return spec


def load_robot(root: Path, choice: RobotChoice) -> RobotSpec:
    """Load or generate an arm and join its gripper."""
    if choice.own is not None:
        return _load_own(choice, choice.own)
    rng = np.random.default_rng(choice.variant)
    if choice.arm == PROCEDURAL:
        made = build_arm(rng)
        arm, spec, flange = _file_of(made), made.spec, made.radius
    else:
        arm = read_robot(root / "arms" / choice.arm)
        spec, flange = _load(arm), 0.04
        if choice.variant is not None and not arm.stretch:
            if rng.random() < 0.35 and choice.gripper is not None:
                reskin(spec, set(arm.gripper_roots), rng, float(rng.uniform(0.4, 1.0)))
            reproportion(spec, body_boxes(arm.folder / "model.xml"), rng)
    if choice.gripper is None:
        if not arm.gripper_roots:
            raise ValueError(f"arm {arm.name} has no built-in gripper: choose one of {list(arm.grippers)}")
        return RobotSpec(choice, arm, arm.grip, arm.gripper_roots, spec)
    if choice.gripper == PROCEDURAL:
        hand_made = build_gripper(rng, flange)
        hand_spec, fingers = hand_made.spec, hand_made.grip
    else:
        hand = read_robot(root / "grippers" / choice.gripper)
        hand_spec, fingers = _load(hand), hand.grip
        if choice.variant is not None:
            reproportion(
                hand_spec,
                body_boxes(hand.folder / "model.xml"),
                rng,
                0.15,
                size=float(np.clip(flange / 0.04, 0.4, 1.2)),
            )
        for body in hand_spec.worldbody.bodies:
            pos, quat = np.zeros(3), np.zeros(4)
            mujoco.mju_mulPose(
                pos,
                quat,
                np.array(hand.attach_pos),
                np.array(hand.attach_quat),
                np.array(body.pos),
                np.array(body.quat),
            )
            body.pos, body.quat = pos, quat
    names = tuple(HAND_PREFIX + b.name for b in hand_spec.worldbody.bodies)
    if arm.attach_site is not None:
        spec.attach(hand_spec, prefix=HAND_PREFIX, site=spec.site(arm.attach_site))
    elif arm.attach_body is not None:
        frame = spec.body(arm.attach_body).add_frame(pos=list(arm.attach_pos), quat=list(arm.attach_quat))
        spec.attach(hand_spec, prefix=HAND_PREFIX, frame=frame)
    else:
        raise ValueError(f"arm {arm.name} has no place for a gripper ('attach' in its robot.json)")
    grip = tuple((HAND_PREFIX + name, a, b) for name, a, b in fingers)
    return RobotSpec(choice, arm, grip, names + arm.gripper_roots, spec)


def _load_own(choice: RobotChoice, own: OwnRobot) -> RobotSpec:
    spec, joints = read_own(own), read_joints(own)
    roots = gripper_roots(spec, own.gripper_links)
    file = replace(_plain_file(choice.arm), home=joints.home, spread=joints.spread, mobile=own.on_floor)
    return RobotSpec(choice, file, joints.grip, roots, spec)


def _file_of(made: MadeArm) -> RobotFile:
    """A generated arm described like one of a robots folder."""
    return replace(
        _plain_file(PROCEDURAL),
        attach_body=made.flange,
        attach_pos=made.flange_pos,
        attach_quat=made.flange_quat,
        home=made.home,
        spread=made.spread,
    )


def _plain_file(name: str) -> RobotFile:
    return RobotFile(
        name=name,
        folder=Path(),
        attach_site=None,
        attach_body=None,
        attach_pos=(0.0, 0.0, 0.0),
        attach_quat=(1.0, 0.0, 0.0, 0.0),
        grippers=(),
        gripper_roots=(),
        gripper_meshes=(),
        home=(),
        spread=(),
        grip=(),
        bimanual=False,
        stretch=False,
        mobile=False,
        embodiment=name,
    )


@dataclass(frozen=True)
class Robot:
    """A robot inside a compiled scene.

    Attributes:
        choice: what it is.
        prefix: of its names in the scene.
        mobile: stands on the floor by itself.
        mount: id of the body that carries it; its pose in the model may be changed.
        geoms: [n] ids of the visible geoms of the robot.
        labels: [n] ARM or GRIPPER.
        gripper_roots: ids of the gripper's root bodies (two for a bimanual robot).
        qadr: [j] qpos addresses of the sampled arm joints.
        home, spread, low, high: [j] centre, half-width and limits of those joints.
        grip_qadr: [k] qpos addresses of the gripper joints.
        grip_open, grip_closed: [k] their positions.
        grip_group: [k] joints of one gripper share a number.
    """

    choice: RobotChoice
    prefix: str
    mobile: bool
    mount: int
    geoms: NDArray[np.int64]
    labels: NDArray[np.uint8]
    gripper_roots: tuple[int, ...]
    qadr: NDArray[np.int64]
    home: NDArray[np.float64]
    spread: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    grip_qadr: NDArray[np.int64]
    grip_open: NDArray[np.float64]
    grip_closed: NDArray[np.float64]
    grip_group: NDArray[np.int64]

    def sample_qpos(self, rng: np.random.Generator, qpos: NDArray[np.float64], width: float = 1.0) -> None:
        """Write a random pose into ``qpos`` [nq]: uniform around home, each gripper between open and closed."""
        value = self.home + width * self.spread * rng.uniform(-1, 1, len(self.qadr))
        qpos[self.qadr] = np.clip(value, self.low, self.high)
        if len(self.grip_qadr):
            closed = np.clip(rng.uniform(-0.2, 1.2, self.grip_group.max() + 1), 0, 1)[self.grip_group]
            qpos[self.grip_qadr] = self.grip_open + closed * (self.grip_closed - self.grip_open)


def find_robot(model: mujoco.MjModel, robot: RobotSpec, prefix: str, mount: str) -> Robot:
    """The ids of ``robot`` in the scene it was attached to with ``prefix`` under the body ``mount``."""
    mount_id = model.body(mount).id
    roots = {model.body(prefix + n).id for n in robot.gripper_roots}
    meshes = _meshes(model, prefix, robot.arm.gripper_meshes)
    part = np.zeros(model.nbody, np.uint8)
    for b in range(1, model.nbody):  # parents come before their children
        part[b] = ARM if b == mount_id else GRIPPER if b in roots else part[model.body_parentid[b]]
    geoms, labels = [], []
    for g in range(model.ngeom):
        if part[model.geom_bodyid[g]] == BACKGROUND or model.geom_bodyid[g] == mount_id:
            continue
        is_mesh = model.geom_type[g] == mujoco.mjtGeom.mjGEOM_MESH
        geoms.append(g)
        labels.append(GRIPPER if is_mesh and model.geom_dataid[g] in meshes else part[model.geom_bodyid[g]])
    grip = {model.joint(prefix + n).id: (a, b) for n, a, b in robot.grip}
    joints = [j for j in range(model.njnt) if part[model.jnt_bodyid[j]] and j not in grip]
    if robot.arm.stretch:
        named = {model.joint(prefix + n).id: v for n, v in STRETCH_JOINTS.items() if f"{prefix}{n}" in _names(model)}
        joints = [j for j in joints if j in named]
        home, spread = [named[j][0] for j in joints], [named[j][1] for j in joints]
    else:
        joints = [j for j in joints if part[model.jnt_bodyid[j]] == ARM or robot.choice.gripper is None]
        times = 2 if robot.arm.bimanual else 1
        home, spread = list(robot.arm.home) * times, list(robot.arm.spread) * times
        if len(home) != len(joints):
            raise ValueError(f"{robot.choice}: robot.json has {len(home)} home positions for {len(joints)} arm joints")
    limited = model.jnt_limited[joints].astype(bool)
    order = sorted(roots)
    hands = []
    for j in grip:  # the gripper that each finger joint moves
        body = int(model.jnt_bodyid[j])
        while body > 0 and body not in roots:
            body = int(model.body_parentid[body])
        hands.append(order.index(body) if body in roots else 0)
    return Robot(
        choice=robot.choice,
        prefix=prefix,
        mobile=robot.arm.mobile,
        mount=mount_id,
        geoms=np.array(geoms, np.int64),
        labels=np.array(labels, np.uint8),
        gripper_roots=tuple(order),
        qadr=model.jnt_qposadr[joints].astype(np.int64),
        home=np.array(home, np.float64),
        spread=np.array(spread, np.float64),
        low=np.where(limited, model.jnt_range[joints, 0], -np.inf),
        high=np.where(limited, model.jnt_range[joints, 1], np.inf),
        grip_qadr=model.jnt_qposadr[list(grip)].astype(np.int64),
        grip_open=np.array([v[0] for v in grip.values()], np.float64),
        grip_closed=np.array([v[1] for v in grip.values()], np.float64),
        grip_group=np.array(hands, np.int64),
    )


def _meshes(model: mujoco.MjModel, prefix: str, names: tuple[str, ...]) -> set[int]:
    """Ids of the meshes called name, name_0, name_1 and so on."""
    found = set()
    for m in range(model.nmesh):
        own = model.mesh(m).name.removeprefix(prefix)
        if own in names or own.rstrip("0123456789").removesuffix("_") in names:
            found.add(m)
    return found


def _names(model: mujoco.MjModel) -> set[str]:
    return {model.joint(j).name for j in range(model.njnt)}
