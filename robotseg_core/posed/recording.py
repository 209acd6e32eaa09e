# SPDX-License-Identifier: Apache-2.0
"""Frames of one camera with joints, calibration and masks: a folder, or the files that the options name."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from robotseg_core.files.frames import open_frames
from robotseg_core.geometry.camera import Camera
from robotseg_core.model_arguments import add_model_arguments, load_model
from robotseg_core.posed.inputs import POSE_FRAMES, JointTable, read_camera, read_joints, read_pose
from robotseg_core.posed.robot import Pose, PosedRobot

Rgb = NDArray[np.uint8]
MOST_BYTES, BYTES = 2**30, 8
"""Of the frames that are kept at once, and of each pixel: picture, mask, depth."""


@dataclass(frozen=True)
class SeenFrame:
    """A frame with what is known of it.

    Attributes:
        name: of the frame.
        rgb: [H, W, 3] uint8, rectified.
        mask: [H, W] bool, rectified.
        positions: [njnt] joint positions, None where they are not known.
    """

    name: str
    rgb: Rgb
    mask: NDArray[np.bool_]
    positions: NDArray[np.float64] | None


@dataclass(frozen=True)
class Recording:
    """One camera's recording.

    Attributes:
        name: of the camera.
        camera: rectified, of the frames' size.
        pose: of its optical frame in the base link; None where it is not known.
        frames: gives the frames, once.
        count: of the frames, None where it is not known.
        rate_hz: of the frames.
    """

    name: str
    camera: Camera
    pose: Pose | None
    frames: Callable[[], Iterator[SeenFrame]]
    count: int | None
    rate_hz: float


def add_robot_arguments(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Arguments that name the robot."""
    group = parser.add_argument_group("the robot")
    which = group.add_mutually_exclusive_group(required=required)
    which.add_argument("--urdf", type=Path, help="its URDF (xacro: expand it first)")
    which.add_argument("--mjcf", type=Path, help="its MJCF")
    group.add_argument("--package-path", type=Path, nargs="*", default=[], help="folders, for package:// in the URDF")
    group.add_argument("--base", help="link that poses of cameras are given in (default: the first)")


def add_recording_arguments(parser: argparse.ArgumentParser, *, posed: bool) -> None:
    """Arguments that name a camera's files; ``posed``: joints and pose must be there."""
    group = parser.add_argument_group("files of a camera, relative to its folder")
    group.add_argument("--images", default="image", help="folder of frames, or video (default image)")
    group.add_argument("--masks", help="folder of masks by the names of the frames (default: the model makes them)")
    group.add_argument("--camera-info", default="camera_info.yaml", help="calibration (default camera_info.yaml)")
    group.add_argument(
        "--joints",
        default="joints.json" if posed else None,
        help=f"joint positions by frame: .json, .csv or .npy, radians{' (default joints.json)' if posed else ''}",
    )
    group.add_argument("--joint-names", help="of the values in --joints: a,b,... (default: all, in the model's order)")
    group.add_argument("--degrees", action="store_true", help="--joints has degrees")
    group.add_argument(
        "--pose",
        default="pose.json" if posed else None,
        help="camera in the base link: FILE or FILE:KEY with a 4 x 4 matrix, or 'x y z qx qy qz qw'"
        f"{' (default pose.json)' if posed else ''}",
    )
    group.add_argument(
        "--pose-frame", choices=POSE_FRAMES, default="optical", help="optical: z forward (default); body: x forward"
    )
    group.add_argument("--pose-inverse", action="store_true", help="--pose has the base link in the camera instead")
    group.add_argument(
        "--part", choices=("robot", "arm"), default="robot", help="which part the model's masks are of (default robot)"
    )
    add_model_arguments(parser)


def load_robot(arguments: argparse.Namespace) -> PosedRobot:
    """The robot that the arguments name."""
    path = arguments.urdf or arguments.mjcf
    if arguments.urdf is not None and path.suffix.lower() != ".urdf":
        raise ValueError(f"--urdf {path} must end with .urdf")
    return PosedRobot.load(path, base=arguments.base, packages=arguments.package_path)


