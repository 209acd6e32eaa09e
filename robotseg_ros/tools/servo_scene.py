# SPDX-License-Identifier: Apache-2.0
"""The simulation behind the visual servoing example: an arm moves a camera in its hand before another robot.

Needs the ``mujoco`` package and OpenGL (EGL or OSMesa).  No dynamics: joints go where they are sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# Before mujoco: it chooses the OpenGL driver.
import robotseg_core.synth  # noqa: F401  # isort: skip
import mujoco  # isort: skip

from robotseg_core.geometry.camera import Camera
from robotseg_core.geometry.servoing import Velocity
from robotseg_ros.common.shipped import config_file

SEED_POSTURE = (0.0, -0.6, 1.9, 0.3, 0.0, 0.0)
"""Joints of the carrier from which a posture for a view is searched, radians."""
OPTICAL = np.diag([1.0, -1.0, -1.0])
"""Axes of the optical frame in those of a MuJoCo camera, which looks along its -z with y up."""
DAMPING = 1e-3


@dataclass(frozen=True)
class Target:
    """A robot of a robots folder (``robotseg synth`` explains it) in place of the built-in one."""

    robots: Path
    arm: str
    gripper: str | None


@dataclass(frozen=True)
class Shot:
    """What the camera sees.

    Attributes:
        rgb: [H, W, 3] uint8.
        depth: [H, W] float32, metres along the optical axis.
        arm, gripper: [H, W] uint8, 0 or 255, the truth about the other robot.
    """

    rgb: NDArray[np.uint8]
    depth: NDArray[np.float32]
    arm: NDArray[np.uint8]
    gripper: NDArray[np.uint8]


class ServoScene:
    """Carrier, camera and target.

    Args:
        width, height: of the images, pixels, at most 640 x 480.
        target: the robot to look at; None for the built-in one.

    Raises:
        RuntimeError: there is no OpenGL context.
    """

    def __init__(self, width: int = 640, height: int = 480, target: Target | None = None) -> None:
        spec = mujoco.MjSpec.from_file(str(config_file("servo_scene.xml")))
        roots = ["gripper"] if target is None else _replace_target(spec, target)
        self.model = spec.compile()
        self.data = mujoco.MjData(self.model)
        self._eye = self.model.camera("eye").id
        self._hand = self.model.body("hand").id
        self._joints = [int(self.model.joint(name).qposadr[0]) for name in _carrier_joints(self.model)]
        self._labels = _labels(self.model, roots)
        mujoco.mj_forward(self.model, self.data)
        if target is not None:
            _take_home_posture(self.model, self.data, target)
            self._turn_target_to_carrier()
        self.gripper_centre = self._gripper_centre()
        # The carrier stands where the gripper is well within its reach.
        self.model.body_pos[self.model.body("carrier").id] = self.gripper_centre - (0.95, 0.0, 0.5)
        focal = height / 2 / np.tan(np.radians(self.model.cam_fovy[self._eye]) / 2)
        self.camera = Camera(width, height, focal, focal, (width - 1) / 2, (height - 1) / 2)
        try:
            self._renderer = mujoco.Renderer(self.model, height, width)
        except Exception as error:
            raise RuntimeError(f"no OpenGL context ({error}): set MUJOCO_GL=egl or osmesa") from error

    def close(self) -> None:
        """Free the graphics memory."""
        self._renderer.close()

    def look(self) -> Shot:
        """Take a picture."""
        renderer = self._renderer
        renderer.update_scene(self.data, camera=self._eye)
        rgb = renderer.render().copy()
        renderer.enable_depth_rendering()
        depth = renderer.render().astype(np.float32)
        renderer.disable_depth_rendering()
        renderer.enable_segmentation_rendering()
        ids = renderer.render()
        renderer.disable_segmentation_rendering()
        is_geom = ids[..., 1] == mujoco.mjtObj.mjOBJ_GEOM.value
        label = np.where(is_geom, self._labels[np.where(is_geom, ids[..., 0], 0)], 0)
        arm, gripper = (np.where(label == part, np.uint8(255), np.uint8(0)) for part in (1, 2))
        return Shot(rgb, depth, arm, gripper)

    def eye_pose(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Where the camera is: [3] metres in the world, and [3, 3] whose columns are the optical axes there."""
        rotation = self.data.cam_xmat[self._eye].reshape(3, 3) @ OPTICAL
        return self.data.cam_xpos[self._eye].copy(), rotation

    def move(self, velocity: Velocity, seconds: float) -> None:
        """Move the camera with a velocity of its optical frame."""
        _, rotation = self.eye_pose()
        linear = rotation @ np.array([velocity.x, velocity.y, velocity.z])
        angular = rotation @ np.array([0.0, 0.0, velocity.turn])
        self._step(np.concatenate([linear, angular]) * seconds)

    def place_eye(self, position: NDArray[np.float64], rotation: NDArray[np.float64]) -> None:
        """Search a posture from which the camera has this pose (as of :meth:`eye_pose`).

        Raises:
            ValueError: the arm cannot reach it.
        """
        self.data.qpos[self._joints] = SEED_POSTURE
        self._update()
        for _ in range(300):
            at, now = self.eye_pose()
            turn = np.zeros(3)
            quaternion = np.zeros(4)
            mujoco.mju_mat2Quat(quaternion, (rotation @ now.T).ravel())
            mujoco.mju_quat2Vel(turn, quaternion, 1.0)
            error = np.concatenate([position - at, turn])
            if np.abs(error).max() < 1e-6:
                return
            self._step(error * min(1.0, 0.2 / np.abs(error).max()))
        raise ValueError(
            f"the arm cannot bring its camera to {np.round(position, 3)}: {np.abs(error).max():.3f} are left"
        )

    def goal_pose(self, distance: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The pose at a distance before the gripper, level, looking at it along the world's x."""
        rotation = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
        return self.gripper_centre - rotation[:, 2] * distance, rotation

    def _gripper_centre(self) -> NDArray[np.float64]:
        return np.asarray(self.data.geom_xpos[self._labels == 2].mean(axis=0))

    def _turn_target_to_carrier(self) -> None:
        """Turn the target about its mount until its gripper is before it as the carrier sees it, at -x."""
        mujoco.mj_forward(self.model, self.data)
        mount = self.model.body("target").id
        ahead = self._gripper_centre() - self.data.xpos[mount]
        yaw = np.pi - np.arctan2(ahead[1], ahead[0])
        self.model.body_quat[mount] = (np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2))
        mujoco.mj_forward(self.model, self.data)

    def _step(self, twist: NDArray[np.float64]) -> None:
        """Change the joints so that the camera moves by ``twist``: metres, then radians, in the world."""
        linear, angular = np.zeros((3, self.model.nv)), np.zeros((3, self.model.nv))
        mujoco.mj_jac(self.model, self.data, linear, angular, self.data.cam_xpos[self._eye], self._hand)
        jacobian = np.concatenate([linear, angular])[:, self._joints]
        damped = jacobian @ jacobian.T + DAMPING**2 * np.eye(6)
        self.data.qpos[self._joints] += jacobian.T @ np.linalg.solve(damped, twist)
        self._update()

    def _update(self) -> None:
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_comPos(self.model, self.data)
        mujoco.mj_camlight(self.model, self.data)


