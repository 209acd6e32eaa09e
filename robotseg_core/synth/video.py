# SPDX-License-Identifier: Apache-2.0
"""One rendered video: a scene, smooth motion, a camera, frames with exact labels.  Everything follows from one seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robotseg_core.synth.instances.frames import describe_frame
from robotseg_core.synth.instances.records import FrameRecord, SceneRecord, VideoMeta
from robotseg_core.synth.instances.registry import find_instances
from robotseg_core.synth.rendering.backdrop import Backdrop, choose_backdrop
from robotseg_core.synth.rendering.camera_effects import CameraLook
from robotseg_core.synth.rendering.motion import Motion, joint_path, swept_points
from robotseg_core.synth.rendering.movers import drive_robots, move_things
from robotseg_core.synth.rendering.occluder import place_occluder
from robotseg_core.synth.rendering.render import Picture, Renderer
from robotseg_core.synth.rendering.sensor import RollingShutter, VideoCodec
from robotseg_core.synth.rendering.track import CameraTrack, aim, aim_at_things, pan, place_camera
from robotseg_core.synth.robots.catalog import RobotChoice
from robotseg_core.synth.robots.followers import Held
from robotseg_core.synth.scenes.look import exposure, light_scene, paint_alike, paint_like
from robotseg_core.synth.scenes.placing import choose_robots, place_robots, place_things
from robotseg_core.synth.scenes.room import HIDDEN_Z, Room, Thing
from robotseg_core.synth.scenes.scene import Scene, build_scene, update
from robotseg_core.synth.scenes.surroundings import (
    CABLES,
    Contents,
    close_on_held,
    hold_things,
    room_around,
    stand_robots,
)
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
        focus: fraction of third-person videos in which the camera looks at things, with robots in view by chance.
        moving: fraction in which things move by themselves.
        drives: fraction of the robots on wheels or legs that move through the room.
        contents: what rooms are filled with.
        exclude: grippers that generated and changed robots must not carry.
        depth: whether distances are measured; nothing else changes with it.
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
    focus: float = 0.1
    moving: float = 0.35
    drives: float = 0.3
    contents: Contents = Contents()
    exclude: tuple[str, ...] = ()
    depth: bool = False


@dataclass(frozen=True)
class VideoFrame:
    """One frame: picture with labels and ids, the video's description, what is in it, where that is in this frame."""

    picture: Picture
    meta: VideoMeta
    scene: SceneRecord
    seen: FrameRecord


def _robots(options: VideoOptions, rng: np.random.Generator) -> list[RobotChoice]:
    return choose_robots(options.robots, options.choices, rng, options.two, options.procedural, options.exclude)


def _without_robot(room: Room) -> Extent:
    middle = np.array([0.3, 0.0, 0.12]) if room.table is not None else np.array([0.0, 0.0, room.floor_z + 0.2])
    grip = (middle, middle + np.array([0.05, 0.0, 0.0]), np.array([0.0, 1.0, 0.0]))
    return Extent(middle, 0.6, np.array([0.0, 0.0, middle[2] - 0.1]), (grip,))


def _things(room: Room) -> list[Thing]:
    """All that was built, whether it was placed or not."""
    held = [thing for thing in room.held if thing is not None]
    return [*room.things, *held, *room.fixtures, *([room.occluder] if room.occluder is not None else [])]


def _things_in_sight(scene: Scene, room: Room) -> list[NDArray[np.int64]]:
    """Geoms of each small thing, machine and hand that was placed, or is held."""
    held = {int(f.geoms[0]) for f in scene.followers if isinstance(f, Held)}
    found = []
    for thing in _things(room):
        body = scene.model.body(thing.body)
        geoms = np.arange(body.geomadr[0], body.geomadr[0] + body.geomnum[0], dtype=np.int64)
        placed = scene.model.body_pos[body.id][2] > HIDDEN_Z + 1 or (len(geoms) and int(geoms[0]) in held)
        if placed and thing.kind in ("thing", "machine", "hand") and len(geoms):
            found.append(geoms)
    return found


