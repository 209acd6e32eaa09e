# SPDX-License-Identifier: Apache-2.0
"""One rendered video: a scene, smooth motion, a camera, frames with exact labels.  Everything follows from one seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np
from numpy.typing import NDArray

from robotseg_core.synth.backdrop import Backdrop, choose_backdrop
from robotseg_core.synth.catalog import PROCEDURAL, RobotChoice, read_robot
from robotseg_core.synth.cutouts import choose_robots, place_robots
from robotseg_core.synth.look import light_scene, paint_robot
from robotseg_core.synth.motion import joint_path, swept_points
from robotseg_core.synth.occluder import place_occluder
from robotseg_core.synth.post import CameraLook
from robotseg_core.synth.render import Picture, Renderer
from robotseg_core.synth.room import Room, RoomBuilder, place_things
from robotseg_core.synth.scene import Scene, build_scene, update
from robotseg_core.synth.track import CameraTrack, aim, place_camera
from robotseg_core.synth.views import Extent, View, choose_view, measure


@dataclass(frozen=True)
class VideoOptions:
    """What a set of videos is made of.

    Attributes:
        robots: the robots folder.
        choices: robots that may appear.
        photos: pictures for backgrounds; may be empty.
        frames: in each video.
        size: (width, height), pixels.
        empty: fraction of videos without a robot.
        two: fraction of the others with two robots.
        photo: fraction with a photograph behind, when there are photos.
        procedural: fraction of robots that do not exist (:func:`~robotseg_core.synth.catalog.sample_made`).
        shutter: fraction with motion blur.
        occluded: fraction of third-person videos with a thing before the robot.
    """

    robots: Path
    choices: tuple[RobotChoice, ...]
    photos: tuple[Path, ...] = ()
    frames: int = 12
    size: tuple[int, int] = (384, 384)
    empty: float = 0.08
    two: float = 0.12
    photo: float = 0.5
    procedural: float = 0.0
    shutter: float = 0.3
    occluded: float = 0.25


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


def _surround(
    options: VideoOptions, choices: list[RobotChoice], photo: bool, rng: np.random.Generator, out: list[Room]
) -> Callable[[mujoco.MjSpec], None]:
    """What to build around the robots; the finished room is appended to ``out``."""
    mobile = any(c.arm != PROCEDURAL and read_robot(options.robots / "arms" / c.arm).mobile for c in choices)
    floor = 0.0 if mobile else -float(rng.uniform(0.55, 0.95))
    reach = 3.2 if mobile else 2.1

    def build(spec: mujoco.MjSpec) -> None:
        builder = RoomBuilder(spec, rng)
        if not photo:
            builder.floor(floor)
            builder.walls(floor, (reach, reach + 2.0))
        table = None
        if mobile:
            if rng.random() < 0.6:
                angle = rng.uniform(0, 2 * np.pi)
                table = builder.table(1.3 * np.cos(angle), 1.3 * np.sin(angle), float(rng.uniform(0.6, 0.85)), floor)
        elif not choices or rng.random() < (0.5 if photo else 0.75):
            table = builder.table(float(rng.uniform(0, 0.35)), float(rng.uniform(-0.2, 0.2)), 0.0, floor, 0.1)
        elif not photo:
            builder.pedestal(0.0, 0.0, floor)
        things = int(rng.integers(3, 12)) if table is not None or not photo else 0
        placed = tuple(builder.thing() for _ in range(things))
        blocker = builder.occluder() if rng.random() < options.occluded else None
        out.append(Room(floor, table, placed, reach - 0.2, blocker))

    return build


def _robots(options: VideoOptions, rng: np.random.Generator) -> list[RobotChoice]:
    return choose_robots(options.robots, options.choices, rng, options.two, options.procedural)


def _without_robot(room: Room) -> Extent:
    middle = np.array([0.3, 0.0, 0.12]) if room.table is not None else np.array([0.0, 0.0, room.floor_z + 0.2])
    grip = (middle, middle + np.array([0.05, 0.0, 0.0]), np.array([0.0, 1.0, 0.0]))
    return Extent(middle, 0.6, np.array([0.0, 0.0, middle[2] - 0.1]), (grip,))


def render_video(options: VideoOptions, seed: int, renderer: Renderer) -> Iterator[tuple[Picture, VideoMeta]]:
    """The frames of the video with this seed, each with the video's description.

    Args:
        options: what videos are made of.
        seed: fixes everything, given the same options, robots, MuJoCo and OpenGL driver.
        renderer: of ``options.size``.
    """
    rng = np.random.default_rng(seed)
    choices = [] if rng.random() < options.empty else _robots(options, rng)
    photo = bool(options.photos) and rng.random() < options.photo
    view = choose_view(rng)
    if not choices and view is View.WRIST:
        view = View.NEAR
    rooms: list[Room] = []
    scene = build_scene(options.robots, choices, rng, _surround(options, choices, photo, rng, rooms))
    room = rooms[0]
    place_robots(scene, rng)
    update(scene)
    path = joint_path(scene, rng, options.frames)
    place_things(scene, room, rng, swept_points(scene, path, every=2))
    paint = tuple(paint_robot(scene, r, rng) for r in scene.robots)
    update(scene)
    extent = measure(scene, scene.robots[0]) if scene.robots else _without_robot(room)
    casts = light_scene(scene, rng, extent.centre, extent.radius, shadow=0.8, from_above=True)
    renderer.set_model(scene.model)
    if scene.robots:
        track = aim(scene, renderer, view, room, path, rng)
    else:
        track = place_camera(scene, view, extent, room, options.frames, rng)
    occluder = None
    if scene.robots and room.occluder is not None and view is not View.WRIST:
        occluder = place_occluder(scene, renderer, room.occluder, track, path, extent.centre, rng)
    backdrop = None
    if photo:
        file = options.photos[int(rng.integers(len(options.photos)))]
        move = 0.6 if view is View.WRIST else 0.05 if track.turn.any() else 0.0
        backdrop = choose_backdrop(file, renderer.big, options.frames, move, rng)
    look = CameraLook.sample(rng)
    blur = float(rng.uniform(0.2, 0.6)) if rng.random() < options.shutter else 0.0
    first = scene.robots[0].choice if scene.robots else None
    meta = VideoMeta(
        arm=first.arm if first else None,
        gripper=first.gripper if first else None,
        robots=tuple(str(r.choice) for r in scene.robots),
        view=view.value,
        bg="photo" if photo else "room",
        paint=paint,
        seed=seed,
        jpeg=look.jpeg,
    )
    for frame in range(options.frames):
        if occluder is not None:
            occluder.apply(scene, frame)
        picture = _frame(scene, renderer, track, path, frame, casts, backdrop, blur)
        yield Picture(look.apply(picture.rgb, rng), picture.label, picture.alpha), meta


def _frame(
    scene: Scene,
    renderer: Renderer,
    track: CameraTrack,
    path: NDArray[np.float64],
    frame: int,
    shadow: bool,
    backdrop: Backdrop | None,
    blur: float,
) -> Picture:
    """Draw one frame; ``blur`` is how long the shutter is open, in frames.  Labels are those of its middle."""
    rgb: NDArray[np.uint8] | None = None
    if blur > 0:
        parts = []
        for offset in (-blur / 2, 0.0, blur / 2):
            _pose_at(scene, path, frame + offset)
            track.apply(scene, frame)
            parts.append(renderer.colour(scene.data, scene.camera, shadow))
        rgb = np.asarray(np.mean(np.stack(parts), axis=0), np.uint8)
    _pose_at(scene, path, float(frame))
    track.apply(scene, frame)
    behind = backdrop.window(frame) if backdrop is not None else None
    return renderer.picture(scene.data, scene.camera, scene.part, shadow=shadow, backdrop=behind, rgb=rgb)


def _pose_at(scene: Scene, path: NDArray[np.float64], time: float) -> None:
    time = min(max(time, 0.0), len(path) - 1.0)
    low = min(int(time), max(0, len(path) - 2))
    part = time - low
    high = min(low + 1, len(path) - 1)
    scene.data.qpos[:] = (1 - part) * path[low] + part * path[high]
    update(scene)
