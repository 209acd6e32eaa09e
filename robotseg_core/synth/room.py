# SPDX-License-Identifier: Apache-2.0
"""Surroundings: floor, walls, table and things that are not robots, some of them jointed and metallic."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

from robotseg_core.synth import textures
from robotseg_core.synth.look import random_colour
from robotseg_core.synth.scene import Scene, add_texture

GEOM = mujoco.mjtGeom
HIDDEN_Z = -50.0


@dataclass(frozen=True)
class Thing:
    """A movable thing: its body, the radius of its foot, its height (metres)."""

    body: str
    radius: float
    height: float


@dataclass(frozen=True)
class Table:
    """A table top: middle, half sizes along x and y, height of its surface (metres)."""

    x: float
    y: float
    half_x: float
    half_y: float
    z: float


@dataclass(frozen=True)
class Room:
    """What was built.

    Attributes:
        floor_z: height of the floor, metres.
        table: the table, or None.
        things: to be placed with :func:`place_things`.
        occluder: a thing for :mod:`robotseg_core.synth.occluder` to put before the camera, or None.
        clear: how far from the middle a camera may stand, metres.
    """

    floor_z: float
    table: Table | None
    things: tuple[Thing, ...]
    clear: float = 1.9
    occluder: Thing | None = None


class RoomBuilder:
    """Adds surroundings to a scene's specification.

    Args:
        spec: the specification under construction.
        rng: source of every choice.
    """

    def __init__(self, spec: mujoco.MjSpec, rng: np.random.Generator) -> None:
        self.spec, self.rng, self._count = spec, rng, 0
        self._packages: list[str] = []

    def _name(self, kind: str) -> str:
        self._count += 1
        return f"room_{kind}_{self._count}"

    def _textured(self, kinds: tuple, repeat: float, size: int = 512, cube: bool = False) -> str:
        name = self._name("mat")
        add_texture(self.spec, name + "_tex", textures.random_texture(self.rng, kinds, size), cube=cube)
        gloss = float(self.rng.uniform(0, 0.4))
        mat = self.spec.add_material(name=name, specular=gloss, shininess=float(self.rng.uniform(0.1, 0.8)))
        mat.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name + "_tex"
        mat.texrepeat = [repeat, repeat]
        return name

    def _plain(self, metal: bool = False) -> str:
        name = self._name("mat")
        colour = np.full(3, self.rng.uniform(0.1, 0.75)) if metal else random_colour(self.rng)
        rgba = [float(c) for c in colour] + [1.0]
        gloss, shine = (0.9, 0.5) if metal else (float(self.rng.uniform(0, 0.6)), float(self.rng.uniform(0.1, 0.9)))
        self.spec.add_material(name=name, rgba=rgba, specular=gloss, shininess=shine)
        return name

    def floor(self, z: float, half: float = 6.0) -> None:
        """A floor at height ``z``."""
        repeat = float(self.rng.uniform(4, 12))
        material = self._textured(textures.FLOORS, repeat)
        self.spec.worldbody.add_geom(type=GEOM.mjGEOM_PLANE, size=[half, half, 0.1], pos=[0, 0, z], material=material)

    def walls(self, z: float, distance: tuple[float, float], height: float = 4.0) -> None:
        """Four walls around, each ``distance`` (from, to) metres away, with some boards on them."""
        for i, (nx, ny) in enumerate(((1, 0), (-1, 0), (0, 1), (0, -1))):
            away = float(self.rng.uniform(*distance))
            if i == 0 or self.rng.random() < 0.5:
                material = self._textured(textures.WALLS, float(self.rng.uniform(2, 5)))
            normal = np.array([-nx, -ny, 0.0])
            self.spec.worldbody.add_geom(
                type=GEOM.mjGEOM_PLANE,
                size=[6, 6, 0.1],
                pos=[nx * away, ny * away, z + height / 2],
                zaxis=normal.tolist(),
                material=material,
            )
            for _ in range(int(self.rng.integers(0, 3))):
                along, up = float(self.rng.uniform(-2, 2)), z + float(self.rng.uniform(0.9, 2.2))
                w, h = float(self.rng.uniform(0.15, 0.6)), float(self.rng.uniform(0.15, 0.5))
                inset = away - 0.02
                pos = [nx * inset + abs(ny) * along, ny * inset + abs(nx) * along, up]
                size = [0.02 if nx else w, 0.02 if ny else w, h]
                mat = self._plain() if self.rng.random() < 0.5 else self._textured((textures.label_print,), 1, 128)
                self.spec.worldbody.add_geom(type=GEOM.mjGEOM_BOX, size=size, pos=pos, material=mat)

    def table(self, x: float, y: float, z: float, floor_z: float, grow: float = 0.0) -> Table:
        """A table whose top is at ``z``, its middle at (x, y), ``grow`` metres larger than usual on each side."""
        half = (float(self.rng.uniform(0.55, 0.95)) + grow, float(self.rng.uniform(0.45, 0.9)) + grow)
        thick = float(self.rng.uniform(0.01, 0.03))
        top = self._textured(textures.TOPS, float(self.rng.uniform(1, 3)))
        legs = self._plain(metal=True)
        add = self.spec.worldbody.add_geom
        add(type=GEOM.mjGEOM_BOX, size=[*half, thick], pos=[x, y, z - thick], material=top)
        length = (z - 2 * thick - floor_z) / 2
        if length > 0.05:
            for sx in (-1, 1):
                for sy in (-1, 1):
                    pos = [x + sx * (half[0] - 0.05), y + sy * (half[1] - 0.05), floor_z + length]
                    add(type=GEOM.mjGEOM_BOX, size=[0.03, 0.03, length], pos=pos, material=legs)
        return Table(x, y, half[0], half[1], z)

    def pedestal(self, x: float, y: float, floor_z: float) -> None:
        """A block from the floor up to height 0 under a robot."""
        half, height = float(self.rng.uniform(0.09, 0.2)), -floor_z / 2
        size, pos = [half, half, height - 0.001], [x, y, floor_z + height - 0.001]
        self.spec.worldbody.add_geom(type=GEOM.mjGEOM_BOX, size=size, pos=pos, material=self._plain())

    def _body(self, kind: str) -> mujoco.MjsBody:
        return self.spec.worldbody.add_body(name=self._name(kind), pos=[0, 0, HIDDEN_Z])

    def thing(self) -> Thing:
        """A random thing: package, can, ball, mug, stack of books, or a jointed stand (lamp, tripod, monitor arm)."""
        kind = self.rng.choice(["package", "can", "ball", "mug", "books", "stand"], p=[0.3, 0.18, 0.1, 0.14, 0.1, 0.18])
        make = {
            "package": self._package,
            "can": self._can,
            "ball": self._ball,
            "mug": self._mug,
            "books": self._books,
            "stand": self._stand,
        }
        return make[str(kind)]()

    def occluder(self) -> Thing:
        """A bar, board or lump around its body's origin, to float before the camera."""
        body, material = self._body("occluder"), self._plain()
        kind = self.rng.random()
        if kind < 0.4:
            size = [float(self.rng.uniform(0.008, 0.03)), float(self.rng.uniform(0.1, 0.5)), 0]
            body.add_geom(type=GEOM.mjGEOM_CAPSULE, size=size, material=material)
        elif kind < 0.75:
            material = self._textured((textures.label_print, *textures.TOPS), 1, 128, cube=True)
            size = [*self.rng.uniform(0.03, 0.15, 2).tolist(), float(self.rng.uniform(0.005, 0.05))]
            body.add_geom(type=GEOM.mjGEOM_BOX, size=size, material=material)
        else:
            body.add_geom(type=GEOM.mjGEOM_ELLIPSOID, size=self.rng.uniform(0.02, 0.09, 3).tolist(), material=material)
        return Thing(body.name, 0.1, 0.1)

    def _package(self) -> Thing:
        half = self.rng.uniform(0.015, 0.07, 3)
        body = self._body("package")
        if self.rng.random() < 0.5:
            material = self._textured((textures.label_print,), 1, 128, cube=True)
        else:
            material = self._plain()
        body.add_geom(type=GEOM.mjGEOM_BOX, size=half.tolist(), pos=[0, 0, half[2]], material=material)
        return Thing(body.name, float(np.hypot(half[0], half[1])), float(2 * half[2]))

    def _can(self) -> Thing:
        r, h = float(self.rng.uniform(0.012, 0.05)), float(self.rng.uniform(0.02, 0.1))
        body = self._body("can")
        material = self._plain(metal=self.rng.random() < 0.4)
        body.add_geom(type=GEOM.mjGEOM_CYLINDER, size=[r, h, 0], pos=[0, 0, h], material=material)
        if self.rng.random() < 0.5:
            neck = [r * 0.4, h * 0.2, 0]
            body.add_geom(type=GEOM.mjGEOM_CYLINDER, size=neck, pos=[0, 0, 2.2 * h], material=self._plain())
        return Thing(body.name, r, 2.4 * h)

    def _ball(self) -> Thing:
        r = float(self.rng.uniform(0.015, 0.06))
        body = self._body("ball")
        body.add_geom(type=GEOM.mjGEOM_SPHERE, size=[r, 0, 0], pos=[0, 0, r], material=self._plain())
        return Thing(body.name, r, 2 * r)

    def _mug(self) -> Thing:
        r, h = float(self.rng.uniform(0.03, 0.045)), float(self.rng.uniform(0.035, 0.055))
        body, material = self._body("mug"), self._plain()
        body.add_geom(type=GEOM.mjGEOM_CYLINDER, size=[r, h, 0], pos=[0, 0, h], material=material)
        inside = [r * 0.88, 0.001, 0]
        body.add_geom(type=GEOM.mjGEOM_CYLINDER, size=inside, pos=[0, 0, 2 * h], material=self._plain())
        turn = np.linspace(-1.2, 1.2, 6)
        arc = np.stack([r + 0.022 * np.cos(turn), np.zeros(6), h + 0.028 * np.sin(turn)], axis=1)
        for a, b in zip(arc[:-1], arc[1:], strict=True):
            body.add_geom(type=GEOM.mjGEOM_CAPSULE, size=[0.005, 0, 0], fromto=[*a, *b], material=material)
        return Thing(body.name, r + 0.03, 2 * h)

    def _books(self) -> Thing:
        body, z = self._body("books"), 0.0
        for _ in range(int(self.rng.integers(1, 5))):
            half = [*self.rng.uniform(0.06, 0.11, 2), float(self.rng.uniform(0.006, 0.02))]
            yaw = float(self.rng.normal(0, 0.2))
            quat = [np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)]
            pos = [0, 0, z + half[2]]
            body.add_geom(type=GEOM.mjGEOM_BOX, size=half, pos=pos, quat=quat, material=self._plain())
            z += 2 * half[2]
        return Thing(body.name, 0.15, z)

    def _stand(self) -> Thing:
        """Foot, two to four bars with round joints between them, and a head: looks jointed, is no robot."""
        body, z = self._body("stand"), 0.012
        metal, dark = self._plain(metal=True), self._plain(metal=self.rng.random() < 0.5)
        thick = float(self.rng.uniform(0.006, 0.022))
        foot = float(self.rng.uniform(0.06, 0.11))
        body.add_geom(type=GEOM.mjGEOM_CYLINDER, size=[foot, 0.012, 0], pos=[0, 0, z], material=dark)
        at, lean = np.array([0.0, 0.0, z]), self.rng.uniform(0, 2 * np.pi)
        for i in range(int(self.rng.integers(2, 5))):
            tilt = self.rng.uniform(-0.3, 0.3) if i == 0 else self.rng.uniform(-1.9, 1.9)
            step = np.array([np.sin(tilt) * np.cos(lean), np.sin(tilt) * np.sin(lean), abs(np.cos(tilt)) + 0.05])
            to = at + step * self.rng.uniform(0.08, 0.26)
            body.add_geom(type=GEOM.mjGEOM_CAPSULE, size=[thick, 0, 0], fromto=[*at, *to], material=metal)
            joint = [thick * float(self.rng.uniform(1.2, 1.9)), 0, 0]
            body.add_geom(type=GEOM.mjGEOM_SPHERE, size=joint, pos=to.tolist(), material=dark)
            at = to
        if self.rng.random() < 0.5:
            body.add_geom(type=GEOM.mjGEOM_ELLIPSOID, size=[0.06, 0.06, 0.04], pos=at.tolist(), material=dark)
        else:
            body.add_geom(type=GEOM.mjGEOM_BOX, size=[0.012, 0.13, 0.08], pos=at.tolist(), material=dark)
        return Thing(body.name, max(foot, float(np.hypot(at[0], at[1])) + 0.1), float(at[2]) + 0.08)


