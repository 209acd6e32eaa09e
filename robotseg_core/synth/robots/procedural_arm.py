# SPDX-License-Identifier: Apache-2.0
"""Arms that do not exist: random serial chains of known families, with plausible proportions, poses and looks."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from robotseg_core.synth.robots.arm_families import FAMILIES, sample_chain, sample_style
from robotseg_core.synth.robots.procedural_link import Link, LinkStyle, build_link
from robotseg_core.synth.robots.shapes import Builder, across, lathe, solid, unit

X, Y, Z = np.eye(3)
HINGE, SLIDE = mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE


@dataclass(frozen=True)
class MadeArm:
    """A generated arm.

    Attributes:
        spec: bodies ``base``, ``link_0``...; materials ROLES.
        flange: body that carries the gripper.
        flange_pos: [3] metres in that body.
        flange_quat: w x y z; the gripper's z axis points away from the arm.
        home, spread: one number a joint, radians or metres.
        radius: of the flange, metres.
    """

    spec: mujoco.MjSpec
    flange: str
    flange_pos: tuple[float, ...]
    flange_quat: tuple[float, ...]
    home: tuple[float, ...]
    spread: tuple[float, ...]
    radius: float


def _base(b: Builder, body: mujoco.MjsBody, family: str, height: float, r: float, style: LinkStyle) -> None:
    """Foot and pedestal up to the first joint at ``height``."""
    if family == "cartesian":  # a beam along x in the air, on two posts
        wide = 0.45 * height + 0.25
        b.box(body, (0, 0, height), (wide, 0.35 * r + 0.02, 0.5 * r + 0.02), "metal")
        for s in (-1, 1):
            b.box(body, (s * (wide - 0.03), 0, 0.5 * height), (0.03, 0.03, 0.5 * height), "metal")
            b.box(body, (s * (wide - 0.03), 0, 0.01), (0.06, 0.09, 0.01), "dark")
        return
    foot = b.between(1.1, 1.7) * r
    plate = min(0.25 * height, 0.3 * r)
    if b.chance(0.5):
        b.block(
            body,
            (0, 0, 0.5 * plate),
            (foot, foot * b.between(0.8, 1.2), 0.5 * plate),
            "dark" if b.chance(0.4) else "primary",
        )
        for sx in (-1, 1):
            for sy in (-1, 1):
                at = np.array([sx * 0.82 * foot, sy * 0.7 * foot, plate])
                b.rod(body, at, at + 0.1 * r * Z, 0.1 * r, "metal")
    else:
        b.mesh(
            body,
            lathe((0, 0, 0), Z, [(0, foot), (0.7 * plate, foot), (plate, 0.92 * foot)]),
            "joint" if b.chance(0.5) else "primary",
        )
    top, start = max(height, plate + 0.2 * r), plate - 0.001
    if family == "scara" or (style.body == "casting" and b.chance(0.5)):
        half0, half1 = (b.between(0.9, 1.2) * r,) * 2, (b.between(0.85, 1.0) * r,) * 2
        b.mesh(body, solid((0, 0, start), (0, 0, top), half0, half1, X, style.power, 0.08 * r), "primary")
    else:
        mid = b.between(0.8, 1.15) * r
        b.mesh(
            body,
            lathe((0, 0, start), Z, [(0, 0.95 * foot * 0.95), (0.3 * (top - start), mid), (top - start, r)]),
            "primary",
        )
    if b.chance(0.4):  # connector box behind
        b.block(body, (-1.15 * r, 0, 0.45 * top), (0.35 * r, 0.5 * r, 0.25 * top), "dark")
    if style.caps:
        b.rod(body, (0, 0, top - 0.1 * r), (0, 0, top + 0.02 * r), 1.02 * r, "cap")


def _quat_to(direction: np.ndarray) -> tuple[float, ...]:
    """The turn that takes z to ``direction``."""
    quat = np.zeros(4)
    mujoco.mju_quatZ2Vec(quat, np.asarray(direction, np.float64))
    return tuple(float(v) for v in quat)


def build_arm(rng: np.random.Generator, family: str | None = None) -> MadeArm:
    """A random arm, its base on z = 0, reaching forward along x.

    Args:
        family: one of FAMILIES; None to choose by their shares.
    """
    if family is None:
        share = np.array(list(FAMILIES.values()))
        family = str(rng.choice(list(FAMILIES), p=share / share.sum()))
    spec = mujoco.MjSpec()
    spec.compiler.degree = False
    b = Builder(spec, rng)
    style = sample_style(family, b)
    reach = b.between(0.28, 0.55) if family == "hobby" else b.between(0.6, 1.3)
    stout = {"industrial": (0.065, 0.1), "palletiser": (0.06, 0.09), "hobby": (0.045, 0.075), "scara": (0.07, 0.11)}
    r = reach * b.between(*stout.get(family, (0.045, 0.07)))
    height, chain = sample_chain(family, b)
    height *= reach
    shrink = b.between(0.55, 0.85) ** (1 / len(chain))
    body = spec.worldbody.add_body(name="base")
    _base(b, body, family, height, 1.15 * r, style)
    at, homes, spreads = np.array([0.0, 0.0, height]), [], []
    for i, joint in enumerate(chain):
        body = body.add_body(name=f"link_{i}", pos=at.tolist())
        span = joint.spread * reach if joint.slide else np.pi
        body.add_joint(
            name=f"joint_{i}",
            type=SLIDE if joint.slide else HINGE,
            axis=joint.axis.tolist(),
            limited=mujoco.mjtLimited.mjLIMITED_TRUE,
            range=[-span, span],
        )
        homes.append(joint.home * (reach if joint.slide else 1.0))
        spreads.append(joint.spread * (reach if joint.slide else 1.0))
        small = r * shrink ** (i + 1)
        end = np.asarray(joint.end, np.float64) * reach
        following = chain[i + 1].axis if i + 1 < len(chain) else unit(end)
        half = (0.92 if joint.side else b.between(0.85, 1.25)) * r
        link = Link(joint.axis, end, following, r * (1.15 if i == 0 else 1.0), small, half, 0.97 * joint.side * r)
        if joint.slide:
            _slide_link(b, body, link, r, reach)
        else:
            build_link(b, body, link, style)
        at, r = end, small
    direction = unit(at) if np.linalg.norm(at) > 1e-6 else Z
    flange = max(0.018 if family != "hobby" else 0.01, 0.85 * r)
    tip = at + 0.35 * flange * direction
    b.rod(body, at - 0.4 * flange * direction, tip, flange, "metal" if b.chance(0.7) else "dark")
    if family == "palletiser":  # the parallel bar beside the upper arm
        upper = spec.body("link_1")
        far = 1.25 * across(Y, X) * 0.08 * reach
        shift = -abs(far) * X + 0.03 * reach * Y
        b.rod(upper, shift, shift + np.asarray(chain[1].end) * reach, 0.012 * reach, "second")
    return MadeArm(spec, body.name, tuple(tip), _quat_to(direction), tuple(homes), tuple(spreads), flange)


def _slide_link(b: Builder, body: mujoco.MjsBody, link: Link, r: float, reach: float) -> None:
    """A quill, or a carriage with a column."""
    along = unit(link.end)
    if abs(float(along @ link.axis)) > 0.9:
        b.rod(body, -along * 0.25 * reach, link.end, 0.3 * r, "metal")
        b.rod(body, link.end - 0.5 * r * along, link.end, 0.5 * r, "dark")
        return
    b.block(body, (0, 0.4 * float(link.end[1]), 0), (1.2 * r, 0.6 * r, 1.3 * r), "primary")
    low, high = link.end.copy(), link.end.copy()
    high[2] += 0.7 * abs(float(link.end[2])) + 0.15 * reach
    low[2] += 0.0
    b.mesh(body, solid(low, high, (0.5 * r, 0.5 * r), (0.5 * r, 0.5 * r), X, 9.0), "metal")
    b.rod(body, (0, 0, 0), (0, float(link.end[1]), 0), 0.4 * r, "dark")
