# SPDX-License-Identifier: Apache-2.0
"""Surroundings: floor, walls, table, and things that are not robots."""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from dataclasses import dataclass, replace

import mujoco
import numpy as np

from robotseg_core.synth.robots.shapes import Mesh
from robotseg_core.synth.scenes import textures
from robotseg_core.synth.scenes.furniture import add_furniture, add_stand
from robotseg_core.synth.scenes.look import random_colour
from robotseg_core.synth.scenes.machines import dressed_builder
from robotseg_core.synth.scenes.people import add_hand, add_person, people_builder
from robotseg_core.synth.scenes.scene import add_texture
from robotseg_core.synth.scenes.stock import MACHINES, ROBOT_LIKE, SMALL, Stock

GEOM = mujoco.mjtGeom
HIDDEN_Z = -50.0


@dataclass(frozen=True)
class Thing:
    """A thing that is no robot.

    Attributes:
        body: its body; all its geoms belong to it.
        radius, height: of its foot and above its foot, metres.
        on_floor: stands on the floor, not on a table.
        lift: how far it floats above its place, metres.
        name: what it is, "mug".
        kind: thing, machine, furniture, person or hand.
        twin_of: body of an equal thing, or None.
    """

    body: str
    radius: float
    height: float
    on_floor: bool = False
    lift: float = 0.0
    name: str = "thing"
    kind: str = "thing"
    twin_of: str | None = None

    @property
    def robot_like(self) -> bool:
        """Whether it is easily taken for a robot."""
        return self.name in ROBOT_LIKE


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
        things: to be placed with :func:`~robotseg_core.synth.scenes.placing.place_things`.
        held: things for the grippers, in the order of the robots' grippers; None for an empty one.
        fixtures: furniture that stands where it was built: tables, stands under robots, boards on walls.
        stands: by the number of a robot, what it stands on and how high, metres; see :func:`stand_robots`.
        occluder: a thing for :mod:`robotseg_core.synth.rendering.occluder` to put before the camera, or None.
        clear: how far from the middle a camera may stand, metres.
    """

    floor_z: float
    table: Table | None
    things: tuple[Thing, ...]
    clear: float = 1.9
    occluder: Thing | None = None
    held: tuple[Thing | None, ...] = ()
    fixtures: tuple[Thing, ...] = ()
    stands: tuple[tuple[int, Thing, float], ...] = ()


class RoomBuilder:
    """Adds surroundings to a scene's specification.

    Args:
        spec: the specification under construction.
        rng: source of every choice.
        stock: the kinds of things to choose from.
    """

    def __init__(self, spec: mujoco.MjSpec, rng: np.random.Generator, stock: Stock | None = None) -> None:
        self.spec, self.rng, self.stock, self._count = spec, rng, stock or Stock(), 0
        self.fixtures: list[Thing] = []

    def _name(self, kind: str) -> str:
        self._count += 1
        return f"room_{kind}_{self._count}"

    def textured(self, kinds: tuple, repeat: float, size: int = 512, cube: bool = False) -> str:
        """A new material with a random picture of one of ``kinds``; returns its name."""
        name = self._name("mat")
        add_texture(self.spec, name + "_tex", textures.random_texture(self.rng, kinds, size), cube=cube)
        gloss = float(self.rng.uniform(0, 0.4))
        mat = self.spec.add_material(name=name, specular=gloss, shininess=float(self.rng.uniform(0.1, 0.8)))
        mat.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name + "_tex"
        mat.texrepeat = [repeat, repeat]
        return name

    def plain(self, metal: bool = False) -> str:
        """A new material of one colour; returns its name."""
        name = self._name("mat")
        colour = np.full(3, self.rng.uniform(0.1, 0.75)) if metal else random_colour(self.rng)
        rgba = [float(c) for c in colour] + [1.0]
        gloss, shine = (0.9, 0.5) if metal else (float(self.rng.uniform(0, 0.6)), float(self.rng.uniform(0.1, 0.9)))
        self.spec.add_material(name=name, rgba=rgba, specular=gloss, shininess=shine)
        return name

    def bright(self, hue: tuple[float, float] = (0.0, 1.0)) -> str:
        """A new material of one strong colour, its hue (0 to 1) within ``hue``; returns its name."""
        name = self._name("mat")
        colour = colorsys.hsv_to_rgb(self.rng.uniform(*hue), self.rng.uniform(0.6, 1.0), self.rng.uniform(0.45, 1.0))
        gloss, shine = float(self.rng.uniform(0, 0.6)), float(self.rng.uniform(0.1, 0.9))
        self.spec.add_material(name=name, rgba=[*colour, 1.0], specular=gloss, shininess=shine)
        return name

    def mesh(self, body: mujoco.MjsBody, shape: Mesh, material: str) -> None:
        """Put a mesh on ``body``."""
        name = self._name("mesh")
        self.spec.add_mesh(
            name=name,
            uservert=shape.vertices.ravel(),
            userface=shape.faces.ravel(),
            inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL,
        )
        body.add_geom(type=GEOM.mjGEOM_MESH, meshname=name, material=material, contype=0, conaffinity=0, density=1.0)

    def floor(self, z: float, half: float = 6.0, mirror: float = 0.0) -> None:
        """A floor at height ``z`` that reflects ``mirror`` (0 to 1) of the light like a mirror."""
        repeat = float(self.rng.uniform(4, 12))
        material = self.textured(textures.FLOORS, repeat)
        self.spec.material(material).reflectance = mirror
        self.spec.worldbody.add_geom(type=GEOM.mjGEOM_PLANE, size=[half, half, 0.1], pos=[0, 0, z], material=material)

    def walls(self, z: float, distance: tuple[float, float], height: float = 4.0) -> None:
        """Four walls around, each ``distance`` (from, to) metres away, with some boards on them."""
        for i, (nx, ny) in enumerate(((1, 0), (-1, 0), (0, 1), (0, -1))):
            away = float(self.rng.uniform(*distance))
            if i == 0 or self.rng.random() < 0.5:
                material = self.textured(textures.WALLS, float(self.rng.uniform(2, 5)))
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
                mat = self.plain() if self.rng.random() < 0.5 else self.textured((textures.label_print,), 1, 128)
                board = self.spec.worldbody.add_body(name=self._name("board"))
                board.add_geom(type=GEOM.mjGEOM_BOX, size=size, pos=pos, material=mat)
                self.fixtures.append(Thing(board.name, 0.0, 0.0, name="board", kind="furniture"))

    def table(self, x: float, y: float, z: float, floor_z: float, grow: float = 0.0, mirror: float = 0.0) -> Table:
        """A table whose top is at ``z``, its middle at (x, y), ``grow`` metres larger than usual on each side."""
        half = (float(self.rng.uniform(0.55, 0.95)) + grow, float(self.rng.uniform(0.45, 0.9)) + grow)
        thick = float(self.rng.uniform(0.01, 0.03))
        if self.rng.random() < 0.3:  # smooth and plain, often white
            top = self.plain()
            if self.rng.random() < 0.6:
                self.spec.material(top).rgba = [*([float(self.rng.uniform(0.75, 0.97))] * 3), 1.0]
        else:
            top = self.textured(textures.TOPS, float(self.rng.uniform(1, 3)))
        self.spec.material(top).reflectance = mirror
        legs = self.plain(metal=True)
        body = self.spec.worldbody.add_body(name=self._name("table"))
        self.fixtures.append(Thing(body.name, 0.0, 0.0, name="table", kind="furniture"))
        add = body.add_geom
        add(type=GEOM.mjGEOM_BOX, size=[*half, thick], pos=[x, y, z - thick], material=top)
        length = (z - 2 * thick - floor_z) / 2
        if length > 0.05:
            for sx in (-1, 1):
                for sy in (-1, 1):
                    pos = [x + sx * (half[0] - 0.05), y + sy * (half[1] - 0.05), floor_z + length]
                    add(type=GEOM.mjGEOM_BOX, size=[0.03, 0.03, length], pos=pos, material=legs)
        return Table(x, y, half[0], half[1], z)

    def pedestal(self, floor_z: float) -> Thing:
        """What a robot at the origin stands on, down to the floor."""
        body = self.spec.worldbody.add_body(name=self._name("stand"))
        add_stand(dressed_builder(self.spec, self.rng, body.name + "/"), body, floor_z)
        self.fixtures.append(Thing(body.name, 0.3, -floor_z, name="pedestal", kind="furniture"))
        return self.fixtures[-1]

    def _body(self, kind: str) -> mujoco.MjsBody:
        return self.spec.worldbody.add_body(name=self._name(kind), pos=[0, 0, HIDDEN_Z])

    def thing(self, floor: bool = False) -> Thing:
        """A random thing: a small one, something metallic or jointed, or a person's hand; of the floor's kind if asked.

        None of them is a robot, though many are painted like one.
        """
        draw = self.rng.random()
        if floor:
            if draw < 0.25:
                return self._person()
            if draw < 0.6 or not self.stock.floors:
                return self._furniture()
            return self.machine(str(self.rng.choice(self.stock.floors)), floor=True)
        if draw < 0.5 or (draw < 0.9 and not self.stock.tables):
            return self.small()
        if draw < 0.9:
            return self.machine(str(self.rng.choice(self.stock.tables)))
        return self.hand()

    def _person(self) -> Thing:
        body = self._body("person")
        size = add_person(people_builder(self.spec, self.rng, body.name + "/"), body)
        return Thing(body.name, *size, on_floor=True, name="person", kind="person")

    def _furniture(self) -> Thing:
        body = self._body("furniture")
        name, radius, height = add_furniture(dressed_builder(self.spec, self.rng, body.name + "/"), body)
        return Thing(body.name, radius, height, on_floor=True, name=name, kind="furniture")

    def hand(self) -> Thing:
        """A person's hand."""
        body = self._body("hand")
        add_hand(people_builder(self.spec, self.rng, body.name + "/"), body, bool(self.rng.random() < 0.5))
        return Thing(body.name, 0.1, 0.15, lift=0.06, name="hand", kind="hand")

    def machine(self, name: str, floor: bool = False) -> Thing:
        """The machine with this name of the stock."""
        body = self._body("machine")
        size = MACHINES[name](dressed_builder(self.spec, self.rng, body.name + "/"), body)
        return Thing(body.name, *size, on_floor=floor, name=name, kind="furniture" if name == "chair" else "machine")

    def small(self, name: str | None = None, kind: str = "small") -> Thing:
        """A small thing with this name of the stock, or any; ``kind`` goes into its body's name."""
        body = self._body(kind)
        name = str(self.rng.choice(self.stock.small)) if name is None else name
        return Thing(body.name, *SMALL[name](self, body), name=name)

    def twins(self, make: Callable[[], Thing], recolour: bool = False) -> tuple[Thing, Thing]:
        """Two things alike, by calling ``make`` twice in the same state of chance; ``recolour`` one of them."""
        state = self.rng.bit_generator.state
        one = make()
        self.rng.bit_generator.state = state
        other = make()
        if not recolour:
            return one, replace(other, twin_of=one.body)
        for geom in self.spec.body(other.body).geoms:
            material = self.spec.material(geom.material)
            material.rgba = [*random_colour(self.rng).tolist(), 1.0]
        return one, other

    def occluder(self) -> Thing:
        """A person's hand and arm, a bar, board or lump around its body's origin, to float before the camera."""
        body = self._body("occluder")
        if self.rng.random() < 0.4:
            add_hand(people_builder(self.spec, self.rng, body.name + "/"), body, bool(self.rng.random() < 0.5))
            return Thing(body.name, 0.1, 0.1, name="hand", kind="hand")
        material, kind = self.plain(), self.rng.random()
        if kind < 0.4:
            size = [float(self.rng.uniform(0.008, 0.03)), float(self.rng.uniform(0.1, 0.5)), 0]
            body.add_geom(type=GEOM.mjGEOM_CAPSULE, size=size, material=material)
            name = "bar"
        elif kind < 0.75:
            material = self.textured((textures.label_print, *textures.TOPS), 1, 128, cube=True)
            size = [*self.rng.uniform(0.03, 0.15, 2).tolist(), float(self.rng.uniform(0.005, 0.05))]
            body.add_geom(type=GEOM.mjGEOM_BOX, size=size, material=material)
            name = "board"
        else:
            body.add_geom(type=GEOM.mjGEOM_ELLIPSOID, size=self.rng.uniform(0.02, 0.09, 3).tolist(), material=material)
            name = "lump"
        return Thing(body.name, 0.1, 0.1, name=name)
