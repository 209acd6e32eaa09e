# SPDX-License-Identifier: Apache-2.0
"""Read a URDF into a MuJoCo specification: links, joints, what is seen.  Inertia and collision shapes are left out."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path

import mujoco
import numpy as np

from robotseg_core.storage.documents import read_bytes
from robotseg_core.synth.robots.own_mjcf import check_spec
from robotseg_core.synth.robots.shapes import GEOM

MESH_TYPES: tuple[str, ...] = (".stl", ".obj", ".msh")
JOINT_TYPES = {
    "revolute": mujoco.mjtJoint.mjJNT_HINGE,
    "continuous": mujoco.mjtJoint.mjJNT_HINGE,
    "prismatic": mujoco.mjtJoint.mjJNT_SLIDE,
}

Mimic = dict[str, tuple[str, float, float]]
"""Joint that follows another: (leader, factor, offset)."""


def resolve_mesh(name: str, urdf: Path, search: Sequence[Path]) -> Path:
    """The file behind a mesh's ``filename``.

    Args:
        name: ``package://package/rest``, ``file:///path``, an absolute path, or one relative to the URDF.
        urdf: the file that names it.
        search: folders that hold packages, or are packages.

    Raises:
        FileNotFoundError: names the mesh and the folders looked in.
    """
    if name.startswith("package://"):
        package, _, rest = name.removeprefix("package://").partition("/")
        bases = [*search, *urdf.resolve().parents]
        tried = [base / package / rest for base in bases] + [b / rest for b in bases if b.name == package]
    else:
        tried = [urdf.parent / name.removeprefix("file://"), *(s / name.removeprefix("file://") for s in search)]
    for path in tried:
        if path.is_file():
            return path.resolve()
    where = ", ".join(sorted({str(s) for s in search})) or "no --package-path given"
    raise FileNotFoundError(f"{urdf}: mesh {name} not found (beside the file and above it; {where})")


def _numbers(text: str | None, default: Sequence[float]) -> list[float]:
    return [float(v) for v in text.split()] if text else list(default)


def _pose(element: ElementTree.Element | None) -> tuple[list[float], list[float]]:
    """Position and quaternion of an ``origin``."""
    if element is None:
        return [0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]
    roll, pitch, yaw = _numbers(element.get("rpy"), (0, 0, 0))
    quat = np.zeros(4)
    mujoco.mju_euler2Quat(quat, np.array([roll, pitch, yaw]), "XYZ")
    return _numbers(element.get("xyz"), (0, 0, 0)), quat.tolist()


def read_urdf(path: Path, search: Sequence[Path] = ()) -> tuple[mujoco.MjSpec, Mimic]:
    """The robot of ``path`` with one body a link, and its mimic joints.

    Raises:
        ValueError: not a URDF, a joint to an unknown link, a mesh of a type that MuJoCo cannot read, more than 64 MiB
            of text or 1 GiB of meshes.
        FileNotFoundError: the file or a mesh does not exist.
    """
    try:
        root = ElementTree.fromstring(read_bytes(path))
    except ElementTree.ParseError as e:
        raise ValueError(f"{path} is not XML: {e}") from e
    if root.tag != "robot":
        raise ValueError(
            f"{path} is not a URDF: its root element is <{root.tag}>, not <robot> (xacro: expand it first)"
        )
    links = {str(e.get("name")): e for e in root.findall("link")}
    colours = {str(m.get("name")): _colour(m) for m in root.findall("material")}
    below: dict[str, list[ElementTree.Element]] = {}
    children = set()
    for joint in root.findall("joint"):
        ends = [_link(joint, tag) for tag in ("parent", "child")]
        for end in ends:
            if end not in links:
                raise ValueError(f"{path}: joint {joint.get('name')} names the unknown link '{end}'")
        below.setdefault(ends[0], []).append(joint)
        children.add(ends[1])
    tops = [name for name in links if name not in children]
    if len(tops) != 1:
        raise ValueError(f"{path}: one link must have no parent, found {tops}")
    mimic: Mimic = {}
    spec = mujoco.MjSpec()
    spec.compiler.degree = False
    spec.compiler.boundmass, spec.compiler.boundinertia = 1e-3, 1e-6
    todo = [(tops[0], spec.worldbody.add_body(name=tops[0]))]
    while todo:
        name, body = todo.pop()
        for visual in links[name].findall("visual"):
            _add_visual(spec, body, visual, path, search, colours)
        for joint in below.get(name, []):
            pos, quat = _pose(joint.find("origin"))
            link = _link(joint, "child")
            lower = body.add_body(name=link, pos=pos, quat=quat)
            mimic |= _add_joint(lower, joint)
            todo.append((link, lower))
    check_spec(path, spec)
    return spec, mimic


def _link(joint: ElementTree.Element, end: str) -> str:
    element = joint.find(end)
    return "" if element is None else str(element.get("link"))


def _add_joint(body: mujoco.MjsBody, joint: ElementTree.Element) -> Mimic:
    kind, name = str(joint.get("type")), str(joint.get("name"))
    if kind not in JOINT_TYPES:
        return {}
    axis, limit, follow = joint.find("axis"), joint.find("limit"), joint.find("mimic")
    limited = limit is not None and kind != "continuous"
    body.add_joint(
        name=name,
        type=JOINT_TYPES[kind],
        axis=_numbers(axis.get("xyz") if axis is not None else None, (1, 0, 0)),
        limited=mujoco.mjtLimited.mjLIMITED_TRUE if limited else mujoco.mjtLimited.mjLIMITED_FALSE,
        range=[float(limit.get("lower", 0)), float(limit.get("upper", 0))] if limit is not None else [0, 0],
    )
    if follow is None:
        return {}
    return {name: (str(follow.get("joint")), float(follow.get("multiplier", 1)), float(follow.get("offset", 0)))}


def _colour(material: ElementTree.Element | None) -> list[float] | None:
    colour = material.find("color") if material is not None else None
    return _numbers(colour.get("rgba"), (0.6, 0.6, 0.6, 1)) if colour is not None else None


def _add_visual(
    spec: mujoco.MjSpec,
    body: mujoco.MjsBody,
    visual: ElementTree.Element,
    path: Path,
    search: Sequence[Path],
    colours: dict[str, list[float] | None],
) -> None:
    geometry, material = visual.find("geometry"), visual.find("material")
    if geometry is None or not len(geometry):
        return
    shape = geometry[0]
    pos, quat = _pose(visual.find("origin"))
    named = colours.get(str(material.get("name"))) if material is not None else None
    rgba = _colour(material) or named or [0.6, 0.6, 0.6, 1.0]
    common = {"pos": pos, "quat": quat, "rgba": rgba, "contype": 0, "conaffinity": 0}
    if shape.tag == "box":
        half = [v / 2 for v in _numbers(shape.get("size"), (0, 0, 0))]
        body.add_geom(type=GEOM.mjGEOM_BOX, size=half, **common)
    elif shape.tag in ("cylinder", "capsule"):
        kind = GEOM.mjGEOM_CYLINDER if shape.tag == "cylinder" else GEOM.mjGEOM_CAPSULE
        size = [float(shape.get("radius", 0)), float(shape.get("length", 0)) / 2, 0]
        body.add_geom(type=kind, size=size, **common)
    elif shape.tag == "sphere":
        body.add_geom(type=GEOM.mjGEOM_SPHERE, size=[float(shape.get("radius", 0)), 0, 0], **common)
    elif shape.tag == "mesh":
        file = resolve_mesh(str(shape.get("filename")), path, search)
        if file.suffix.lower() not in MESH_TYPES:
            raise ValueError(f"{path}: mesh {file} is {file.suffix}; MuJoCo reads {', '.join(MESH_TYPES)}: convert it")
        mesh = spec.add_mesh(
            name=f"mesh_{len(list(spec.meshes))}",
            file=str(file),
            scale=_numbers(shape.get("scale"), (1, 1, 1)),
            inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL,
        )
        body.add_geom(type=GEOM.mjGEOM_MESH, meshname=mesh.name, **common)
    else:
        raise ValueError(f"{path}: unknown shape <{shape.tag}> in link {body.name}")