def render_video(options: VideoOptions, seed: int, renderer: Renderer) -> Iterator[VideoFrame]:
    """The frames of the video with this seed.

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
    everybody = len(choices) > 1 and view is not View.WRIST and rng.random() < 0.75
    if everybody and view in (View.NEAR, View.CROPPED):
        view = View.FAR
    rooms: list[Room] = []
    around = room_around(options.robots, choices, photo, options.contents, rng, rooms)
    scene = build_scene(options.robots, choices, rng, around, cables=CABLES)
    room = rooms[0]
    scene = hold_things(scene, room.held, rng)
    place_robots(scene, rng)
    stand_robots(scene, room)
    update(scene)
    driving = drive_robots(scene, room, options.frames, options.drives, rng)
    motion = Motion(close_on_held(scene, joint_path(scene, rng, options.frames)), driving)
    place_things(scene, room, rng, swept_points(scene, motion, every=2))
    crossing = False
    if rng.random() < options.moving:
        wandering, crossing = move_things(scene, room, motion, rng)
        motion = replace(motion, movers=(*driving, *wandering))
    paint = paint_alike(scene, rng)
    if scene.robots:
        for thing in room.things:
            if thing.robot_like and rng.random() < 0.5:
                paint_like(scene, thing.body, scene.robots[int(rng.integers(len(scene.robots)))])
    motion.apply(scene, 0)
    extent = measure(scene, scene.robots[0]) if scene.robots else _without_robot(room)
    casts = light_scene(scene, rng, extent.centre, extent.radius, shadow=0.8, from_above=True)
    renderer.set_model(scene.model)
    turned = None
    small = _things_in_sight(scene, room)
    if small and view is not View.WRIST and rng.random() < options.focus:
        view = View.THINGS
        track = aim_at_things(scene, renderer, room, motion, small, rng)
    elif scene.robots:
        found = aim(scene, renderer, view, room, motion, rng, everybody)
        if found is None:  # no place for a wrist camera
            view = View.NEAR
            found = aim(scene, renderer, view, room, motion, rng)
            assert found is not None
        track = found
    else:
        track = place_camera(scene, view, extent, room, options.frames, rng)
    passing = None
    if room.occluder is not None and view is not View.WRIST:
        passing = place_occluder(scene, renderer, room.occluder, track, motion, extent.centre, rng)
        if passing is not None:
            motion = replace(motion, movers=(*motion.movers, passing))
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
    moving = [mover.body for mover in motion.movers]
    registry = find_instances(scene, _things(room), moving)
    happens = {
        "two_robots": len(scene.robots) > 1,
        "bimanual": any(len(r.gripper_roots) > 1 for r in scene.robots),
        "twin_things": any(i.twin_of is not None for i in registry.record.instances),
        "robot_like": any(i.robot_like for i in registry.record.instances),
        "carried": any(i.held_by is not None for i in registry.record.instances),
        "moving": len(motion.movers) > len(driving) + (passing is not None),
        "crossing": crossing,
        "drives": bool(driving),
        "occluder": passing is not None,
        "leaves": turned is not None,
    }
    record = replace(registry.record, events=tuple(name for name, true in happens.items() if true))
    curve: NDArray[np.uint8] | None = None
    for frame in range(options.frames):
        picture = _frame(scene, renderer, track, motion, frame, casts, backdrop, blur, registry.leaf, options.depth)
        if curve is None:  # the camera's exposure: set once, by the first frame
            inside = picture.label > 0 if picture.label.mean() > 0.02 else np.ones(picture.label.shape, bool)
            curve = exposure(picture.rgb[inside], float(rng.uniform(25, 70)))
        picture = replace(picture, rgb=curve[picture.rgb])
        picture = picture if shutter is None else shutter.apply(picture, frame)
        assert picture.ids is not None
        seen = describe_frame(scene, registry, picture.ids)
        rgb = look.apply(picture.rgb, rng)
        picture = replace(picture, rgb=rgb if codec is None else codec.apply(rgb))
        yield VideoFrame(picture, meta, record, seen)


def _frame(
    scene: Scene,
    renderer: Renderer,
    track: CameraTrack,
    motion: Motion,
    frame: int,
    shadow: bool,
    backdrop: Backdrop | None,
    blur: float,
    leaf: NDArray[np.uint16],
    depth: bool,
) -> Picture:
    """Draw one frame; ``blur`` is how long the shutter is open, in frames.  Labels are those of its middle."""
    rgb: NDArray[np.uint8] | None = None
    if blur > 0:
        parts = []
        for offset in (-blur / 2, 0.0, blur / 2):
            motion.apply(scene, frame + offset)
            track.apply(scene, frame)
            parts.append(renderer.colour(scene.data, scene.camera, shadow))
        rgb = np.asarray(np.mean(np.stack(parts), axis=0), np.uint8)
    motion.apply(scene, frame)
    track.apply(scene, frame)
    behind = backdrop.window(frame) if backdrop is not None else None
    return renderer.picture(
        scene.data, scene.camera, scene.part, shadow, backdrop=behind, rgb=rgb, leaf=leaf, depth=depth
    )
