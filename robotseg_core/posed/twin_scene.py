# SPDX-License-Identifier: Apache-2.0
"""A recording as a MuJoCo scene: the robot in a keyframe for each frame, the background, the camera.

The robot is that of its file; where joints are not known it is the surfaces that depth shows under the masks, each a
body that its own keyframe brings into the scene and all others put far below it.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import mujoco
import numpy as np
from numpy.typing import NDArray

from robotseg_core.files.mask_files import write_png
from robotseg_core.geometry.camera import Camera
from robotseg_core.posed.background import Surface
from robotseg_core.posed.robot import CAMERA, OPTICAL_TO_GL, Pose

ASSETS = "assets"
HIDDEN = (0.0, 0.0, -1000.0)
"""Where surfaces are that a frame does not show: behind the far plane of any view."""
EXTENT = 2.0
"""Size of what viewers look at first, metres."""
FREE_DISTANCE = 1.5 * EXTENT
"""How far in front of a viewer's own camera the point lies about which it turns: MuJoCo's rule."""
NEAR_M = 0.02
"""What is nearer to a camera is not drawn, metres."""
TEXTURE_SIDE = 4096
"""Longest side of a texture, pixels: what every OpenGL driver takes."""


@dataclass(frozen=True)
class Picture:
    """A surface with the picture that lies on it; ``moves``: a body of its own, which keyframes show or hide."""

    name: str
    surface: Surface
    rgb: NDArray[np.uint8]
    moves: bool = False


class TwinScene:
    """Collects a scene and writes it.

    Args:
        folder: of the scene; its meshes and pictures go to ``assets/`` in it.
        robot: specification of the robot, changed by this class; None for a scene without.
    """

    def __init__(self, folder: Path, robot: mujoco.MjSpec | None) -> None:
        self.folder = folder
        self.spec = mujoco.MjSpec() if robot is None else robot
        (folder / ASSETS).mkdir(parents=True, exist_ok=True)
        self._gather()
        self.spec.modelname = "robotseg twin"
        # Nothing drives the joints: under gravity the robot would fall out of its pose.
        self.spec.option.gravity = [0, 0, 0]
        self.spec.visual.headlight.ambient = [0.35, 0.35, 0.35]
        self.spec.visual.headlight.diffuse = [0.5, 0.5, 0.5]
        self._moving: list[str] = []

    def add_camera(self, camera: Camera, pose: Pose) -> None:
        """The camera, rectified, with its pose (optical frame) in the world."""
        quat = np.zeros(4)
        mujoco.mju_mat2Quat(quat, (pose[:3, :3] @ OPTICAL_TO_GL).ravel())
        self.spec.worldbody.add_camera(
            name=CAMERA,
            pos=pose[:3, 3].tolist(),
            quat=quat.tolist(),
            resolution=[camera.width, camera.height],
            sensor_size=[camera.width, camera.height],
            focal_pixel=[camera.fx, camera.fy],
            principal_pixel=[(camera.width - 1) / 2 - camera.cx, (camera.height - 1) / 2 - camera.cy],
        )
        self.spec.visual.global_.offwidth = camera.width
        self.spec.visual.global_.offheight = camera.height
        self._look_from(camera, pose)

    def _look_from(self, camera: Camera, pose: Pose) -> None:
        """A viewer opens where the camera is: from anywhere else the picture behind everything is in the way."""
        forward, up = pose[:3, 2], -pose[:3, 1]
        self.spec.stat.center = (pose[:3, 3] + FREE_DISTANCE * forward).tolist()
        # Straight up or down, as where the world is the camera's frame, only what is above in the picture tells.
        along = forward[:2] if np.hypot(*forward[:2]) > 1e-6 else -np.sign(forward[2]) * up[:2]
        view = self.spec.visual.global_
        view.azimuth = float(np.degrees(np.arctan2(along[1], along[0])))
        view.elevation = float(np.degrees(np.arcsin(np.clip(forward[2], -1, 1))))
        view.fovy = float(np.degrees(2 * np.arctan(camera.height / (2 * camera.fy))))

    def add_picture(self, picture: Picture) -> None:
        """A surface with a picture on it, shining by itself: its colours are those of the picture."""
        name = picture.name
        (self.folder / ASSETS / f"{name}.obj").write_text(picture.surface.obj())
        rgb = picture.rgb
        most = max(rgb.shape[:2])
        if most > TEXTURE_SIDE:
            size = (round(rgb.shape[1] * TEXTURE_SIDE / most), round(rgb.shape[0] * TEXTURE_SIDE / most))
            rgb = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
        write_png(self.folder / ASSETS / f"{name}.png", np.ascontiguousarray(rgb[..., ::-1]))
        self.spec.add_texture(name=name, type=mujoco.mjtTexture.mjTEXTURE_2D, file=f"{ASSETS}/{name}.png")
        material = self.spec.add_material(name=name, emission=1.0, specular=0.0, shininess=0.0)
        material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name
        self.spec.add_mesh(name=name, file=f"{ASSETS}/{name}.obj", inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL)
        body = self.spec.worldbody
        if picture.moves:
            body = body.add_body(name=name, mocap=True, pos=HIDDEN)
            self._moving.append(name)
        body.add_geom(
            name=name, type=mujoco.mjtGeom.mjGEOM_MESH, meshname=name, material=name, contype=0, conaffinity=0, group=1
        )

    def add_frames(self, frames: Sequence[tuple[str, NDArray[np.float64] | None]], far: float) -> None:
        """A keyframe for each frame: (name, joint positions in the model's order, None where there is no robot).

        ``far``: of the farthest thing that is to be seen, metres.
        """
        self.spec.stat.extent = EXTENT
        self.spec.visual.map.znear, self.spec.visual.map.zfar = NEAR_M / EXTENT, max(50.0, 2 * far / EXTENT)
        for name, positions in frames:
            mocap = [0.0, 0.0, 0.0] * len(self._moving)
            for i, moving in enumerate(self._moving):
                if moving != f"robot_{name}":
                    mocap[3 * i : 3 * i + 3] = HIDDEN
            key = {"name": f"frame_{name}", "mpos": mocap} if self._moving else {"name": f"frame_{name}"}
            self.spec.add_key(**key, **({} if positions is None else {"qpos": positions.tolist()}))

    def write(self) -> Path:
        """Write ``scene.xml`` and read it again.

        Raises:
            ValueError: MuJoCo does not take it.
        """
        path = self.folder / "scene.xml"
        self.spec.compiler.meshdir = self.spec.compiler.texturedir = ""
        self.spec.modelfiledir = str(self.folder)
        self.spec.compile()
        path.write_text(self.spec.to_xml())
        mujoco.MjModel.from_xml_path(str(path))
        return path

    def _gather(self) -> None:
        """Copy the meshes and textures of the robot's file, which lie in other folders."""
        spec = self.spec
        home = Path(spec.modelfiledir)
        for kind, items, below in (("mesh", spec.meshes, spec.meshdir), ("texture", spec.textures, spec.texturedir)):
            for i, item in enumerate(items):
                if not item.file:
                    continue
                source = home / below / item.file
                target = f"{ASSETS}/{kind}_{i}{source.suffix.lower()}"
                if kind == "mesh" and not item.name:
                    item.name = Path(item.file).stem
                shutil.copyfile(source, self.folder / target)
                item.file = target
