# SPDX-License-Identifier: Apache-2.0
"""The camera through a video: where it is in each frame, chosen so that it sees the robot well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import mujoco
import numpy as np
from numpy.typing import NDArray

from robotseg_core.synth.rendering.motion import Motion, spline
from robotseg_core.synth.rendering.render import Renderer
from robotseg_core.synth.robots.robot import BACKGROUND, GRIPPER
from robotseg_core.synth.scenes.room import Room
from robotseg_core.synth.scenes.scene import Scene
from robotseg_core.synth.scenes.views import CameraPose, Extent, View, join_extents, measure, third_person, wrist_view

WRIST_SHARE = (0.03, 0.45)
"""Least and most of the first frame that the gripper covers in a video of a wrist camera."""


@dataclass(frozen=True)
class CameraTrack:
    """A camera through a video: shaky by hand, or fixed to a body.

    Attributes:
        pose: at rest, in the world or in ``body``.
        body: id of the body that carries the camera, or None.
        shift: [frames, 3] metres added to its position.
        turn: [frames, 3] radians turned about its own axes.
    """

    pose: CameraPose
    body: int | None
    shift: NDArray[np.float64]
    turn: NDArray[np.float64]

    def apply(self, scene: Scene, frame: int) -> None:
        """Put the scene's camera where it is in ``frame``; positions of bodies must be up to date."""
        pos, quat = self.pose.pos + self.shift[frame], self.pose.quat
        size = float(np.linalg.norm(self.turn[frame]))
        if size > 1e-9:
            small, turned = np.zeros(4), np.zeros(4)
            mujoco.mju_axisAngle2Quat(small, self.turn[frame] / size, size)
            mujoco.mju_mulQuat(turned, quat, small)
            quat = turned
        if self.body is not None:
            world_pos, world_quat = np.zeros(3), np.zeros(4)
            mujoco.mju_mulPose(
                world_pos, world_quat, scene.data.xpos[self.body], scene.data.xquat[self.body], pos, quat
            )
            pos, quat = world_pos, world_quat
        CameraPose(pos, quat, self.pose.fovy).apply(scene)


def pan(track: CameraTrack, rng: np.random.Generator) -> tuple[CameraTrack, NDArray[np.float64]]:
    """The camera turning towards the robot, away from it, or away and back.

    Returns:
        the track, and the share of the turn that is done in each frame, [frames], 0 where it looks at the robot.
    """
    frames = len(track.turn)
    at = np.linspace(0, 1, frames)
    start, length = rng.uniform(-0.1, 0.5), rng.uniform(0.3, 0.8)
    part = np.clip((at - start) / length, 0, 1)
    part = part * part * (3 - 2 * part)
    kind = rng.choice(3, p=[0.25, 0.25, 0.5])
    part = part if kind == 0 else 1 - part if kind == 1 else 1 - np.abs(2 * part - 1)
    angle = np.deg2rad(track.pose.fovy) * rng.uniform(0.7, 1.3) * rng.choice([-1, 1])
    way = np.array([rng.normal(0, 0.2), 1.0, 0.0])
    return replace(track, turn=track.turn + part[:, None] * angle * way), part * np.sign(angle)


