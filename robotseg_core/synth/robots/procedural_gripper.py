# SPDX-License-Identifier: Apache-2.0
"""Grippers and tools that do not exist: root body ``hand`` at the flange, z away from the arm."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from robotseg_core.synth.robots.gripper_parts import add_adapters, add_camera, add_finger, add_palm
from robotseg_core.synth.robots.shapes import Builder, across, bezier, lathe, solid, sweep

X, Y, Z = np.eye(3)
HINGE, SLIDE = mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE

KINDS: dict[str, float] = {
    "parallel": 0.34,
    "adaptive": 0.18,
    "angular": 0.1,
    "jaw": 0.14,
    "three": 0.1,
    "suction": 0.1,
    "wide": 0.06,
    "soft": 0.04,
    "hand": 0.04,
    "tool": 0.04,
}
"""Kinds of grippers and how often each is built."""

Grip = list[tuple[str, float, float]]


@dataclass(frozen=True)
class MadeGripper:
    """A generated gripper: its specification (root body ``hand``) and its joints as (name, open, closed)."""

    spec: mujoco.MjSpec
    grip: tuple[tuple[str, float, float], ...]


def build_gripper(rng: np.random.Generator, flange: float, kind: str | None = None) -> MadeGripper:
    """A random gripper for a flange of radius ``flange`` (metres)."""
    if kind is None:
        share = np.array(list(KINDS.values()))
        kind = str(rng.choice(list(KINDS), p=share / share.sum()))
    spec = mujoco.MjSpec()
    b = Builder(spec, rng)
    hand = spec.worldbody.add_body(name="hand")
    size = float(np.clip(flange, 0.016, 0.06)) * b.between(0.8, 1.25)  # half width of the palm
    z = add_adapters(b, hand, flange)
    make = {
        "parallel": _parallel,
        "wide": _parallel,
        "adaptive": _adaptive,
        "angular": _angular,
        "jaw": _jaw,
        "three": _three,
        "suction": _suction,
        "soft": _soft,
        "hand": _fingers,
        "tool": _tool,
    }
    grip = make[kind](b, hand, z, size, kind)
    if b.chance(0.3):
        add_camera(b, hand, 0.6 * z, max(size, flange))
    return MadeGripper(spec, tuple(grip))


def _parallel(b: Builder, hand: mujoco.MjsBody, z: float, size: float, kind: str) -> Grip:
    wide = size * (b.between(1.0, 1.6) if kind == "parallel" else b.between(2.2, 3.5))
    start = add_palm(b, hand, z, size, wide)
    length = size * (b.between(1.4, 3.2) if kind == "parallel" else b.between(2.0, 3.5))
    half = size * b.between(0.16, 0.34)
    deep = size * (b.between(0.2, 0.5) if kind == "parallel" else b.between(0.9, 1.8))
    open_, shape = b.between(0.55, 0.95) * wide, str(b.rng.choice(["straight", "taper", "hook", "plate"]))
    if b.chance(0.5):
        b.box(hand, (0, 0, start), (1.05 * wide, 0.25 * size, 0.08 * size), "metal")
    grip = []
    alike = b.rng.bit_generator.state  # of both fingers
    for name, s in (("left", 1), ("right", -1)):
        finger = hand.add_body(name=name, pos=[0, 0, start])
        finger.add_joint(name=name, type=SLIDE, axis=[s, 0, 0])
        b.block(
            finger,
            (s * half, 0, 0.1 * size),
            (1.3 * half, min(deep, 0.45 * size) * 1.1, 0.16 * size),
            "metal" if b.chance(0.5) else "dark",
        )
        finger_body = finger.add_body(name=f"{name}_tip", pos=[s * half, 0, 0.15 * size])
        b.rng.bit_generator.state = alike
        add_finger(b, finger_body, length, half, -s, shape, deep)
        grip.append((name, open_, b.between(0.0, 0.1) * open_))
    return grip


def _adaptive(b: Builder, hand: mujoco.MjsBody, z: float, size: float, kind: str) -> Grip:
    """Two fingers on four-bar linkages, the tips staying parallel."""
    start = add_palm(b, hand, z, size, b.between(0.9, 1.2) * size)
    bar, gap, thick = b.between(1.0, 1.7) * size, 0.35 * size, b.between(0.1, 0.2) * size
    length, deep = b.between(0.9, 1.8) * size, b.between(0.2, 0.4) * size
    knuckle = b.between(0.4, 0.7) * size
    wide, closed, grip = b.between(0.7, 1.0), -b.between(0.1, 0.3), []
    shape = str(b.rng.choice(["straight", "taper", "plate"]))
    bar_role = str(b.rng.choice(["metal", "dark", "second"]))
    alike = b.rng.bit_generator.state  # of both fingers
    for name, s in (("left", 1), ("right", -1)):
        for k, shift in enumerate((0.0, gap)):
            link = hand.add_body(
                name=f"{name}_bar_{k}", pos=[s * (knuckle + shift), 0, start - 0.15 * size - 0.25 * shift]
            )
            link.add_joint(name=f"{name}_bar_{k}", type=HINGE, axis=[0, s, 0])
            for y in (-1, 1):
                b.mesh(
                    link,
                    solid((0, y * deep, 0), (0, y * deep, bar), (thick, 0.3 * deep), (thick, 0.3 * deep), X, 4.0),
                    bar_role,
                )
            for end in (0.0, bar):
                b.rod(link, (0, -1.4 * deep, end), (0, 1.4 * deep, end), 0.7 * thick, "metal")
            grip.append((f"{name}_bar_{k}", wide, closed))
            if k == 0:
                tip = link.add_body(name=f"{name}_tip", pos=[0, 0, bar])
                tip.add_joint(name=f"{name}_tip", type=HINGE, axis=[0, s, 0])
                b.block(tip, (s * 0.5 * gap, 0, 0), (0.5 * gap + thick, 0.8 * deep, 1.3 * thick), bar_role)
                b.rng.bit_generator.state = alike
                add_finger(b, tip, length, 1.2 * thick, -s, shape, deep)
                grip.append((f"{name}_tip", -wide, -closed))
    return grip


def _angular(b: Builder, hand: mujoco.MjsBody, z: float, size: float, kind: str) -> Grip:
    start = add_palm(b, hand, z, size, b.between(0.8, 1.1) * size)
    length, half, deep = b.between(1.3, 2.8) * size, b.between(0.15, 0.3) * size, b.between(0.2, 0.45) * size
    shape, knuckle, grip = str(b.rng.choice(["straight", "taper", "hook"])), b.between(0.3, 0.6) * size, []
    alike = b.rng.bit_generator.state  # of both fingers
    for name, s in (("left", 1), ("right", -1)):
        finger = hand.add_body(name=name, pos=[s * knuckle, 0, start])
        finger.add_joint(name=name, type=HINGE, axis=[0, s, 0])
        b.rod(finger, (0, -1.2 * deep, 0), (0, 1.2 * deep, 0), 1.3 * half, "metal")
        b.rng.bit_generator.state = alike
        add_finger(b, finger, length, half, -s, shape, deep)
        grip.append((name, b.between(0.4, 0.9), -0.15))
    return grip


def _jaw(b: Builder, hand: mujoco.MjsBody, z: float, size: float, kind: str) -> Grip:
    """A broad jaw that turns against a fixed one, with the motor in sight, as hobby arms have it."""
    start = add_palm(b, hand, z, size, b.between(0.9, 1.4) * size)
    length, deep, knuckle = b.between(2.2, 4.5) * size, b.between(0.45, 1.0) * size, b.between(0.4, 0.8) * size
    side = 1 if b.chance(0.5) else -1
    role = str(b.rng.choice(["primary", "second", "dark", "metal"]))
    t = np.linspace(0, 1, 7)[:, None]
    for name, s in (("fixed", side), ("moving", -side)):
        jaw = hand.add_body(name=name, pos=[s * knuckle, 0, start])
        half = b.between(0.25, 0.55) * size
        middle, end = b.between(-0.3, 0.3) * half * X + 0.5 * length * Z, -s * b.between(0.6, 1.0) * knuckle * X
        path = bezier([-0.3 * half * Z, middle, end + length * Z], 7)
        wide = np.concatenate([half * (1.3 - 1.1 * t), deep * (1 - b.between(0.2, 0.7) * t)], axis=1)
        b.mesh(jaw, sweep(path, wide, b.between(3.0, 9.0), X), role)
        if name == "moving":
            jaw.add_joint(name=name, type=HINGE, axis=[0, s, 0])
            b.rod(jaw, (0, -1.2 * deep, 0), (0, 1.2 * deep, 0), 0.6 * half, "metal")
            motor = (s * (knuckle + 0.3 * size), b.between(-0.6, 0.6) * size, start - 0.5 * size)
            b.box(hand, motor, (0.5 * size, 0.45 * size, 0.7 * size), "dark")
    return [("moving", b.between(0.5, 1.2), -0.05)]


def _three(b: Builder, hand: mujoco.MjsBody, z: float, size: float, kind: str) -> Grip:
    start = add_palm(b, hand, z, size, size)
    length, half, grip = b.between(0.8, 1.5) * size, b.between(0.16, 0.26) * size, []
    role = str(b.rng.choice(["metal", "dark", "second"]))
    for i in range(3):
        turn = i * 2 * np.pi / 3
        out = np.cos(turn) * X + np.sin(turn) * Y
        axis = np.cross(Z, out)
        finger = hand.add_body(name=f"finger_{i}", pos=(0.75 * size * out + start * Z).tolist())
        finger.add_joint(name=f"finger_{i}", type=HINGE, axis=axis.tolist())
        b.rod(finger, -half * axis, half * axis, 1.2 * half, "joint")
        b.mesh(finger, solid((0, 0, 0), length * Z, (half, half), (0.85 * half, 0.85 * half), out, 4.0), role)
        tip = finger.add_body(name=f"tip_{i}", pos=(length * Z).tolist())
        tip.add_joint(name=f"tip_{i}", type=HINGE, axis=axis.tolist())
        b.rod(tip, -0.9 * half * axis, 0.9 * half * axis, half, "joint")
        b.mesh(
            tip,
            solid(
                (0, 0, 0), 0.9 * length * Z, (0.8 * half, 0.8 * half), (0.5 * half, 0.6 * half), out, 4.0, 0.2 * half
            ),
            role,
        )
        grip += [(f"finger_{i}", b.between(0.3, 0.8), -0.1), (f"tip_{i}", -0.1, -b.between(0.3, 0.9))]
    return grip


def _suction(b: Builder, hand: mujoco.MjsBody, z: float, size: float, kind: str) -> Grip:
    """A tool plate or a post with one to eight cups."""
    count = int(b.rng.choice([1, 1, 2, 4, 6, 8]))
    drop, cup = b.between(0.5, 2.0) * size, size * (b.between(0.4, 0.8) if count < 3 else b.between(0.25, 0.45))
    b.rod(hand, (0, 0, z), (0, 0, z + drop), b.between(0.25, 0.7) * size, "primary")
    z += drop
    spots = [np.zeros(3)]
    if count > 1:
        rows = 1 if count == 2 else 2
        dx, dy = b.between(1.1, 1.8) * size, b.between(0.8, 1.5) * size
        columns = count // rows
        spots = [
            np.array([(c - (columns - 1) / 2) * dx, (q - (rows - 1) / 2) * 2 * dy, 0])
            for c in range(columns)
            for q in range(rows)
        ]
        half = (0.5 * (columns - 1) * dx + 0.6 * size, (rows - 1) * dy + 0.5 * size, 0.12 * size)
        if b.chance(0.5):
            b.block(hand, (0, 0, z), half, "metal" if b.chance(0.6) else "second", 8.0)
        else:  # aluminium profiles
            b.box(hand, (0, 0, z), (half[0], 0.15 * size, 0.15 * size), "metal")
            for x in sorted({float(s[0]) for s in spots}):
                b.box(hand, (x, 0, z + 0.1 * size), (0.12 * size, half[1], 0.12 * size), "metal")
    role, stem = str(b.rng.choice(["accent", "dark", "joint", "cap"])), b.between(0.3, 1.0) * size
    for spot in spots:
        at = spot + z * Z
        b.rod(hand, at, at + stem * Z, 0.25 * cup, "metal")
        profile = [(0.0, 0.35 * cup)]
        for k in range(int(b.rng.integers(1, 4))):
            profile += [((2 * k + 1) * 0.2 * cup, 0.8 * cup), ((2 * k + 2) * 0.2 * cup, 0.55 * cup)]
        profile.append((profile[-1][0] + 0.35 * cup, cup))
        b.mesh(hand, lathe(at + stem * Z, Z, profile, 18), role)
        if b.chance(0.5):
            curve = bezier(
                [at + 0.2 * stem * Z, at + size * across(Z, (1, 1, 0)), np.array([0, 0.5 * size, 0.3 * z])], 6
            )
            for p, q in zip(curve[:-1], curve[1:], strict=True):
                b.rod(hand, p, q, 0.08 * size, "accent", round_=True)
    return []


def _soft(b: Builder, hand: mujoco.MjsBody, z: float, size: float, kind: str) -> Grip:
    """Bellows fingers."""
    start, count, grip = add_palm(b, hand, z, size, size), int(b.rng.integers(2, 5)), []
    length, half, bend = b.between(1.6, 2.8) * size, b.between(0.22, 0.35) * size, b.between(-0.2, 0.5)
    for i in range(count):
        turn = i * 2 * np.pi / count
        out = np.cos(turn) * X + np.sin(turn) * Y
        finger = hand.add_body(name=f"finger_{i}", pos=(0.7 * size * out + start * Z).tolist())
        finger.add_joint(name=f"finger_{i}", type=HINGE, axis=np.cross(Z, out).tolist())
        b.mesh(
            finger, solid((0, 0, -0.2 * half), 0.5 * half * Z, (1.2 * half,) * 2, (1.2 * half,) * 2, out, 5.0), "metal"
        )
        path = bezier([(0, 0, 0), 0.5 * length * Z + 0.2 * length * out, length * Z - bend * length * out], 17)
        ribs = 1 - 0.25 * (np.arange(17) % 2)
        taper = np.linspace(1, 0.6, 17) * ribs * half
        b.mesh(finger, sweep(path, np.stack([taper, 0.8 * np.linspace(1, 0.7, 17) * half], 1), 4.0, out), "accent")
        grip.append((f"finger_{i}", 0.5, -0.2))
    return grip


def _fingers(b: Builder, hand: mujoco.MjsBody, z: float, size: float, kind: str) -> Grip:
    """A hand with four fingers and a thumb."""
    wide, high = 1.3 * size, 2.2 * size
    b.block(hand, (0, 0, z + 0.5 * high), (wide, 0.45 * size, 0.5 * high), "primary", 4.0, 0.3)
    grip, r, close = [], b.between(0.2, 0.27) * size, b.between(0.8, 1.3)
    for i in range(5):
        thumb = i == 4
        pos = [1.1 * wide, 0.2 * size, z + 0.4 * high] if thumb else [(i - 1.5) * 0.6 * wide, 0, z + high]
        body, axis = hand, [0, 1, -0.6] if thumb else [-1, 0, 0]
        long = size * (0.8 if thumb else 0.9 - 0.12 * abs(i - 1.5))
        for k in range(2 if thumb else 3):
            body = body.add_body(name=f"finger_{i}_{k}", pos=pos)
            body.add_joint(name=f"finger_{i}_{k}", type=HINGE, axis=axis)
            b.ball(body, (0, 0, 0), 1.1 * r, "joint")
            end = (0.5 * long, 0, 0.8 * long) if thumb and k == 0 else (0, 0, long)
            b.rod(body, (0, 0, 0), end, r, "second" if k else "primary", round_=True)
            grip.append((f"finger_{i}_{k}", 0.05, close * (0.5 if thumb else 1.0)))
            pos, long = list(end), 0.75 * long
    return grip


def _tool(b: Builder, hand: mujoco.MjsBody, z: float, size: float, kind: str) -> Grip:
    """A torch, a spindle or a screwdriver: no joints."""
    tilt = b.between(-0.5, 0.5)
    way = np.array([np.sin(tilt), 0, np.cos(tilt)])
    long = b.between(1.5, 3.0) * size
    b.mesh(
        hand,
        lathe(
            (0, 0, z),
            way,
            [(-0.2 * size, 0.7 * size), (0.6 * long, 0.7 * size), (0.7 * long, 0.4 * size), (long, 0.35 * size)],
        ),
        "second",
    )
    start = np.array([0, 0, z]) + 0.97 * long * way
    bent = b.chance(0.5) * 0.5 * long
    path = bezier([start, start + 0.5 * long * way, start + 0.7 * long * way + bent * X], 8)
    half = np.linspace(0.25, 0.1, 8)[:, None] * size * np.ones((1, 2))
    b.mesh(hand, sweep(path, half, 2.0, Y), str(b.rng.choice(["metal", "accent", "dark"])))
    return []
