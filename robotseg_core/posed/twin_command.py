# SPDX-License-Identifier: Apache-2.0
"""``robotseg twin``: a recording of a resting camera as a MuJoCo scene, with a video of both side by side."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import cv2
import mujoco
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from robotseg_core.files.depth_files import find_depth, read_depth
from robotseg_core.files.film import Film
from robotseg_core.geometry.camera import Camera
from robotseg_core.geometry.depth_filter import Depth
from robotseg_core.option_limits import check_option
from robotseg_core.posed.background import board, cloud_ply, empty_depth, empty_picture, metres, surface
from robotseg_core.posed.recording import (
    Recording,
    SeenFrame,
    add_recording_arguments,
    add_robot_arguments,
    load_robot,
    most_in_memory,
    open_recording,
    spread_frames,
)
from robotseg_core.posed.robot import CAMERA, PosedRobot, read_spec
from robotseg_core.posed.twin_scene import Picture, TwinScene
from robotseg_core.storage.new_folder import replacing_folder
from robotseg_core.storage.whole import write_whole
from robotseg_core.synth.rendering.render import Renderer

REPORT = "twin.json"
MOST_FRAMES = 1000
"""Of a twin: each is a keyframe, and without joints a surface with a picture of its own."""
FAR_M = 3.0
"""How far away the background's picture hangs where no depth says how far it is."""
REACH_M = 1.5
"""How far behind the robot's base it hangs at least."""
FAR_PERCENTILE = 98.0
"""Of the background's distances; the picture hangs there."""
VIDEO_WIDTH = 640
"""Of each half of the video."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``robotseg twin``."""
    parser.add_argument("camera", type=Path, metavar="FOLDER", help="of the camera, with its files")
    parser.add_argument("--out", required=True, type=Path, help="folder of the scene; must not exist or be empty")
    parser.add_argument("--overwrite", action="store_true", help="replace the scene that OUT has")
    add_robot_arguments(parser, required=False)
    parser.add_argument("--depth", help="folder of depth images by the names of the frames, aligned with them")
    parser.add_argument(
        "--frames", type=int, default=60, help=f"at most so many, evenly spread, 1 to {MOST_FRAMES} (default 60)"
    )
    add_recording_arguments(parser, posed=False)


def run(arguments: argparse.Namespace) -> int:
    """Make the twin of one recording."""
    check_option("--frames", arguments.frames, 1, MOST_FRAMES)
    posed = arguments.joints is not None
    if posed and (arguments.mjcf is None and arguments.urdf is None):
        raise ValueError("--joints needs the robot: --mjcf or --urdf")
    if posed and arguments.pose is None:
        raise ValueError("--joints needs --pose, the camera's pose in the base link (see robotseg check-extrinsics)")
    if not posed and arguments.depth is None:
        raise ValueError("nothing says where the robot is in space: give --joints, --pose and a robot, or --depth")
    out: Path = arguments.out
    if out.exists() and any(out.iterdir()) and not (arguments.overwrite and (out / REPORT).is_file()):
        raise FileExistsError(f"{out} is not empty; give another --out, or --overwrite to replace an earlier twin")
    if arguments.depth is not None and not (arguments.camera / arguments.depth).is_dir():
        # Before the model has looked at anything, which takes long.
        raise FileNotFoundError(f"--depth: {arguments.camera / arguments.depth} is no folder")
    robot = load_robot(arguments) if posed else None
    recording = open_recording(arguments.camera, arguments, robot)
    fitting = most_in_memory(recording.camera)
    frames, left_out = spread_frames(recording, min(arguments.frames, fitting), posed=posed)
    if left_out and fitting < arguments.frames:
        print(f"{recording.name}: {len(frames)} frames are taken, no more of that size: memory", file=sys.stderr)
    depths = None
    if arguments.depth is not None:
        depths, frames = _depths(arguments.camera / arguments.depth, frames, recording.camera)
    with replacing_folder(out) as part:
        report = _make(part, recording, robot, frames, depths)
    print(f"{len(frames)} frames -> {out / 'scene.xml'}, {out / 'side_by_side.mp4'}")
    if report["never_seen"] > 0.001:
        print(f"{report['never_seen']:.1%} of the background is seen in no frame and painted in", file=sys.stderr)
    if report["median_iou"] is not None:
        print(f"silhouette of the twin and mask: median IoU {report['median_iou']:.3f}")
    return 0


def _depths(folder: Path, frames: list[SeenFrame], camera: Camera) -> tuple[list[Depth], list[SeenFrame]]:
    """Depth of the frames that have one."""
    depths, kept = [], []
    for frame in frames:
        path = find_depth(folder, frame.name)
        if path is None:
            continue
        depth = read_depth(path)
        if depth.shape != (camera.height, camera.width):
            raise ValueError(
                f"{path} is {depth.shape[1]} x {depth.shape[0]}, camera_info is of {camera.width} x {camera.height}: "
                "the depth must be aligned with the pictures"
            )
        depths.append(depth)
        kept.append(frame)
    if not kept:
        raise FileNotFoundError(f"{folder} has no depth image named like a frame, such as {frames[0].name}.png")
    return depths, kept