def place_camera(
    scene: Scene, view: View, extent: Extent, room: Room, frames: int, rng: np.random.Generator
) -> CameraTrack:
    """A camera for the positions the scene holds now."""
    shift, turn = np.zeros((frames, 3)), np.zeros((frames, 3))
    if view is View.WRIST:
        world = wrist_view(extent, rng)
        root = min(scene.robots[0].gripper_roots, key=lambda b: float(np.linalg.norm(scene.data.xpos[b] - world.pos)))
        body = int(scene.model.body_parentid[root])
        back_pos, back_quat, pos, quat = np.zeros(3), np.zeros(4), np.zeros(3), np.zeros(4)
        mujoco.mju_negPose(back_pos, back_quat, scene.data.xpos[body], scene.data.xquat[body])
        mujoco.mju_mulPose(pos, quat, back_pos, back_quat, world.pos, world.quat)
        return CameraTrack(CameraPose(pos, quat, world.fovy), body, shift, turn)
    pose = third_person(view, extent, rng)
    least = (room.table.z if room.table is not None else room.floor_z) + 0.06
    for _ in range(20):
        if pose.pos[2] > least and float(np.abs(pose.pos[:2]).max()) < room.clear:
            break
        pose = third_person(view, extent, rng)
    if rng.random() < 0.5:
        knots = max(2, frames // 8 + 1)
        far = float(np.linalg.norm(pose.pos - extent.centre))
        at = np.linspace(0, knots - 1, frames)
        shift = spline(rng.normal(0, 0.015 * far, (knots, 3)), at)
        turn = spline(rng.normal(0, 0.012, (knots, 3)), at)
    return CameraTrack(pose, None, shift, turn)


def check_view(
    scene: Scene, renderer: Renderer, track: CameraTrack, motion: Motion, looks: int = 4
) -> tuple[float, float]:
    """Mean area of the robot, and of the gripper in the frame that shows it second least, over some frames."""
    areas, hands = [], []
    for frame in np.linspace(0, len(motion) - 1, looks).astype(int):
        motion.apply(scene, int(frame))
        track.apply(scene, int(frame))
        small = renderer.preview(scene.data, scene.camera, scene.part)
        areas.append(float((small != BACKGROUND).mean()))
        hands.append(float((small == GRIPPER).mean()))
    return float(np.mean(areas)), sorted(hands)[1]


def aim(
    scene: Scene,
    renderer: Renderer,
    view: View,
    room: Room,
    motion: Motion,
    rng: np.random.Generator,
    everybody: bool = False,
) -> CameraTrack | None:
    """A camera that sees the robot well: the first to meet the limits, else the best of those tried.

    A wrist camera must show the gripper in WRIST_SHARE of the first frame; None when none of those tried does.
    ``everybody``: look at all robots, of which each must be in view in the middle of the video.
    """
    best: tuple[float, CameraTrack] | None = None
    hidden = rng.random() < 0.08
    for _ in range(16):
        motion.apply(scene, len(motion) // 2)
        extents = [measure(scene, robot) for robot in scene.robots]
        extent = join_extents(extents) if everybody and view is not View.WRIST else extents[0]
        track = place_camera(scene, view, extent, room, len(motion), rng)
        if view is View.WRIST:
            if WRIST_SHARE[0] * 1.1 <= gripper_share(scene, renderer, track, motion) <= WRIST_SHARE[1] * 0.95:
                return track
            continue
        area, hand = check_view(scene, renderer, track, motion)
        least = smallest_share(scene, renderer, track, motion) if everybody else 1.0
        if 0.02 <= area <= 0.6 and (hidden or hand >= 0.002) and least >= 0.006:
            return track
        score = min(hand, 0.002) + min(area, 0.02) - max(0.0, area - 0.6) + 5 * min(least, 0.006)
        if best is None or score > best[0]:
            best = (score, track)
    return None if best is None else best[1]


def aim_at_things(
    scene: Scene,
    renderer: Renderer,
    room: Room,
    motion: Motion,
    geoms: Sequence[NDArray[np.int64]],
    rng: np.random.Generator,
    tries: int = 12,
) -> CameraTrack:
    """A camera near some things: the first that shows one well in the first and the middle frame, else the best.

    Args:
        geoms: for each thing its geoms; not empty.
    """
    best: tuple[float, CameraTrack] | None = None
    number = np.zeros(scene.model.ngeom, np.uint8)
    for i, own in enumerate(geoms[:254]):
        number[own] = i + 1
    for _ in range(tries):
        motion.apply(scene, 0)
        middle = scene.data.geom_xpos[geoms[int(rng.integers(len(geoms)))]].mean(axis=0)
        grip = (middle, middle + np.array([0.02, 0.0, 0.0]), np.array([0.0, 1.0, 0.0]))
        extent = Extent(middle, float(rng.uniform(0.25, 0.6)), middle, (grip,))
        view = View.ABOVE if rng.random() < 0.25 else View.FAR
        track = place_camera(scene, view, extent, room, len(motion), rng)
        share = 1.0
        for frame in (0, len(motion) // 2):
            motion.apply(scene, frame)
            track.apply(scene, frame)
            seen = np.bincount(renderer.preview(scene.data, scene.camera, number).ravel(), minlength=len(geoms) + 1)
            share = min(share, float(seen[1:].max() / seen.sum()))
        if 0.006 <= share <= 0.3:
            return track
        score = min(share, 0.006) - max(0.0, share - 0.3)
        if best is None or score > best[0]:
            best = (score, track)
    assert best is not None
    return best[1]


def smallest_share(scene: Scene, renderer: Renderer, track: CameraTrack, motion: Motion) -> float:
    """Share of the middle frame that shows the robot of which least is seen."""
    number = np.zeros(scene.model.ngeom, np.uint8)
    for i, robot in enumerate(scene.robots):
        number[robot.geoms] = i + 1
    motion.apply(scene, len(motion) // 2)
    track.apply(scene, len(motion) // 2)
    seen = renderer.preview(scene.data, scene.camera, number)
    return min(float((seen == i + 1).mean()) for i in range(len(scene.robots)))


def gripper_share(scene: Scene, renderer: Renderer, track: CameraTrack, motion: Motion) -> float:
    """Share of the first frame that shows a gripper."""
    motion.apply(scene, 0)
    track.apply(scene, 0)
    return float((renderer.preview(scene.data, scene.camera, scene.part, shrink=2) == GRIPPER).mean())
