# SPDX-License-Identifier: Apache-2.0
"""Robot models: read a robots folder, join an arm with a gripper, know each geom's part, sample joint positions."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np
from numpy.typing import NDArray

BACKGROUND, ARM, GRIPPER = 0, 1, 2
"""Values of a label image.  The part ``robot`` is every pixel that is not BACKGROUND."""

TEST_ARMS: tuple[str, ...] = ("flexiv_rizon4", "kinova_gen3", "lite6", "so_arm100")
"""Arms kept for testing: training data must not show them."""

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

STRETCH_GRIP: dict[str, tuple[float, float]] = {
    "joint_gripper_finger_left_open": (0.35, -0.12),
    "joint_gripper_finger_right_open": (0.35, -0.12),
}


@dataclass(frozen=True)
class RobotFile:
    """One ``robot.json``: an arm (with or without a built-in gripper) or a gripper.

    Attributes:
        name: folder name.
        folder: the folder that holds ``model.xml``.
        attach_site: site of the arm that carries a gripper, or None.
        attach_body: body of the arm that carries a gripper, or None.
        attach_pos: metres, pose of the mount in ``attach_body``; for a gripper the pose of its root in the mount.
        attach_quat: w x y z.
        grippers: names of grippers that fit this arm.
        gripper_roots: bodies whose subtree is the built-in gripper.
        gripper_meshes: meshes (``name`` or ``name_0``, ``name_1``...) that are gripper though their body is the arm's.
        home: centre of each arm joint, radians or metres.
        spread: half-width of each arm joint.
        grip: joint name to (open, closed) position.
        bimanual: ``home`` and ``spread`` apply to each of two arms in turn.
        stretch: a mobile manipulator with the joints of STRETCH_JOINTS.
        mobile: stands on the floor by itself.
    """

    name: str
    folder: Path
    attach_site: str | None
    attach_body: str | None
    attach_pos: tuple[float, ...]
    attach_quat: tuple[float, ...]
    grippers: tuple[str, ...]
    gripper_roots: tuple[str, ...]
    gripper_meshes: tuple[str, ...]
    home: tuple[float, ...]
    spread: tuple[float, ...]
    grip: tuple[tuple[str, float, float], ...]
    bimanual: bool
    stretch: bool
    mobile: bool


def read_robot(folder: Path) -> RobotFile:
    """Read ``folder/robot.json``."""
    path = folder / "robot.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path} not found: {folder} is not a robot folder (model.xml and robot.json)")
    doc = json.loads(path.read_text())
    attach = doc.get("attach", {})
    stretch = bool(doc.get("stretch", False))
    grip = STRETCH_GRIP if stretch else {k: (v[0], v[1]) for k, v in doc.get("grip", {}).items()}
    return RobotFile(
        name=folder.name,
        folder=folder,
        attach_site=attach.get("site"),
        attach_body=attach.get("body"),
        attach_pos=tuple(attach.get("pos", doc.get("attach_pos", (0.0, 0.0, 0.0)))),
        attach_quat=tuple(attach.get("quat", doc.get("attach_quat", (1.0, 0.0, 0.0, 0.0)))),
        grippers=tuple(doc.get("grippers", ())),
        gripper_roots=tuple(doc.get("gripper_roots", ())),
        gripper_meshes=tuple(doc.get("gripper_meshes", ())),
        home=tuple(doc.get("home", ())),
        spread=tuple(doc.get("spread", ())),
        grip=tuple((name, float(a), float(b)) for name, (a, b) in grip.items()),
        bimanual=bool(doc.get("bimanual", False)),
        stretch=stretch,
        mobile=bool(doc.get("mobile", False)),
    )


@dataclass(frozen=True)
class RobotChoice:
    """An arm and the gripper it carries (None: built in)."""

    arm: str
    gripper: str | None

    def __str__(self) -> str:
        return f"{self.arm}+{self.gripper}" if self.gripper else self.arm


def list_choices(root: Path, arms: Iterable[str] | None = None, test: bool = False) -> list[RobotChoice]:
    """Every arm with every gripper that fits.

    Args:
        root: the robots folder, holding ``arms/`` and ``grippers/``.
        arms: only these arms; None for all training arms (or all test arms, with ``test``).
        test: list TEST_ARMS instead of the others.
    """
    if not (root / "arms").is_dir():
        raise FileNotFoundError(f"{root} holds no folder 'arms': give the robots folder")
    names = sorted(p.name for p in (root / "arms").iterdir() if (p / "robot.json").is_file())
    if arms is not None:
        wanted = list(arms)
        missing = sorted(set(wanted) - set(names))
        if missing:
            raise ValueError(f"no arm {missing} in {root / 'arms'}; it has {names}")
        names = wanted
    else:
        names = [n for n in names if (n in TEST_ARMS) == test]
    out: list[RobotChoice] = []
    for name in names:
        grippers = read_robot(root / "arms" / name).grippers
        out += [RobotChoice(name, g) for g in grippers] if grippers else [RobotChoice(name, None)]
    return out


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
    """Load an arm and join its gripper."""
    arm = read_robot(root / "arms" / choice.arm)
    spec = _load(arm)
    if choice.gripper is None:
        if not arm.gripper_roots:
            raise ValueError(f"arm {arm.name} has no built-in gripper: choose one of {list(arm.grippers)}")
        return RobotSpec(choice, arm, arm.grip, arm.gripper_roots, spec)
    hand = read_robot(root / "grippers" / choice.gripper)
    hand_spec = _load(hand)
    roots = list(hand_spec.worldbody.bodies)
    names = tuple(HAND_PREFIX + b.name for b in roots)
    for body in roots:
        pos, quat = np.zeros(3), np.zeros(4)
        mujoco.mju_mulPose(
            pos, quat, np.array(hand.attach_pos), np.array(hand.attach_quat), np.array(body.pos), np.array(body.quat)
        )
        body.pos, body.quat = pos, quat
    if arm.attach_site is not None:
        spec.attach(hand_spec, prefix=HAND_PREFIX, site=spec.site(arm.attach_site))
    elif arm.attach_body is not None:
        frame = spec.body(arm.attach_body).add_frame(pos=list(arm.attach_pos), quat=list(arm.attach_quat))
        spec.attach(hand_spec, prefix=HAND_PREFIX, frame=frame)
    else:
        raise ValueError(f"arm {arm.name} has no place for a gripper ('attach' in its robot.json)")
    grip = tuple((HAND_PREFIX + name, a, b) for name, a, b in hand.grip)
    return RobotSpec(choice, arm, grip, names + arm.gripper_roots, spec)


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
    grip = {model.joint(prefix + n).id: (a, b, n.split("/")[0]) for n, a, b in robot.grip}
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
    groups = sorted({g for _, _, g in grip.values()})
    paired = robot.arm.bimanual
    return Robot(
        choice=robot.choice,
        prefix=prefix,
        mobile=robot.arm.mobile,
        mount=mount_id,
        geoms=np.array(geoms, np.int64),
        labels=np.array(labels, np.uint8),
        gripper_roots=tuple(sorted(roots)),
        qadr=model.jnt_qposadr[joints].astype(np.int64),
        home=np.array(home, np.float64),
        spread=np.array(spread, np.float64),
        low=np.where(limited, model.jnt_range[joints, 0], -np.inf),
        high=np.where(limited, model.jnt_range[joints, 1], np.inf),
        grip_qadr=model.jnt_qposadr[list(grip)].astype(np.int64),
        grip_open=np.array([v[0] for v in grip.values()], np.float64),
        grip_closed=np.array([v[1] for v in grip.values()], np.float64),
        grip_group=np.array([groups.index(v[2]) if paired else 0 for v in grip.values()], np.int64),
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
