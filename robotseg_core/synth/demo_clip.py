# SPDX-License-Identifier: Apache-2.0
"""Render the clip that ships with the package: a robot kept out of training, moving over a table.

    python -m robotseg_core.synth.demo_clip --robots ROBOTS --out demo

Writes ``clip.mp4`` and, for every 30th frame, exact masks ``mask_gt/clip/000|001|002/%05d.png``.  All textures are
procedural.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import mujoco
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from robotseg_core.option_limits import MOST_ITEMS, MOST_SEED, check_option
from robotseg_core.synth.rendering.motion import Motion, spline, swept_points
from robotseg_core.synth.rendering.render import Picture, Renderer
from robotseg_core.synth.robots.catalog import RobotChoice
from robotseg_core.synth.scenes.placing import place_things
from robotseg_core.synth.scenes.room import Room, RoomBuilder
from robotseg_core.synth.scenes.scene import Scene, build_scene, update
from robotseg_core.synth.scenes.views import look_at
from robotseg_core.synth.vrs import overlay, write_masks, write_sheet

CHOICE = RobotChoice("kinova_gen3", "robotiq_2f85")
SIZE, FPS = (640, 480), 30
MOST_SECONDS = 600.0
FLOOR = -0.74
# Joint positions (radians) and how far the gripper is closed (0 to 1).
POSES: tuple[tuple[tuple[float, ...], float], ...] = (
    ((-0.3, 0.26, 3.14, -2.0, 0.0, -0.9, 1.57), 0.0),
    ((0.55, 0.55, 3.14, -1.85, 0.1, -0.75, 1.9), 0.1),
    ((0.6, 0.72, 3.14, -1.80, 0.1, -0.62, 2.1), 0.75),
    ((0.35, 0.45, 3.0, -1.6, -0.2, -1.1, 1.7), 0.75),
    ((-0.45, 0.55, 3.3, -1.5, 0.25, -0.9, 1.1), 0.75),
    ((-0.8, 0.72, 3.14, -1.75, 0.0, -0.67, 0.8), 0.3),
    ((-0.3, 0.26, 3.14, -2.0, 0.0, -0.9, 1.57), 0.0),
)


def build_demo(root: Path, seed: int) -> tuple[Scene, Room]:
    """The robot on a table in a room; ``seed`` chooses the things, colours and textures around it."""
    rng = np.random.default_rng(seed)
    rooms: list[Room] = []

    def surroundings(spec: mujoco.MjSpec) -> None:
        builder = RoomBuilder(spec, rng)
        builder.floor(FLOOR)
        builder.walls(FLOOR, (1.3, 2.2))
        table = builder.table(0.3, 0.0, 0.0, FLOOR)
        rooms.append(Room(FLOOR, table, tuple(builder.thing() for _ in range(9))))

    scene = build_scene(root, [CHOICE], rng, surroundings, shadow_size=4096)
    return scene, rooms[0]


def demo_path(scene: Scene, frames: int) -> NDArray[np.float64]:
    """Joint positions [frames, nq]: through POSES in equal times, at rest at the ends."""
    robot = scene.robots[0]
    points = np.zeros((len(POSES), scene.model.nq))
    for point, (arm, closed) in zip(points, POSES, strict=True):
        point[robot.qadr] = arm
        point[robot.grip_qadr] = robot.grip_open + closed * (robot.grip_closed - robot.grip_open)
    return spline(points, np.linspace(0, len(POSES) - 1, frames))


def set_lights(scene: Scene) -> None:
    """A soft room: one light from above that casts shadows, a weaker one from the side."""
    model = scene.model
    model.vis.headlight.ambient[:] = (0.34, 0.34, 0.35)
    model.vis.headlight.diffuse[:] = 0.12
    model.vis.headlight.specular[:] = 0.05
    for light, direction, level, casts in zip(
        scene.lights, ((-0.35, 0.30, -1.0), (-0.6, -0.8, -0.7), (0, 0, -1)), (0.62, 0.22, 0.0), (1, 0, 0), strict=True
    ):
        away = -np.array(direction) / np.linalg.norm(direction)
        model.light_active[light] = level > 0
        model.light_castshadow[light] = casts
        model.light_type[light] = 1  # directional
        model.light_pos[light] = np.array([0.3, 0.0, 0.2]) + 2.5 * away
        model.light_dir[light] = -away
        model.light_diffuse[light] = (level, level * 0.98, level * 0.94)
        model.light_specular[light] = 0.4 * level
        model.light_ambient[light] = 0


def frames_of(root: Path, seed: int, seconds: float) -> Iterator[Picture]:
    """The frames of the clip, in order."""
    scene, room = build_demo(root, seed)
    rng = np.random.default_rng(seed)
    frames = round(seconds * FPS)
    path = demo_path(scene, frames)
    update(scene)
    place_things(scene, room, rng, swept_points(scene, Motion(path)))
    set_lights(scene)
    renderer = Renderer(*SIZE, scale=1.5)
    renderer.set_model(scene.model)
    for i, qpos in enumerate(path):
        swing = np.deg2rad(-52 + 9 * np.sin(2 * np.pi * i / frames))
        target = np.array([0.28, 0.0, 0.29])
        away = np.array([np.cos(swing), np.sin(swing), 0.42])
        pose = look_at(target + 1.12 * away, target, np.array([0.0, 0.0, 1.0]), 0.0, 46.0)
        scene.data.qpos[:] = qpos
        pose.apply(scene)
        update(scene)
        yield renderer.picture(scene.data, scene.camera, scene.part)
    renderer.close()


class ClipWriter:
    """Writes an mp4: H.264 with imageio-ffmpeg when it is installed, else MPEG-4 with OpenCV."""

    def __init__(self, path: Path, size: tuple[int, int], fps: int, quality: int = 23) -> None:
        self._path = path
        self._cv: cv2.VideoWriter | None = None
        try:
            ffmpeg = importlib.import_module("imageio_ffmpeg")
        except ImportError:
            self._cv = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, size)
            if not self._cv.isOpened():
                raise OSError(f"OpenCV cannot write {path}") from None
            return
        options = ["-crf", str(quality), "-preset", "slow", "-movflags", "+faststart"]
        self._pipe = ffmpeg.write_frames(
            str(path), size, fps=fps, codec="libx264", pix_fmt_out="yuv420p", quality=None, output_params=options
        )
        self._pipe.send(None)

    def add(self, rgb: NDArray[np.uint8]) -> None:
        """Append a frame [H, W, 3] uint8."""
        if self._cv is not None:
            self._cv.write(np.ascontiguousarray(rgb[..., ::-1]))
        else:
            self._pipe.send(np.ascontiguousarray(rgb))

    def close(self) -> None:
        """Finish the file."""
        if self._cv is not None:
            self._cv.release()
        else:
            self._pipe.close()


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="robotseg_core.synth.demo_clip", description=__doc__.split("\n")[0])
    parser.add_argument("--robots", type=Path, required=True, help="folder with arms/ and grippers/")
    parser.add_argument("--out", type=Path, required=True, help="folder for clip.mp4 and mask_gt/")
    parser.add_argument("--seed", type=int, default=8, help="of the surroundings")
    parser.add_argument("--seconds", type=float, default=10.0, help="length (default 10)")
    parser.add_argument("--mask-every", type=int, default=30, help="frames from one written mask to the next")
    parser.add_argument("--sheet", type=Path, help="also write a contact sheet here (png)")
    args = parser.parse_args(argv)
    try:
        check_option("--seed", args.seed, 0, MOST_SEED)
        check_option("--seconds", args.seconds, 1 / FPS, MOST_SECONDS)
        check_option("--mask-every", args.mask_every, 1, MOST_ITEMS)
    except ValueError as error:
        parser.error(str(error))
    args.out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(args.seed)
    writer = ClipWriter(args.out / "clip.mp4", SIZE, FPS)
    tiles: list[NDArray[np.uint8]] = []
    total = round(args.seconds * FPS)
    for i, picture in enumerate(tqdm(frames_of(args.robots, args.seed, args.seconds), total=total, unit="frame")):
        grain = rng.normal(0, 1.5, (*picture.label.shape, 1))
        writer.add(np.clip(picture.rgb + grain, 0, 255).astype(np.uint8))
        if i % args.mask_every == 0:
            write_masks(args.out / "mask_gt" / "clip", i, picture.label)
            tiles += [picture.rgb, overlay(picture.rgb, picture.label)]
    writer.close()
    if args.sheet is not None:
        write_sheet(args.sheet, tiles, columns=4, width=320)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
