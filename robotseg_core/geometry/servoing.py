# SPDX-License-Identifier: Apache-2.0
"""Image-based visual servoing with a camera in the hand: from a mask in numbers to a velocity of the camera.

The four degrees of freedom that a mask's moments control well: translation along x, y, z and rotation about z of the
optical frame.  Features and their interaction matrix are those of Tahri and Chaumette, "Point-based and region-based
image moments for visual servoing of planar objects", IEEE Transactions on Robotics 21(6), 2005, for a target parallel
to the image: x_n = a_n x, y_n = a_n y, a_n = Z* sqrt(a* / a) and the angle of the principal axis.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from robotseg_core.geometry.camera import Camera
from robotseg_core.geometry.gripper_pose import ImagePose


@dataclass(frozen=True)
class Goal:
    """The view that is wanted, as the camera has seen it once.

    Attributes:
        pose: of the part in that view.
        distance: of the part in that view, metres; off by a factor, the speed is off by that factor, not the goal.
    """

    pose: ImagePose
    distance: float

    def __post_init__(self) -> None:
        if not self.pose.present:
            raise ValueError("the goal view shows nothing of the part")
        if not 0 < self.distance < math.inf:
            raise ValueError(f"the distance of the goal is {self.distance} m, must be above 0")


@dataclass(frozen=True)
class Law:
    """How fast the camera goes.

    Attributes:
        gain: the error shrinks as exp(-gain t), 1/s.
        max_speed: of translation, m/s.
        max_turn: of rotation, rad/s.
        least_elongation: below it a part is too round for its axis to be followed.
    """

    gain: float = 0.8
    max_speed: float = 0.25
    max_turn: float = 0.6
    least_elongation: float = 1.15


@dataclass(frozen=True)
class Error:
    """How far a view is from the goal: x_n, y_n, a_n in metres and the angle in radians (modulo pi)."""

    x: float
    y: float
    scale: float
    angle: float


@dataclass(frozen=True)
class Velocity:
    """Of the camera in its own optical frame: metres a second along x, y, z and radians a second about z."""

    x: float = 0.0
    y: float = 0.0
    z: float = 0.0
    turn: float = 0.0


STANDSTILL = Velocity()


def feature_error(seen: ImagePose, goal: Goal, camera: Camera, law: Law) -> Error:
    """The features of a view minus those of the goal; ``seen`` must show the part."""
    scale = goal.distance * math.sqrt(goal.pose.area / seen.area)
    x, y = _normalised(seen, camera)
    goal_x, goal_y = _normalised(goal.pose, camera)
    round_part = min(seen.elongation, goal.pose.elongation) < law.least_elongation
    angle = 0.0 if round_part else half_turn(seen.axis_angle - goal.pose.axis_angle)
    return Error(scale * x - goal.distance * goal_x, scale * y - goal.distance * goal_y, scale - goal.distance, angle)


def camera_velocity(seen: ImagePose, goal: Goal, camera: Camera, law: Law) -> Velocity:
    """The velocity that lets the error shrink; standstill when nothing is seen.

    v = -gain L^-1 (s - s*), with L of the present view and then cut to the law's speeds, keeping its direction.
    """
    if not seen.present:
        return STANDSTILL
    error = feature_error(seen, goal, camera, law)
    scale = error.scale + goal.distance
    x, y = _normalised(seen, camera)
    turn = law.gain * error.angle
    turn *= min(1.0, law.max_turn / max(abs(turn), 1e-9))
    # Turning moves a part that is not in the middle: the translation makes up for it.
    vx = law.gain * error.x + scale * y * turn
    vy = law.gain * error.y - scale * x * turn
    vz = law.gain * error.scale
    cut = min(1.0, law.max_speed / max(math.hypot(vx, vy, vz), 1e-9))
    return Velocity(vx * cut, vy * cut, vz * cut, turn)


def half_turn(angle: float) -> float:
    """An angle of an axis, modulo pi, in [-pi/2, pi/2)."""
    return (angle + math.pi / 2) % math.pi - math.pi / 2


def _normalised(pose: ImagePose, camera: Camera) -> tuple[float, float]:
    return (pose.centroid[0] - camera.cx) / camera.fx, (pose.centroid[1] - camera.cy) / camera.fy
