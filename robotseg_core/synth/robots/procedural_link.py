# SPDX-License-Identifier: Apache-2.0
"""One link of a generated robot: the housing of its joint, the body up to the next joint, and what is mounted on it."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from robotseg_core.synth.robots.shapes import Builder, Points, Vector, across, bezier, lathe, solid, sweep, unit


@dataclass(frozen=True)
class LinkStyle:
    """What all links of one robot have in common.

    Attributes:
        body: tube, casting, shell (bulging), plates (two cheeks) or bars.
        housing: cylinder, sphere, box or servo.
        power: roundness of castings, 2 (round) to 9 (boxy).
        width: half width of a link's body over the radius of its joint.
        flat: second half width over the first.
        bow: how far a link bends sideways, as a share of its length.
        caps: coloured caps on the housings.
        bolts: a ring of screws on the housings.
        extras: how often a link carries a cover, motor, box or cable clamp.
    """

    body: str
    housing: str
    power: float
    width: float
    flat: float
    bow: float
    caps: bool
    bolts: bool
    extras: float


@dataclass(frozen=True)
class Link:
    """Geometry of a link in its body's frame, metres: joint at the origin about ``axis``, next joint at ``end``.

    Attributes:
        axis: [3] direction of the own joint.
        end: [3] where the next joint is.
        next_axis: [3] its direction.
        radius, next_radius: of the two joints' housings.
        half: half length of the own housing.
        side: the body runs this far beside the joints, along ``axis``.
    """

    axis: Vector
    end: Vector
    next_axis: Vector
    radius: float
    next_radius: float
    half: float
    side: float = 0.0


def build_link(b: Builder, body: mujoco.MjsBody, link: Link, style: LinkStyle) -> None:
    """Put all geoms of ``link`` on ``body``."""
    length = float(np.linalg.norm(link.end))
    along = unit(link.end) if length > 1e-6 else across(link.axis)
    shift = link.side * link.axis
    rolls = abs(float(np.dot(along, link.axis))) > 0.7
    if rolls:
        collar(b, body, link, style, length)
    else:
        housing(b, body, shift, link.axis, link.radius, link.half, style)
    if length < 0.6 * min(link.radius, link.next_radius):
        return
    if link.side and not rolls:
        housing(b, body, link.end + shift, link.next_axis, link.next_radius, link.half * 0.95, style)
    start, end = shift.copy(), link.end + shift
    _body(b, body, start, end, link, style)
    if b.chance(style.extras) and length > 1.5 * link.radius:
        extra(b, body, start, end, link, style)


def collar(b: Builder, body: mujoco.MjsBody, link: Link, style: LinkStyle, length: float) -> None:
    """The start of a link that turns about its own length: a flange, sometimes with a coloured ring."""
    r, way = link.radius, link.axis * (1.0 if np.dot(link.axis, link.end) >= 0 else -1.0)
    high = min(0.6 * r, 0.4 * length) if length > 0 else 0.5 * r
    b.mesh(body, lathe((0, 0, 0), way, [(0, 0.96 * r), (0.1 * high, r), (0.8 * high, r), (high, 0.85 * r)]), "primary")
    if style.caps:
        b.rod(body, -0.04 * r * way, 0.12 * high * way, 1.015 * r, "cap")
    if style.bolts:
        bolts(b, body, 0.8 * high * way, way, 0.9 * r, 0.07 * r)


def bolts(b: Builder, body: mujoco.MjsBody, centre: Points, axis: Points, circle: float, radius: float) -> None:
    """Six screw heads."""
    axis = unit(axis)
    x = across(axis)
    y = np.cross(axis, x)
    for angle in np.arange(6) * np.pi / 3:
        at = np.asarray(centre) + circle * (np.cos(angle) * x + np.sin(angle) * y)
        b.rod(body, at - 0.5 * radius * axis, at + radius * axis, radius, "metal")


def housing(
    b: Builder, body: mujoco.MjsBody, centre: Points, axis: Points, r: float, half: float, style: LinkStyle
) -> None:
    """The housing of a joint about ``axis``, ``half`` metres long to either side."""
    c, axis = np.asarray(centre, np.float64), unit(axis)
    role = "primary" if style.housing in ("sphere", "cylinder") else "joint"
    ends = (c - half * axis, c + half * axis)
    if style.housing == "sphere":
        edge = 0.35 * half
        round_ = [(0, 0.55 * r), (0.3 * edge, 0.85 * r), (edge, r), (2 * half - edge, r)]
        round_ += [(2 * half - 0.3 * edge, 0.85 * r), (2 * half, 0.55 * r)]
        b.mesh(body, lathe(ends[0], axis, round_), role)
    elif style.housing == "cylinder":
        edge = min(0.12 * r, 0.3 * half)
        b.mesh(body, lathe(ends[0], axis, [(0, r - edge), (edge, r), (2 * half - edge, r), (2 * half, r - edge)]), role)
    elif style.housing == "box":
        b.mesh(body, solid(*ends, (r, r), (r, r), power=max(style.power, 4.0), chamfer=0.12 * r), role)
    else:
        up = across(axis, (0.0, 0.0, 1.0))
        low = c - 0.45 * r * up
        b.mesh(
            body, solid(low - half * axis, low + half * axis, (1.2 * r, 0.62 * r), (1.2 * r, 0.62 * r), up, 9.0), "dark"
        )
        for s in (-1, 1):
            b.rod(body, c + s * half * axis, c + s * (half + 0.25 * r) * axis, 0.55 * r, "metal")
        return
    if style.caps:
        dome = 0.12 * r
        for end, way in ((ends[0], -axis), (ends[1], axis)):
            wide = 0.8 * r if style.housing != "sphere" else 0.53 * r
            b.mesh(body, lathe(end, way, [(-0.02 * r, wide), (0.5 * dome, wide), (dome, 0.8 * wide)]), "cap")
    if style.bolts:
        for end, way in ((ends[0], -axis), (ends[1], axis)):
            bolts(b, body, end, way, (0.88 if style.caps else 0.7) * r, 0.07 * r)


def _body(b: Builder, body: mujoco.MjsBody, start: Vector, end: Vector, link: Link, style: LinkStyle) -> None:
    along = unit(end - start)
    length = float(np.linalg.norm(end - start))
    wide0, wide1 = style.width * link.radius, style.width * link.next_radius
    thin0, thin1 = wide0 * style.flat, wide1 * style.flat
    up = np.cross(along, link.next_axis)
    up = across(along, up if np.linalg.norm(up) > 0.3 else np.cross(along, link.axis))
    side = np.cross(along, up)
    if style.body == "tube":
        bow = style.bow * length * up
        path = bezier([start, start + 0.33 * length * along + bow, end - 0.33 * length * along + bow, end], 9)
        t = np.linspace(0, 1, 9)[:, None]
        half = np.concatenate([wide0 * (1 - t) + wide1 * t] * 2, axis=1)
        b.mesh(body, sweep(path, half, 2.0, up), "second" if style.housing != "sphere" else "primary")
    elif style.body == "casting":
        bow = style.bow * length * up
        path = bezier([start, start + 0.4 * length * along + bow, end - 0.4 * length * along + bow, end], 9)
        t = np.linspace(0, 1, 9)[:, None]
        waist = 1 - 0.25 * np.sin(np.pi * t) * (style.width < 0.9)
        half = np.concatenate([(wide0 * (1 - t) + wide1 * t) * waist, (thin0 * (1 - t) + thin1 * t) * waist], axis=1)
        b.mesh(body, sweep(path, half, style.power, up), "primary")
        if b.chance(0.35):  # a rib or recessed panel on both sides
            mid, far = start + 0.5 * length * along + 0.75 * bow, 0.5 * (thin0 + thin1)
            for s in (-1, 1):
                at = mid + s * 0.86 * far * side
                size = (0.45 * wide0, 0.18 * far)
                b.mesh(
                    body,
                    solid(at - 0.22 * length * along, at + 0.22 * length * along, size, size, up, 6.0, 0.004),
                    "second",
                )
    elif style.body == "shell":
        swell = 1 + 0.5 * style.bow
        profile = [(0.0, wide0), (0.2, wide0 * swell), (0.5, 0.5 * (wide0 + wide1)), (0.8, wide1 * swell), (1.0, wide1)]
        b.mesh(body, lathe(start, along, [(s * length, r) for s, r in profile]), "primary")
        if b.chance(0.4):
            seam = start + 0.5 * length * along
            b.rod(body, seam - 0.004 * along, seam + 0.004 * along, 0.502 * (wide0 + wide1), "dark")
    elif style.body == "plates":
        gap = 0.95 * link.half
        thick = max(0.0015, 0.08 * link.radius)
        axis = link.axis if abs(float(np.dot(link.axis, along))) < 0.5 else across(along, side)
        up = np.cross(axis, along)
        reach0, reach1 = 0.8 * wide0 * along, 0.8 * wide1 * along
        for s in (-1, 1):
            shift = s * (gap + thick) * axis
            plate = solid(start + shift - reach0, end + shift + reach1, (wide0, thick), (wide1, thick), up, 5.0, 0.0)
            b.mesh(body, plate, "primary")
        for share in (0.3, 0.7):
            at = start + share * length * along
            b.rod(body, at - gap * axis, at + gap * axis, max(0.002, 0.18 * link.radius), "metal")
    else:
        radius = max(0.003, 0.3 * min(wide0, wide1))
        for s in (-1, 1):
            shift = s * 0.6 * min(wide0, wide1) * up
            b.rod(body, start + shift, end + shift, radius, "metal" if b.chance(0.5) else "primary")
        mid = start + 0.5 * length * along
        size = (0.95 * min(wide0, wide1), 0.4 * wide0)
        b.mesh(
            body, solid(mid - 0.08 * length * along, mid + 0.08 * length * along, size, size, up, 5.0, 0.003), "joint"
        )


def extra(b: Builder, body: mujoco.MjsBody, start: Vector, end: Vector, link: Link, style: LinkStyle) -> None:
    """A motor, a cover, a connector box, a band or a run of cable on the link."""
    along = unit(end - start)
    length = float(np.linalg.norm(end - start))
    up = across(along, np.cross(along, link.next_axis) + 0.01) * b.rng.choice([-1.0, 1.0])
    side = np.cross(along, up)
    wide = style.width * min(link.radius, link.next_radius)
    at = start + b.between(0.3, 0.7) * length * along
    kind = b.rng.choice(["motor", "cover", "box", "band", "cable", "sticker", "sleeve"])
    if kind == "motor":
        r = 0.5 * wide
        foot = start + 0.25 * length * along + 0.6 * wide * up
        b.mesh(body, lathe(foot, up, [(0, r), (1.2 * wide, r), (1.3 * wide, 0.85 * r)]), "dark")
        b.rod(body, foot + 1.3 * wide * up, foot + 1.45 * wide * up, 0.7 * r, "metal")
    elif kind == "cover":
        size = (0.5 * wide, 0.5 * wide)
        at = at + 0.75 * wide * up
        b.mesh(
            body, solid(at - 0.2 * length * along, at + 0.2 * length * along, size, size, up, 4.0, 0.3 * wide), "second"
        )
    elif kind == "box":
        size = (0.3 * wide, 0.45 * wide)
        at = at + 0.9 * wide * up
        b.mesh(body, solid(at - 0.4 * wide * along, at + 0.4 * wide * along, size, size, up, 9.0), "accent")
    elif kind == "band":
        size = (1.04 * style.width * link.radius, 1.04 * style.width * link.radius * style.flat)
        thick = b.between(0.02, 0.06) * length
        if style.body in ("tube", "shell", "casting") and style.bow < 0.05:
            b.mesh(body, solid(at - thick * along, at + thick * along, size, size, up, style.power), "accent")
    elif kind == "sleeve" and style.bow < 0.05:  # cloth or bellows around the link
        r, folds = 1.15 * style.width * max(link.radius, link.next_radius), int(b.rng.integers(6, 14))
        spots = np.linspace(0.1, b.between(0.5, 0.9), 2 * folds)
        wide_ = r * (1 + b.between(0.02, 0.12) * (-1.0) ** np.arange(2 * folds) + 0.03 * b.rng.normal(size=2 * folds))
        b.mesh(body, lathe(start, along, list(zip((spots * length).tolist(), wide_.tolist(), strict=True))), "dark")
    elif kind == "sticker" and style.body == "casting":
        far = style.flat * wide * 0.97
        half = (0.35 * wide, 0.06 * far)
        at = at + far * side * b.rng.choice([-1.0, 1.0])
        b.mesh(body, solid(at - 0.12 * length * along, at + 0.12 * length * along, half, half, up, 9.0), "accent")
    else:
        far = 1.06 * wide * up + b.between(-0.4, 0.4) * wide * side
        points = [
            start + far,
            start + 0.35 * length * along + 1.25 * far,
            end - 0.3 * length * along + 1.1 * far,
            end + far,
        ]
        curve = bezier(points, 7)
        for p, q in zip(curve[:-1], curve[1:], strict=True):
            b.rod(body, p, q, 0.11 * wide + 0.001, "dark", round_=True)
        clamp = curve[3]
        b.mesh(
            body,
            solid(
                clamp - 0.1 * wide * along, clamp + 0.1 * wide * along, (0.3 * wide,) * 2, (0.3 * wide,) * 2, up, 6.0
            ),
            "metal",
        )
