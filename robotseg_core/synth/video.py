# SPDX-License-Identifier: Apache-2.0
"""One rendered video: a scene, smooth motion, a camera, frames with exact labels.  Everything follows from one seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robotseg_core.synth.rendering.backdrop import Backdrop, choose_backdrop
from robotseg_core.synth.rendering.camera_effects import CameraLook
from robotseg_core.synth.rendering.motion import joint_path, swept_points
from robotseg_core.synth.rendering.occluder import place_occluder
from robotseg_core.synth.rendering.render import Picture, Renderer
from robotseg_core.synth.rendering.sensor import RollingShutter, VideoCodec
from robotseg_core.synth.rendering.track import CameraTrack, aim, pan, place_camera
from robotseg_core.synth.robots.catalog import RobotChoice
from robotseg_core.synth.scenes.look import exposure, light_scene, paint_robot
from robotseg_core.synth.scenes.placing import choose_robots, place_robots
from robotseg_core.synth.scenes.room import Room, place_things
from robotseg_core.synth.scenes.scene import Scene, build_scene, update
from robotseg_core.synth.scenes.surroundings import CABLES, hold_thing, room_around
from robotseg_core.synth.scenes.views import Extent, View, choose_view, measure


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
        procedural: fraction of robots that do not exist (:func:`~robotseg_core.synth.robots.catalog.sample_made`).
        shutter: fraction with motion blur.
        leaves: fraction in which the camera turns away from the robot or towards it.
        rolling: fraction with a rolling shutter.
        coded: fraction that went through a video encoder.
        occluded: fraction of third-person videos with a thing before the robot.
    """

    robots: Path
    choices: tuple[RobotChoice, ...]
    photos: tuple[Path, ...] = ()
    frames: int = 12
    size: tuple[int, int] = (384, 384)
    empty: float = 0.2
    two: float = 0.15
    photo: float = 0.5
    procedural: float = 0.0
    shutter: float = 0.3
    leaves: float = 0.1
    rolling: float = 0.15
    coded: float = 0.35
    occluded: float = 0.3


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
    around = room_around(options.robots, choices, photo, options.occluded, rng, rooms)
    scene = build_scene(options.robots, choices, rng, around, cables=CABLES)
    room = rooms[0]
    scene = hold_thing(scene, room.held, rng)
    place_robots(scene, rng)
    update(scene)
    path = joint_path(scene, rng, options.frames)
    place_things(scene, room, rng, swept_points(scene, path, every=2))
    paint = tuple(paint_robot(scene, r, rng) for r in scene.robots)
    update(scene)
    extent = measure(scene, scene.robots[0]) if scene.robots else _without_robot(room)
    casts = light_scene(scene, rng, extent.centre, extent.radius, shadow=0.8, from_above=True)
    renderer.set_model(scene.model)
    turned = None
    if scene.robots:
        found = aim(scene, renderer, view, room, path, rng)
        if found is None:  # no place for a wrist camera
            view = View.NEAR
            found = aim(scene, renderer, view, room, path, rng)
            assert found is not None
        track = found
    else:
        track = place_camera(scene, view, extent, room, options.frames, rng)
    occluder = None
    if scene.robots and room.occluder is not None and view is not View.WRIST:
        occluder = place_occluder(scene, renderer, room.occluder, track, path, extent.centre, rng)
    if scene.robots and view is not View.WRIST and options.frames > 1 and rng.random() < options.leaves:
        track, turned = pan(track, rng)
    backdrop = None
    if photo:
        file = options.photos[int(rng.integers(len(options.photos)))]
        move = 1.0 if turned is not None else 0.6 if view is View.WRIST else 0.05 if track.turn.any() else 0.0
        backdrop = choose_backdrop(file, renderer.big, options.frames, move, rng, turned)
    look = CameraLook.sample(rng)
    shutter = RollingShutter.sample(rng, options.frames, options.size[0]) if rng.random() < options.rolling else None
    codec = VideoCodec(float(np.exp(rng.uniform(np.log(3), np.log(24))))) if rng.random() < options.coded else None
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
    curve: NDArray[np.uint8] | None = None
    for frame in range(options.frames):
        if occluder is not None:
            occluder.apply(scene, frame)
        picture = _frame(scene, renderer, track, path, frame, casts, backdrop, blur)
        if curve is None:  # the camera's exposure: set once, by the first frame
            inside = picture.label > 0 if picture.label.mean() > 0.02 else np.ones(picture.label.shape, bool)
            curve = exposure(picture.rgb[inside], float(rng.uniform(25, 70)))
        picture = replace(picture, rgb=curve[picture.rgb])
        picture = picture if shutter is None else shutter.apply(picture, frame)
        rgb = look.apply(picture.rgb, rng)
        yield Picture(rgb if codec is None else codec.apply(rgb), picture.label, picture.alpha), meta


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
