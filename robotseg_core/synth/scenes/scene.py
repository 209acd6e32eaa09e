# SPDX-License-Identifier: Apache-2.0
"""Scenes: robots on mounts, lights, a camera, and spare materials, compiled once and changed between pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np
from numpy.typing import NDArray

from robotseg_core.synth.robots.catalog import RobotChoice
from robotseg_core.synth.robots.followers import Follower, add_cable, lay_cable
from robotseg_core.synth.robots.robot import ARM, Robot, find_robot, load_robot
from robotseg_core.synth.scenes.wear import noise_texture, wear_texture

CAMERA = "synth_camera"
LIGHTS = 3
SPARE_PLAIN = 24
"""Materials without texture that repainting may use."""
SPARE_TEXTURED = 10


@dataclass(frozen=True)
class Scene:
    """A compiled scene.

    Attributes:
        model: the compiled model; poses of mounts, colours, lights and the camera may be changed.
        data: its state.
        robots: the robots in it.
        part: [ngeom] uint8, BACKGROUND, ARM or GRIPPER of each geom.
        camera: id of the camera.
        lights: ids of the lights.
        plain, textured: ids of the spare materials.
        paint: the colours and materials as compiled.
        followers: cables and held things, which move with the robots.
    """

    model: mujoco.MjModel
    data: mujoco.MjData
    robots: tuple[Robot, ...]
    part: NDArray[np.uint8]
    camera: int
    lights: tuple[int, ...]
    plain: tuple[int, ...]
    textured: tuple[int, ...]
    paint: Paint
    followers: tuple[Follower, ...] = ()


@dataclass(frozen=True)
class Paint:
    """Colours and materials of a model, to go back to."""

    geom_rgba: NDArray[np.float32]
    geom_matid: NDArray[np.int32]
    mat_rgba: NDArray[np.float32]
    mat_specular: NDArray[np.float32]
    mat_shininess: NDArray[np.float32]

    @staticmethod
    def of(model: mujoco.MjModel) -> Paint:
        """A copy of what ``model`` holds now."""
        return Paint(
            model.geom_rgba.copy(),
            model.geom_matid.copy(),
            model.mat_rgba.copy(),
            model.mat_specular.copy(),
            model.mat_shininess.copy(),
        )

    def apply(self, model: mujoco.MjModel) -> None:
        """Write it back."""
        model.geom_rgba[:] = self.geom_rgba
        model.geom_matid[:] = self.geom_matid
        model.mat_rgba[:] = self.mat_rgba
        model.mat_specular[:] = self.mat_specular
        model.mat_shininess[:] = self.mat_shininess


def add_texture(spec: mujoco.MjSpec, name: str, image: NDArray[np.uint8], cube: bool = False) -> None:
    """Add ``image`` [H, W, 3] as a texture; with ``cube`` on the sides of a cube: H = W for all, or H = 6 W."""
    tex = spec.add_texture(name=name)
    tex.type = mujoco.mjtTexture.mjTEXTURE_CUBE if cube else mujoco.mjtTexture.mjTEXTURE_2D
    tex.nchannel = 3
    tex.width, tex.height = image.shape[1], image.shape[1] * 6 if cube else image.shape[0]
    tex.data = (np.concatenate([image] * 6) if cube and image.shape[0] == image.shape[1] else image).tobytes()


def _add_spares(spec: mujoco.MjSpec, rng: np.random.Generator) -> None:
    for i in range(SPARE_PLAIN):
        spec.add_material(name=f"synth_plain_{i}", rgba=[0.5, 0.5, 0.5, 1])
    for i in range(SPARE_TEXTURED):
        faces = [wear_texture(rng, 96) for _ in range(6)] if i % 2 else [noise_texture(rng, 64)] * 6
        add_texture(spec, f"synth_noise_{i}", np.concatenate(faces), cube=True)
        mat = spec.add_material(name=f"synth_textured_{i}", rgba=[0.5, 0.5, 0.5, 1])
        mat.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = f"synth_noise_{i}"
        mat.texuniform = i % 2 == 0  # wear: once around each geom
        mat.texrepeat = [float(rng.uniform(2, 12)) if i % 2 == 0 else 1.0] * 2


def build_scene(
    root: Path,
    choices: Sequence[RobotChoice],
    rng: np.random.Generator,
    surroundings: Callable[[mujoco.MjSpec], None] | None = None,
    shadow_size: int = 1024,
    samples: int = 0,
    cables: float = 0.0,
) -> Scene:
    """Compile a scene with robots and, when given, surroundings.

    Args:
        root: the robots folder.
        choices: robots to place, each on a mount at the origin; may be none.
        rng: for the spare textures.
        surroundings: called with the specification to add floor, table and so on.
        shadow_size: pixels of the shadow map.
        samples: multisampling, 0 for none.
        cables: how often a robot carries one to three loose cables or hoses; they count as arm.
    """
    spec = mujoco.MjSpec()
    spec.visual.quality.shadowsize = shadow_size
    spec.visual.quality.offsamples = samples
    spec.visual.map.znear = 0.01
    spec.visual.map.zfar = 60.0
    spec.visual.map.shadowclip = 2.0
    spec.visual.map.shadowscale = 0.7
    spec.stat.extent = 1.0
    spec.stat.center = [0, 0, 0.4]
    world = spec.worldbody
    world.add_camera(name=CAMERA, pos=[0, 0, 0])
    for i in range(LIGHTS):
        world.add_light(name=f"synth_light_{i}", pos=[0, 0, 3], dir=[0, 0, -1], castshadow=i == 0)
    _add_spares(spec, rng)
    if surroundings is not None:
        surroundings(spec)
    loaded = []
    for i, choice in enumerate(choices):
        robot = load_robot(root, choice)
        mount = world.add_body(name=f"mount_{i}")
        spec.attach(robot.spec, prefix=f"r{i}/", frame=mount.add_frame())
        loaded.append(robot)
    laid = []
    for i in range(len(choices)):
        count = int(rng.integers(1, 4)) if cables and rng.random() < cables else 0
        laid.append([f"synth_cable_{i}_{k}" for k in range(count)])
        for name in laid[-1]:
            add_cable(spec, name, rng)
    try:
        model = spec.compile()
    except ValueError as e:
        raise ValueError(f"scene with {[str(c) for c in choices]} does not compile: {e}") from e
    robots = tuple(find_robot(model, r, f"r{i}/", f"mount_{i}") for i, r in enumerate(loaded))
    part = np.zeros(model.ngeom, np.uint8)
    for robot_ in robots:
        part[robot_.geoms] = robot_.labels
    followers = []
    for robot_, names in zip(robots, laid, strict=True):
        for name in names:
            cable = lay_cable(model, name, robot_, rng)
            if cable is not None:
                part[cable.geoms] = ARM
                followers.append(cable)
    return Scene(
        model=model,
        data=mujoco.MjData(model),
        robots=robots,
        part=part,
        camera=model.camera(CAMERA).id,
        lights=tuple(model.light(f"synth_light_{i}").id for i in range(LIGHTS)),
        plain=tuple(model.material(f"synth_plain_{i}").id for i in range(SPARE_PLAIN)),
        textured=tuple(model.material(f"synth_textured_{i}").id for i in range(SPARE_TEXTURED)),
        paint=Paint.of(model),
        followers=tuple(followers),
    )


def update(scene: Scene) -> None:
    """Recompute positions after a change of qpos, mounts, lights or camera."""
    mujoco.mj_kinematics(scene.model, scene.data)
    mujoco.mj_comPos(scene.model, scene.data)
    for follower in scene.followers:
        follower.follow(scene.model, scene.data)
    mujoco.mj_camlight(scene.model, scene.data)
