# SPDX-License-Identifier: Apache-2.0
"""Robots that do not exist, made of real ones: other proportions, or links of a generated shape on a real skeleton."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import mujoco
import numpy as np
from numpy.typing import NDArray

from robotseg_core.synth.robots.procedural_link import Link, LinkStyle, build_link
from robotseg_core.synth.robots.shapes import Builder, across, unit

MESH = mujoco.mjtGeom.mjGEOM_MESH


def _matrix(quat: np.ndarray) -> np.ndarray:
    out = np.zeros(9)
    mujoco.mju_quat2Mat(out, np.asarray(quat, np.float64))
    return out.reshape(3, 3)


def _straight(matrix: np.ndarray) -> bool:
    """Whether the turn only exchanges axes."""
    return bool(np.allclose(np.abs(matrix), np.rint(np.abs(matrix)), atol=0.02))


Boxes = dict[str, NDArray[np.float64]]


@lru_cache(maxsize=64)
def body_boxes(path: Path) -> Boxes:
    """For each body of the model the box around its geoms in its own frame, [2, 3] metres: low and high corner."""
    model = mujoco.MjModel.from_xml_path(str(path))
    corner = np.array([[i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)], np.float64)
    boxes: Boxes = {}
    for g in range(model.ngeom):
        local = model.geom_aabb[g, :3] + corner * model.geom_aabb[g, 3:]
        points = local @ _matrix(model.geom_quat[g]).T + model.geom_pos[g]
        name = model.body(model.geom_bodyid[g]).name
        low, high = boxes.get(name, np.array([[np.inf] * 3, [-np.inf] * 3]))
        boxes[name] = np.array([np.minimum(low, points.min(axis=0)), np.maximum(high, points.max(axis=0))])
    return boxes


def _spans(box: NDArray[np.float64] | None, axis: int, to: float) -> bool:
    """Whether geoms fill the way from the body's origin to ``to`` on ``axis``, so that stretching opens no gap."""
    if box is None:
        return False
    low, high = sorted((0.0, to))
    return bool(box[0, axis] <= low + 0.02 and box[1, axis] >= high - 0.02)


def reproportion(
    spec: mujoco.MjSpec,
    boxes: Boxes,
    rng: np.random.Generator,
    long: float = 0.35,
    thick: float = 0.2,
    size: float = 1.0,
) -> None:
    """Scale each body along its link by up to exp(±long), and the whole by ``size`` times up to exp(±thick).

    A mesh is scaled axis by axis where its axes lie along the body's and its geoms reach from joint to joint
    (``boxes``: :func:`body_boxes`); any other body only grows or shrinks.  A mesh that several bodies share is left
    alone after the first.
    """
    stout = size * float(np.exp(rng.uniform(-thick, thick)))
    done: set[str] = set()
    for body in spec.bodies[1:]:
        children = [np.array(c.pos) for c in body.bodies]
        factors = np.full(3, stout)
        shapes = [g for g in body.geoms if g.type == MESH]
        free = all(_straight(_matrix(g.quat)) for g in shapes) and not ({g.meshname for g in shapes} & done)
        if free and children:
            way = max(children, key=lambda c: float(np.linalg.norm(c)))
            axis = int(np.argmax(np.abs(way)))
            if np.linalg.norm(way) > 0.03 and _spans(boxes.get(body.name), axis, float(way[axis])):
                factors[axis] *= float(np.exp(rng.uniform(-long, long)))
        for child in body.bodies:
            child.pos = np.array(child.pos) * factors
        for site in body.sites:
            site.pos = np.array(site.pos) * factors
        for joint in body.joints:
            joint.pos = np.array(joint.pos) * factors
        for geom in body.geoms:
            geom.pos = np.array(geom.pos) * factors
            if geom.type == MESH:
                if geom.meshname not in done:
                    done.add(geom.meshname)
                    mesh = spec.mesh(geom.meshname)
                    own = np.abs(_matrix(geom.quat)).T @ factors if free else np.full(3, stout)
                    mesh.scale = np.array(mesh.scale) * own
            else:
                geom.size = np.array(geom.size) * stout


def reskin(spec: mujoco.MjSpec, keep: set[str], rng: np.random.Generator, share: float) -> None:
    """Replace the geoms of about ``share`` of the arm's jointed bodies by generated links of the same reach.

    Args:
        keep: names of bodies left alone with all below them (a gripper's roots).
    """
    b = Builder(spec, rng)
    body_kind = str(rng.choice(["tube", "casting", "shell"]))
    housing = str(rng.choice(["cylinder", "cylinder", "sphere", "box"]))
    style = LinkStyle(
        body_kind,
        housing,
        b.between(2, 7),
        b.between(0.7, 0.95),
        b.between(0.7, 1),
        b.between(-0.08, 0.08),
        b.chance(0.5),
        b.chance(0.3),
        0.4,
    )
    total = sum(float(np.linalg.norm(body.pos)) for body in spec.bodies[1:])
    radius = float(np.clip(total * b.between(0.035, 0.055), 0.015, 0.08))
    skinned: set[str] = set()
    for body in list(spec.bodies[1:]):
        joints = [j for j in body.joints if j.type == mujoco.mjtJoint.mjJNT_HINGE]
        children = list(body.bodies)
        if len(joints) != 1 or len(children) != 1 or body.name in keep or children[0].name in keep:
            continue
        if rng.random() > share:
            continue
        for geom in list(body.geoms):
            spec.delete(geom)
        if body.parent.name not in skinned and np.linalg.norm(body.pos) > 1e-6 and body.parent.name != "world":
            foot = unit(body.pos)
            build_link(b, body.parent, Link(foot, np.array(body.pos), foot, radius, radius, radius), style)
        skinned.add(body.name)
        end = np.array(children[0].pos, np.float64)
        below = [j for j in children[0].joints]
        turn = _matrix(children[0].quat)
        following = unit(turn @ np.array(below[0].axis)) if below else across(unit(end + 1e-9))
        axis = unit(joints[0].axis)
        small = 0.93 * radius
        build_link(b, body, Link(axis, end, following, radius, small, b.between(0.9, 1.2) * radius), style)
        radius = small
