# SPDX-License-Identifier: Apache-2.0
"""A user's own robot, from a URDF or an MJCF file, with the links that make its gripper."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import mujoco
import numpy as np

from robotseg_core.synth.robots.catalog import OwnRobot, RobotChoice
from robotseg_core.synth.robots.own_mjcf import check_spec, scan
from robotseg_core.synth.robots.own_urdf import read_urdf


@dataclass(frozen=True)
class Joints:
    """Joints of a robot in the model's order.

    Attributes:
        home, spread: centre and half-width of each arm joint, radians or metres.
        grip: gripper joint, and two positions, one at each end of its range.
    """

    home: tuple[float, ...]
    spread: tuple[float, ...]
    grip: tuple[tuple[str, float, float], ...]


def read_own(own: OwnRobot) -> mujoco.MjSpec:
    """The robot's specification, made anew on each call; only what is seen is kept.

    Raises:
        FileNotFoundError: the file or one of its meshes is missing; the message names it.
        ValueError: the file is not what it should be.
    """
    return _read(own)[0]


def _read(own: OwnRobot) -> tuple[mujoco.MjSpec, dict[str, tuple[str, float, float]]]:
    if not own.path.is_file():
        raise FileNotFoundError(f"{own.path} does not exist")
    if own.urdf:
        return read_urdf(own.path, own.search)
    asked = scan(own.path)
    try:
        spec = mujoco.MjSpec.from_file(str(own.path))
    except ValueError as e:
        raise ValueError(f"{own.path} is not a readable MJCF file: {e}") from e
    check_spec(own.path, spec)
    for mesh in spec.meshes:
        file = own.path.parent / spec.meshdir / mesh.file
        # Those of an attached model lie where that model says; MuJoCo names one that is missing.
        if mesh.file and not asked.models and not file.is_file():
            raise FileNotFoundError(f"{own.path}: mesh {file} not found")
    seen = [g for g in spec.geoms if g.group < 3]
    for geom in list(spec.geoms):
        if geom in list(spec.worldbody.geoms) or (seen and geom.group >= 3):
            spec.delete(geom)
    unwanted = [j for j in spec.joints if j.type in (mujoco.mjtJoint.mjJNT_FREE, mujoco.mjtJoint.mjJNT_BALL)]
    for item in [*spec.lights, *spec.cameras, *spec.keys, *unwanted]:
        spec.delete(item)
    for i, body in enumerate(spec.bodies[1:]):
        body.name = body.name or f"unnamed_{i}"
    for i, joint in enumerate(spec.joints):
        joint.name = joint.name or f"unnamed_joint_{i}"
    spec.option.timestep, spec.option.noslip_iterations = 0.002, 0
    return spec, {}


def gripper_roots(spec: mujoco.MjSpec, links: tuple[str, ...]) -> tuple[str, ...]:
    """Those of ``links`` that lie under none of the others.

    Raises:
        ValueError: a link is unknown; the message lists those that exist.
    """
    known = {b.name: b for b in spec.bodies[1:]}
    unknown = [name for name in links if name not in known]
    if unknown:
        raise ValueError(f"--gripper-links: no link {', '.join(unknown)}; the robot has {', '.join(known)}")
    roots = []
    for name in links:
        above = known[name].parent
        while above.name != "world" and above.name not in links:
            above = above.parent
        if above.name == "world":
            roots.append(name)
    return tuple(dict.fromkeys(roots))


@lru_cache(maxsize=4)
def read_joints(own: OwnRobot) -> Joints:
    """Where to move the joints: the arm's around the middle of their ranges, the gripper's from end to end.

    Raises:
        ValueError: the robot has no movable joint, an unknown gripper link, or does not compile.
    """
    spec, mimic = _read(own)
    roots = gripper_roots(spec, own.gripper_links)
    try:
        model = spec.compile()
    except ValueError as e:
        raise ValueError(f"{own.path} does not compile: {e}") from e
    if model.njnt == 0:
        raise ValueError(f"{own.path} has no movable joint")
    if model.ngeom == 0:
        raise ValueError(f"{own.path} shows nothing: no link has a visual shape")
    inside = np.zeros(model.nbody, bool)
    for b in range(1, model.nbody):
        inside[b] = inside[model.body_parentid[b]] or model.body(b).name in roots
    home, spread, grip = [], [], {}
    for j in range(model.njnt):
        slides = model.jnt_type[j] == mujoco.mjtJoint.mjJNT_SLIDE
        wide = 0.15 if slides else np.pi
        low, high = model.jnt_range[j] if model.jnt_limited[j] else (-wide, wide)
        name = model.joint(j).name
        if inside[model.jnt_bodyid[j]]:
            most = 0.1 if slides else 1.2
            grip[name] = (float(np.clip(0, low, high)), float(np.clip(high if high > -low else low, -most, most)))
        else:
            home.append(float(np.clip(0, low + 0.3 * (high - low), high - 0.3 * (high - low))))
            spread.append(float(min(0.35 * (high - low), 1.3)))
    for k in np.flatnonzero(model.eq_type == mujoco.mjtEq.mjEQ_JOINT):
        if model.eq_obj2id[k] >= 0:
            follower, leader = (model.joint(ids[k]).name for ids in (model.eq_obj1id, model.eq_obj2id))
            mimic[follower] = (leader, float(model.eq_data[k, 1]), float(model.eq_data[k, 0]))
    for follower, (leader, factor, offset) in mimic.items():
        if follower in grip and leader in grip:
            start, end = grip[leader]
            grip[follower] = (factor * start + offset, factor * end + offset)
    return Joints(tuple(home), tuple(spread), tuple((n, a, b) for n, (a, b) in grip.items()))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that name an own robot."""
    group = parser.add_argument_group("your own robot, instead of --robots")
    group.add_argument("--urdf", type=Path, help="its URDF (xacro: expand it first)")
    group.add_argument("--mjcf", type=Path, help="its MJCF")
    group.add_argument("--gripper-links", help="links that, with all below them, are the gripper: a,b,...")
    group.add_argument(
        "--package-path", type=Path, nargs="*", default=[], help="folders of packages, for package:// in the URDF"
    )
    group.add_argument("--on-floor", action="store_true", help="it stands on the floor: no table or pedestal under it")


def choice_from(args: argparse.Namespace) -> RobotChoice | None:
    """The own robot that the arguments name, read once to find its faults; None without --urdf and --mjcf.

    Raises:
        ValueError, FileNotFoundError: see :func:`read_own` and :func:`read_joints`.
    """
    if args.urdf is None and args.mjcf is None:
        return None
    if args.robots is not None or (args.urdf is not None and args.mjcf is not None):
        raise ValueError("give only one of --robots, --urdf and --mjcf")
    if not args.gripper_links:
        raise ValueError("--gripper-links is needed with --urdf and --mjcf")
    links = tuple(name.strip() for name in args.gripper_links.split(",") if name.strip())
    path = args.urdf if args.urdf is not None else args.mjcf
    own = OwnRobot(path, args.urdf is not None, links, tuple(args.package_path), args.on_floor)
    read_joints(own)
    return RobotChoice(path.stem, None, own=own)
