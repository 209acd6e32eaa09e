# SPDX-License-Identifier: Apache-2.0
"""A robot of a URDF or MJCF file with given joint positions, and a camera that looks at it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np
from numpy.typing import NDArray

from robotseg_core.geometry.camera import Camera
from robotseg_core.synth.robots.catalog import OwnRobot
from robotseg_core.synth.robots.own_robot import read_own
from robotseg_core.synth.robots.own_urdf import read_urdf

CAMERA = "robotseg_camera"
"""Name of the camera that is added to the robot's model."""
OPTICAL_TO_GL = np.diag([1.0, -1.0, -1.0])
"""MuJoCo's cameras look along -z with y up; optical frames along z with y down."""

Pose = NDArray[np.float64]
"""[4, 4] of a frame in another one: a point of the first, times it, is the point in the second.  Metres."""


@dataclass(frozen=True, eq=False)
class PosedRobot:
    """A compiled robot that can be put into a pose; of the file only what is seen is kept.

    Attributes:
        path: the file it was read from.
        model, data: of MuJoCo, with a camera that :meth:`look` places.
        base: id of the body that camera poses are given in.
        follows: joints that follow another, as (follower, leader, factor, offset).
        packages: folders of packages it was read with.
    """

    path: Path
    model: mujoco.MjModel
    data: mujoco.MjData
    base: int
    follows: tuple[tuple[str, str, float, float], ...]
    packages: tuple[Path, ...] = ()

    @classmethod
    def load(cls, path: Path, *, base: str | None = None, packages: Sequence[Path] = ()) -> PosedRobot:
        """Read a robot.

        Args:
            path: a URDF (``.urdf``) or an MJCF (any other) file; of an MJCF the geoms of the world are left out.
            base: the link that camera poses are given in; None takes the first one.
            packages: folders of packages, for ``package://`` in a URDF.

        Raises:
            FileNotFoundError: the file or one of its meshes is missing.
            ValueError: it is not what it should be, has no such link, or shows nothing.
        """
        path = Path(path)
        spec, follows = read_spec(path, packages)
        spec.worldbody.add_camera(name=CAMERA)
        try:
            model = spec.compile()
        except ValueError as error:
            raise ValueError(f"{path} does not compile: {error}") from error
        if model.ngeom == 0:
            raise ValueError(f"{path} shows nothing: no link has a visual shape")
        for k in np.flatnonzero(model.eq_type == mujoco.mjtEq.mjEQ_JOINT):
            if model.eq_obj2id[k] >= 0:
                names = (model.joint(int(ids[k])).name for ids in (model.eq_obj1id, model.eq_obj2id))
                follows.append((*names, float(model.eq_data[k, 1]), float(model.eq_data[k, 0])))
        links = [model.body(b).name for b in range(1, model.nbody)]
        if base is not None and base not in links:
            raise ValueError(f"{path} has no link {base!r}; it has {', '.join(links)}")
        number = 1 if base is None else int(model.body(base).id)
        return cls(path, model, mujoco.MjData(model), number, tuple(follows), tuple(packages))

    @property
    def joint_names(self) -> tuple[str, ...]:
        """Of the movable joints, in the model's order."""
        return tuple(self.model.joint(j).name for j in range(self.model.njnt))

    def positions(self, values: Sequence[float], names: Sequence[str] | None = None) -> NDArray[np.float64]:
        """Joint positions in the model's order, [njnt]; joints that are not given follow their leader or stay at 0.

        Args:
            values: radians or metres.
            names: of the values; None where they are of all joints in the model's order.

        Raises:
            ValueError: their number is off, a name is unknown, or a value is not finite.
        """
        known = self.joint_names
        if names is None:
            if len(values) != len(known):
                raise ValueError(
                    f"{len(values)} joint positions, {self.path} has {len(known)} joints ({', '.join(known)}): "
                    "name those that are given"
                )
            names = known
        if len(names) != len(values):
            raise ValueError(f"{len(values)} joint positions for {len(names)} joint names")
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ValueError(f"no joint {', '.join(unknown)} in {self.path}; it has {', '.join(known)}")
        given: Mapping[str, float] = dict(zip(names, map(float, values), strict=True))
        if not np.isfinite(list(given.values())).all():
            raise ValueError(f"joint positions {list(values)} must be finite")
        out = {name: given.get(name, 0.0) for name in known}
        for follower, leader, factor, offset in self.follows:
            if follower not in given and leader in out:
                out[follower] = factor * out[leader] + offset
        return np.array([out[name] for name in known])

    def pose(self, positions: NDArray[np.float64]) -> None:
        """Put the joints to positions [njnt]."""
        self.data.qpos[self.model.jnt_qposadr] = positions
        mujoco.mj_kinematics(self.model, self.data)

    def look(self, camera: Pose) -> None:
        """Put the camera to its pose (optical frame) in the base link; the joints must have been posed before."""
        turn = self.data.xmat[self.base].reshape(3, 3)
        quat = np.zeros(4)
        mujoco.mju_mat2Quat(quat, (turn @ camera[:3, :3] @ OPTICAL_TO_GL).ravel())
        self.model.cam_pos[0] = self.data.xpos[self.base] + turn @ camera[:3, 3]
        self.model.cam_quat[0] = quat
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_camlight(self.model, self.data)

    def base_pose(self) -> Pose:
        """Where the base link is in the world, with the joints as they were posed."""
        out = np.eye(4)
        out[:3, :3], out[:3, 3] = self.data.xmat[self.base].reshape(3, 3), self.data.xpos[self.base]
        return out

    def below(self, links: Sequence[str]) -> NDArray[np.bool_]:
        """[ngeom] bool: geoms of these links and of all links that hang on them.

        Raises:
            ValueError: there is no such link.
        """
        known = {self.model.body(b).name: b for b in range(1, self.model.nbody)}
        unknown = [name for name in links if name not in known]
        if unknown:
            raise ValueError(f"no link {', '.join(unknown)} in {self.path}; it has {', '.join(known)}")
        inside = np.zeros(self.model.nbody, bool)
        for b in range(1, self.model.nbody):
            inside[b] = inside[self.model.body_parentid[b]] or self.model.body(b).name in links
        return np.asarray(inside[self.model.geom_bodyid])


def read_spec(path: Path, packages: Sequence[Path] = ()) -> tuple[mujoco.MjSpec, list[tuple[str, str, float, float]]]:
    """The specification of a URDF or MJCF file, of what is seen alone, and its joints that follow others.

    Raises:
        FileNotFoundError, ValueError: see :meth:`PosedRobot.load`.
    """
    if path.suffix.lower() != ".urdf":
        return read_own(OwnRobot(path, False, (), tuple(packages))), []
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    spec, mimic = read_urdf(path, packages)
    return spec, [(name, *rule) for name, rule in mimic.items()]


def set_intrinsics(model: mujoco.MjModel, camera: Camera) -> None:
    """Give the robot's camera the focal lengths and principal point of ``camera``, whose distortion is left out."""
    width, height = camera.width, camera.height
    model.cam_resolution[0] = [width, height]
    model.cam_sensorsize[0] = [width, height]
    # MuJoCo counts from the middle of the picture, right and down being negative.
    model.cam_intrinsic[0] = [camera.fx, camera.fy, (width - 1) / 2 - camera.cx, (height - 1) / 2 - camera.cy]
