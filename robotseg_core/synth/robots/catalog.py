# SPDX-License-Identifier: Apache-2.0
"""What a robots folder holds: one ``robot.json`` an arm or gripper, and which gripper fits which arm."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

TEST_ARMS: tuple[str, ...] = ("flexiv_rizon4", "kinova_gen3", "lite6", "so_arm100")
"""Arms kept for testing: training data must not show them."""

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
        embodiment: arms of one embodiment share its part of a data set.
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
    embodiment: str


@lru_cache(maxsize=256)
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
        embodiment=str(doc.get("vrs") or folder.name),
    )


@dataclass(frozen=True)
class OwnRobot:
    """A robot given by its user.

    Attributes:
        path: a URDF or MJCF file.
        urdf: which of the two.
        gripper_links: links that, with all below them, are the gripper.
        search: folders of packages, for ``package://`` in a URDF.
        on_floor: stands on the floor by itself.
    """

    path: Path
    urdf: bool
    gripper_links: tuple[str, ...]
    search: tuple[Path, ...] = ()
    on_floor: bool = False


PROCEDURAL = "procedural"
"""Name of an arm or gripper that is generated."""


@dataclass(frozen=True)
class RobotChoice:
    """An arm and the gripper it carries.

    Attributes:
        arm: name of an arm, or PROCEDURAL.
        gripper: name of a gripper, PROCEDURAL, or None: built in.
        own: a user's robot, whose name is ``arm``; then there is no gripper.
        variant: None for the robot as it is; else the seed of its proportions and of its generated parts.
    """

    arm: str
    gripper: str | None
    variant: int | None = None
    own: OwnRobot | None = None

    def __str__(self) -> str:
        name = f"{self.arm}+{self.gripper}" if self.gripper else self.arm
        return name if self.variant is None else f"{name}#{self.variant}"


def is_mobile(root: Path, choice: RobotChoice) -> bool:
    """Whether the robot stands on the floor by itself."""
    if choice.own is not None:
        return choice.own.on_floor
    return choice.arm != PROCEDURAL and read_robot(root / "arms" / choice.arm).mobile


def embodiment(root: Path, choice: RobotChoice) -> str:
    """What the robot counts as where each kind of robot gets an equal part."""
    return choice.arm if choice.own is not None else read_robot(root / "arms" / choice.arm).embodiment


def sample_made(
    choices: Sequence[RobotChoice], root: Path, rng: np.random.Generator, exclude: Sequence[str] = ()
) -> RobotChoice:
    """A robot that does not exist: generated from foot to finger, or a real arm of ``choices`` changed.

    No test arm is changed, and no gripper of ``exclude`` is used.  A changed arm has other proportions and, where it
    takes grippers, any gripper of ``root`` or a generated one.
    """
    variant = int(rng.integers(2**31))
    arms = sorted({c.arm for c in choices} - set(TEST_ARMS))
    if not arms:
        return RobotChoice(PROCEDURAL, PROCEDURAL, variant)
    grippers = [g for g in list_grippers(root) if g not in exclude]
    if rng.random() < 0.65:
        real = grippers and rng.random() < 0.2
        return RobotChoice(PROCEDURAL, grippers[int(rng.integers(len(grippers)))] if real else PROCEDURAL, variant)
    arm = arms[int(rng.integers(len(arms)))]
    if all(c.gripper is None for c in choices if c.arm == arm):
        return RobotChoice(arm, None, variant)
    every = [*grippers, *[PROCEDURAL] * len(grippers)]
    return RobotChoice(arm, every[int(rng.integers(len(every)))], variant)


def list_choices(
    root: Path, arms: Iterable[str] | None = None, test: bool = False, exclude: Iterable[str] = ()
) -> list[RobotChoice]:
    """Every arm with every gripper that fits.

    Args:
        root: the robots folder, holding ``arms/`` and ``grippers/``.
        arms: only these arms; None for all training arms (or all test arms, with ``test``).
        test: list TEST_ARMS instead of the others.
        exclude: arms and grippers that must not appear.

    Raises:
        ValueError: an arm does not exist, or is both asked for and excluded; a name to exclude does not exist.
    """
    if not (root / "arms").is_dir():
        raise FileNotFoundError(f"{root} holds no folder 'arms': give the robots folder")
    names = sorted(p.name for p in (root / "arms").iterdir() if (p / "robot.json").is_file())
    out_of_use = set(exclude)
    unknown = sorted(out_of_use - set(names) - set(list_grippers(root)))
    if unknown:
        raise ValueError(f"to be excluded, but neither arm nor gripper of {root}: {', '.join(unknown)}")
    if arms is not None:
        wanted = list(arms)
        missing = sorted(set(wanted) - set(names))
        if missing:
            raise ValueError(f"no arm {missing} in {root / 'arms'}; it has {names}")
        both = sorted(out_of_use & set(wanted))
        if both:
            raise ValueError(f"asked for and excluded: {', '.join(both)}")
        names = wanted
    else:
        names = [n for n in names if (n in TEST_ARMS) == test and n not in out_of_use]
    out: list[RobotChoice] = []
    for name in names:
        grippers = read_robot(root / "arms" / name).grippers
        fitting = [g for g in grippers if g not in out_of_use]
        out += [RobotChoice(name, g) for g in fitting] if grippers else [RobotChoice(name, None)]
    return out


def list_grippers(root: Path) -> list[str]:
    """Names of the grippers in the robots folder."""
    return sorted(p.name for p in (root / "grippers").glob("*") if (p / "robot.json").is_file())
