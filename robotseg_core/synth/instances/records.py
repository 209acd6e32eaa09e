# SPDX-License-Identifier: Apache-2.0
"""What is known of a rendered video, as it is written to ``ids/<video>/meta.json`` (docs: rendering, instance maps).

A *leaf* is what a pixel of an instance map can hold: a link of a robot, a cable, or a thing.  Robots, grippers and
limbs are lists of leaves.
"""

from __future__ import annotations

from dataclasses import dataclass

SCHEMA = 1
"""Version of the layout of ``meta.json``; a reader refuses others."""

Vec = tuple[float, ...]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class VideoMeta:
    """What is in a video; written to its ``meta.json``."""

    arm: str | None
    gripper: str | None
    robots: tuple[str, ...]
    view: str
    bg: str
    paint: tuple[str, ...]
    seed: int
    jpeg: int


@dataclass(frozen=True)
class Instance:
    """A leaf.

    Attributes:
        id: its value in the maps, from 1.
        name: of a link its body's, of a thing what it is ("mug").
        kind: link, cable, thing, machine, furniture, person or hand.
        colour: the name of the colour of the largest part of it.
        rgb: that colour, 0 to 255, without light.
        colour_share: how much of it has that colour, 0 to 1.
        robot: number of its robot, or None.
        part: "arm", "gripper", or None for what is no robot.
        gripper, limb: numbers of the gripper and the limb it belongs to, or None.
        held_by: number of the gripper that holds it, or None.
        twin_of: id of an equal thing, or None.
        robot_like: jointed or painted so that it may be taken for a robot.
        moves: its place in the world changes by itself (not by being held).
    """

    id: int
    name: str
    kind: str
    colour: str
    rgb: tuple[int, int, int]
    colour_share: float
    robot: int | None = None
    part: str | None = None
    gripper: int | None = None
    limb: int | None = None
    held_by: int | None = None
    twin_of: int | None = None
    robot_like: bool = False
    moves: bool = False


@dataclass(frozen=True)
class RobotRecord:
    """A robot: leaves ``ids``, of which ``arm_ids`` and ``gripper_ids``; ``twin_of`` is the number of an equal one."""

    robot: int
    name: str
    arm: str
    gripper: str | None
    made: bool
    mobile: bool
    colour: str
    rgb: tuple[int, int, int]
    twin_of: int | None
    ids: tuple[int, ...]
    arm_ids: tuple[int, ...]
    gripper_ids: tuple[int, ...]
    limbs: tuple[int, ...]
    grippers: tuple[int, ...]


@dataclass(frozen=True)
class GripperRecord:
    """One end-effector, numbered through the scene.

    Attributes:
        kind: "jaws", "hand", "suction", or "tool" for another one without moving fingers.
        side: "left" or "right" of its own robot, where the model's names tell; else None.
        holds: ids of the things in it.
    """

    gripper: int
    robot: int
    limb: int
    name: str
    kind: str
    side: str | None
    colour: str
    rgb: tuple[int, int, int]
    ids: tuple[int, ...]
    holds: tuple[int, ...]


@dataclass(frozen=True)
class LimbRecord:
    """The links that carry one gripper and no other, without the gripper; of a one-armed robot all its arm."""

    limb: int
    robot: int
    gripper: int
    side: str | None
    ids: tuple[int, ...]


@dataclass(frozen=True)
class SceneRecord:
    """What stays the same through a video."""

    instances: tuple[Instance, ...]
    robots: tuple[RobotRecord, ...]
    grippers: tuple[GripperRecord, ...]
    limbs: tuple[LimbRecord, ...]
    events: tuple[str, ...]


@dataclass(frozen=True)
class CameraRecord:
    """Position (metres, world), rotation (camera to world; x right, y down, z forward), lens, pixels."""

    position: Vec
    rotation: tuple[Vec, Vec, Vec]
    fovy: float
    intrinsics: Vec


@dataclass(frozen=True)
class GripperState:
    """Where a gripper is (metres, world), and how far it is open: 0 closed, 1 open, None without moving fingers."""

    gripper: int
    position: Vec
    opening: float | None


@dataclass(frozen=True)
class Seen:
    """An instance in one frame.

    Attributes:
        box: pixels x0, y0, x1, y1 (ends exclusive) of what is seen; None when nothing is.
        area: pixels that are seen.
        position: metres in the world, the middle of its geoms.
        in_camera: the same in the camera's frame, x right, y down, z forward.
        full_box: pixels around its projected boxes, without regard to occlusion and to the border; None when part of
            it is behind the camera.
    """

    box: Box | None
    area: int
    position: Vec
    in_camera: Vec
    full_box: Box | None


@dataclass(frozen=True)
class FrameRecord:
    """One frame: the camera, the grippers, and each instance by its id."""

    camera: CameraRecord
    grippers: tuple[GripperState, ...]
    instances: dict[int, Seen]