def open_recording(folder: Path, arguments: argparse.Namespace, robot: PosedRobot | None) -> Recording:
    """The recording of one camera; files are read as frames are asked for.

    Raises:
        ValueError, OSError: something that was named is missing or not what it should be.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder; give the folder of a camera")
    camera = read_camera(folder / arguments.camera_info)
    pose = None
    if arguments.pose is not None:
        pose = read_pose(arguments.pose, folder, frame=arguments.pose_frame, inverse=arguments.pose_inverse)
    table = None if arguments.joints is None or robot is None else read_joints(folder / arguments.joints)
    masks = None if arguments.masks is None else folder / arguments.masks
    if masks is not None and not masks.is_dir():
        raise FileNotFoundError(f"--masks: {masks} is no folder")
    source = str(folder / arguments.images)
    played = open_frames(source)
    names = tuple(name.strip() for name in arguments.joint_names.split(",")) if arguments.joint_names else None
    flat = Camera(camera.width, camera.height, camera.fx, camera.fy, camera.cx, camera.cy)
    rectify = Rectifier(camera)

    def frames() -> Iterator[SeenFrame]:
        stream = None if masks is not None else load_model(arguments).stream()
        for index, (name, bgr) in enumerate(tqdm(played.frames, total=played.count, desc=folder.name, unit="frame")):
            rgb = np.ascontiguousarray(bgr[..., ::-1])
            rectify.check(name, rgb.shape[:2])
            if stream is None:
                assert masks is not None
                found = masks / f"{name}.png"
                if not found.is_file():
                    continue
                mask = cv2.imread(str(found), cv2.IMREAD_GRAYSCALE)
                if mask is None or mask.shape != rgb.shape[:2]:
                    raise ValueError(f"{found} is no mask of {rgb.shape[1]} x {rgb.shape[0]} pixels")
            else:
                mask = stream.step(rgb)[arguments.part].mask
            seen = np.asarray(mask > 0).astype(np.uint8) * np.uint8(255)
            positions = (
                None if robot is None or table is None else _positions(robot, table, name, index, names, arguments)
            )
            yield SeenFrame(name, rectify(rgb), rectify(seen) > 127, positions)

    return Recording(folder.resolve().name, flat, pose, frames, played.count, played.rate_hz)


def most_in_memory(camera: Camera) -> int:
    """How many of its frames may be kept at once: as many as fit into :data:`MOST_BYTES`, one at least."""
    return max(1, MOST_BYTES // (BYTES * camera.width * camera.height))


def spread_frames(recording: Recording, most: int, *, posed: bool) -> tuple[list[SeenFrame], int]:
    """Evenly spread frames of a recording.

    Args:
        recording: whose frames are read, all of them.
        most: frames that are kept at most.
        posed: take only frames whose joints are known.

    Returns:
        The frames, and how many others could have been taken.

    Raises:
        ValueError: there is none.
    """
    every = max(1, -(-(recording.count or 0) // most))
    frames: list[SeenFrame] = []
    left_out = 0
    for index, frame in enumerate(recording.frames()):
        if posed and frame.positions is None:
            continue
        if index % every == 0 and len(frames) < most:
            frames.append(frame)
        else:
            left_out += 1
    if not frames:
        raise ValueError(f"{recording.name}: no frame has {'both joints and a mask' if posed else 'a mask'}")
    return frames, left_out


def _positions(
    robot: PosedRobot,
    table: JointTable,
    name: str,
    index: int,
    names: tuple[str, ...] | None,
    arguments: argparse.Namespace,
) -> NDArray[np.float64] | None:
    values = table.of(name, index)
    if values is None:
        return None
    if arguments.degrees:
        values = tuple(np.deg2rad(values).tolist())
    return robot.positions(values, names or table.names)


class Rectifier:
    """Takes the distortion of a camera out of its pictures; focal lengths and principal point stay."""

    def __init__(self, camera: Camera) -> None:
        self.camera = camera
        self._maps: tuple[NDArray, NDArray] | None = None
        if any(camera.distortion):
            matrix = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
            size = (camera.width, camera.height)
            self._maps = cv2.initUndistortRectifyMap(
                matrix, np.array(camera.distortion), None, matrix, size, cv2.CV_32FC1
            )

    def check(self, name: str, shape: tuple[int, ...]) -> None:
        """Raise ValueError where a frame is not of the camera's size."""
        if shape != (self.camera.height, self.camera.width):
            raise ValueError(
                f"frame {name} is {shape[1]} x {shape[0]}, camera_info is of {self.camera.width} x {self.camera.height}"
            )

    def __call__(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The rectified picture [H, W] or [H, W, 3] uint8; black where the camera saw nothing."""
        if self._maps is None:
            return picture
        return np.asarray(cv2.remap(picture, *self._maps, cv2.INTER_LINEAR), np.uint8)