def _make(
    folder: Path,
    recording: Recording,
    robot: PosedRobot | None,
    frames: list[SeenFrame],
    depths: list[Depth] | None,
) -> dict[str, Any]:
    camera = recording.camera
    pose = np.eye(4) if recording.pose is None else recording.pose
    scene = TwinScene(folder, None if robot is None else read_spec(robot.path, robot.packages)[0])
    if robot is not None:
        pose = _in_world(robot, frames) @ pose
    picture, never = empty_picture([f.rgb for f in frames], [f.mask for f in frames])
    far = FAR_M if robot is None else max(FAR_M, float(np.linalg.norm(pose[:3, 3])) + REACH_M)
    if depths is not None:
        behind = empty_depth(depths, [f.mask for f in frames])
        if behind.any():
            # The farthest measurements are the worst: what lies behind the picture is not shown.
            far = max(far if robot is not None else 0.0, float(np.percentile(behind[behind > 0], FAR_PERCENTILE)))
            behind[behind > far] = 0
        relief = surface(behind, camera, pose)
        if len(relief.faces):
            scene.add_picture(Picture("background_relief", relief, picture))
            colours = _colours(picture, relief.texture)
            write_whole(folder / "background.ply", cloud_ply(relief.points, colours))
    scene.add_picture(Picture("background", board(far, camera, pose), picture))
    if robot is None:
        assert depths is not None
        for frame, depth in zip(frames, depths, strict=True):
            own = surface(metres(depth), camera, pose, frame.mask)
            if len(own.faces):
                scene.add_picture(Picture(f"robot_{frame.name}", own, frame.rgb, moves=True))
    scene.add_camera(camera, pose)
    scene.add_frames([(f.name, f.positions) for f in frames], far)
    path = scene.write()
    ious = _film(path, camera, recording, frames, robot is not None)
    known = [iou for iou in ious if iou is not None]
    report = {
        "camera_in_world": pose.tolist(),
        "never_seen": never,
        "background_m": far,
        "median_iou": float(np.median(known)) if known else None,
        "frames": [{"name": f.name, "key": f"frame_{f.name}", "iou": i} for f, i in zip(frames, ious, strict=True)],
    }
    (folder / REPORT).write_text(json.dumps(report, indent=1) + "\n")
    return report


def _in_world(robot: PosedRobot, frames: list[SeenFrame]) -> NDArray[np.float64]:
    """Where the base link rests.

    Raises:
        ValueError: it moves, so that the camera would.
    """
    poses = []
    for frame in frames:
        assert frame.positions is not None
        robot.pose(frame.positions)
        poses.append(robot.base_pose())
    if max(float(np.abs(p - poses[0]).max()) for p in poses) > 1e-4:
        raise ValueError("the base link moves with the joints; a twin needs a camera and a base at rest: give --base")
    return poses[0]


def _colours(picture: NDArray[np.uint8], texture: NDArray[np.float64]) -> NDArray[np.uint8]:
    height, width = picture.shape[:2]
    x = np.clip((texture[:, 0] * width).astype(int), 0, width - 1)
    y = np.clip(((1 - texture[:, 1]) * height).astype(int), 0, height - 1)
    return picture[y, x]


def _film(path: Path, camera: Camera, recording: Recording, frames: list[SeenFrame], posed: bool) -> list[float | None]:
    """The video of both side by side and a contact sheet; returns each frame's IoU of the twin's robot and mask."""
    model = mujoco.MjModel.from_xml_path(str(path))
    data = mujoco.MjData(model)
    number = int(model.camera(CAMERA).id)
    background = np.array([model.geom(g).name.startswith("background") for g in range(model.ngeom)])
    part = np.where(background, 0, 1).astype(np.uint8)
    width = min(VIDEO_WIDTH, camera.width) // 2 * 2
    size = (width, max(2, round(width * camera.height / camera.width) // 2 * 2))
    renderer = Renderer(*size, scale=1.0)
    renderer.set_model(model)
    video, sheet = path.with_name("side_by_side.mp4"), path.with_name("contact_sheet.png")
    film = Film(video, sheet, recording.rate_hz, len(frames), columns=2, width=640)
    ious: list[float | None] = []
    for frame in tqdm(frames, desc="twin", unit="frame"):
        mujoco.mj_resetDataKeyframe(model, data, model.key(f"frame_{frame.name}").id)
        mujoco.mj_forward(model, data)
        twin = renderer.colour(data, number, shadow=False)
        robot = renderer.preview(data, number, part, shrink=1) > 0
        mask = np.asarray(cv2.resize(frame.mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)) > 0.5
        union = float((robot | mask).sum())
        ious.append(float((robot & mask).sum()) / union if posed and union else None)
        pair = np.hstack([cv2.resize(frame.rgb, size, interpolation=cv2.INTER_AREA), twin])
        film.add(frame.name, pair)
    film.close()
    renderer.close()
    return ious