def place_things(
    scene: Scene, room: Room, rng: np.random.Generator, swept: NDArray[np.float64], margin: float = 0.05
) -> int:
    """Put the things on the table (or the floor) clear of each other and of ``swept`` [n, 3]; returns how many fit."""
    taken: list[tuple[float, float, float]] = []
    for thing in room.things:
        body = scene.model.body(thing.body).id
        scene.model.body_pos[body] = (0, 0, HIDDEN_Z)
        for _ in range(25):
            if room.table is not None:
                top = room.table
                x = top.x + rng.uniform(-1, 1) * (top.half_x - 0.05)
                y = top.y + rng.uniform(-1, 1) * (top.half_y - 0.05)
                z = top.z
            else:
                x, y, z = rng.uniform(-1.5, 1.5), rng.uniform(-1.5, 1.5), room.floor_z
            low = swept[(swept[:, 2] < z + thing.height + margin) & (swept[:, 2] > z - 0.5)]
            gap = thing.radius + margin
            if len(low) and ((low[:, 0] - x) ** 2 + (low[:, 1] - y) ** 2).min() < gap**2:
                continue
            if any((x - a) ** 2 + (y - b) ** 2 < (thing.radius + r) ** 2 for a, b, r in taken):
                continue
            yaw = rng.uniform(-np.pi, np.pi)
            scene.model.body_pos[body] = (x, y, z)
            scene.model.body_quat[body] = (np.cos(yaw / 2), 0, 0, np.sin(yaw / 2))
            taken.append((x, y, thing.radius))
            break
    return len(taken)