def _carrier_joints(model: mujoco.MjModel) -> list[str]:
    names = [model.joint(j).name for j in range(model.njnt)]
    return [name for name in names if name in ("pan", "lift", "elbow", "wrist_1", "wrist_2", "wrist_3")]


def _labels(model: mujoco.MjModel, gripper_roots: list[str]) -> NDArray[np.uint8]:
    """[ngeom] 0 surroundings and carrier, 1 arm and 2 gripper of the target."""
    part = np.zeros(model.nbody, np.uint8)
    for body in range(1, model.nbody):  # parents come before their children
        name = model.body(body).name
        part[body] = 1 if name == "target" else 2 if name in gripper_roots else part[model.body_parentid[body]]
    return part[model.geom_bodyid]


def _replace_target(spec: mujoco.MjSpec, target: Target) -> list[str]:
    """Put a robot of a robots folder in the place of the built-in one; returns the names of its gripper's bodies."""
    from robotseg_core.synth.robots.catalog import RobotChoice
    from robotseg_core.synth.robots.robot import load_robot

    robot = load_robot(target.robots, RobotChoice(target.arm, target.gripper))
    spec.delete(spec.body("target"))
    mount = spec.worldbody.add_body(name="target", pos=[1.2, 0.1, 0.2])
    spec.attach(robot.spec, prefix="target/", frame=mount.add_frame())
    return [f"target/{name}" for name in robot.gripper_roots]


def _take_home_posture(model: mujoco.MjModel, data: mujoco.MjData, target: Target) -> None:
    from robotseg_core.synth.robots.catalog import read_robot

    home = read_robot(target.robots / "arms" / target.arm).home
    joints = [j for j in range(model.njnt) if model.joint(j).name.startswith("target/")]
    for joint, value in zip(joints, home, strict=False):
        data.qpos[model.jnt_qposadr[joint]] = value
