# SPDX-License-Identifier: Apache-2.0
"""Joints, camera calibration and camera pose from the files that people have."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from robotseg_core.geometry.camera import Camera, CameraError
from robotseg_core.posed.robot import Pose
from robotseg_core.storage.documents import read_array, read_json, read_text, read_yaml

BODY_TO_OPTICAL = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
"""The optical frame (z forward, y down) in the body frame of the same camera (x forward, z up), REP 103."""
POSE_FRAMES = ("optical", "body")
SHARED = ("joint_positions_rad", "joint_positions", "joints", "frames")
"""Keys under which a JSON file may hold its joints by frame."""
ROUND = 1e-3
"""How far a rotation may be from an exact one."""
UNIT = 0.01
"""How far the length of a quaternion may be from 1: people round its numbers."""
FAR_M = 1e4
"""No camera is farther from its robot."""
MAX_SIDE = 16384
"""Of a camera's pictures, pixels."""


@dataclass(frozen=True)
class JointTable:
    """Joint positions by frame.

    Attributes:
        names: of the joints; None where the file does not say, then they are all joints in the model's order.
        by_frame: positions by the name of the frame; empty where the file has rows without names.
        rows: positions in order, for frames in order.
    """

    names: tuple[str, ...] | None
    by_frame: dict[str, tuple[float, ...]]
    rows: tuple[tuple[float, ...], ...]

    def of(self, frame: str, index: int) -> tuple[float, ...] | None:
        """Positions of a frame by its name, or by its number where the file has no names; None where it has none."""
        if self.by_frame:
            return self.by_frame.get(frame)
        return self.rows[index] if index < len(self.rows) else None


def read_joints(path: Path) -> JointTable:
    """Read joint positions.

    Args:
        path: ``.json``: lists by frame, alone or under ``joint_positions_rad``, ``joints`` or ``frames``, with
            ``joint_names`` beside them if need be; ``.csv``: a header with joint names, of which a first column
            ``frame`` is the frame's name; ``.npy``: [frames, joints], in the order of the frames.

    Raises:
        ValueError: it is none of them.
        OSError: it cannot be read.
    """
    kind = path.suffix.lower()
    if kind == ".npy":
        table = read_array(path)
        if table.ndim != 2:
            raise ValueError(f"{path} is {table.dtype} {table.shape}, must be numbers [frames, joints]")
        return JointTable(None, {}, tuple(tuple(map(float, row)) for row in table))
    if kind == ".csv":
        return _read_csv(path)
    if kind != ".json":
        raise ValueError(f"{path} is {kind or 'of no kind'}; joints are read from .json, .csv or .npy")
    content = read_json(path)
    names = content.get("joint_names") if isinstance(content, dict) else None
    if isinstance(content, dict):
        content = next((content[key] for key in SHARED if key in content), content)
    try:
        known = None if names is None else _once(path, tuple(map(str, names)), "joint")
        if isinstance(content, dict):
            return JointTable(known, {str(k): tuple(map(float, v)) for k, v in content.items()}, ())
        return JointTable(known, {}, tuple(tuple(map(float, row)) for row in content))
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{path} has no lists of joint positions by frame: {error}") from error


def _read_csv(path: Path) -> JointTable:
    try:
        lines = [line for line in csv.reader(io.StringIO(read_text(path), newline="")) if line]
    except csv.Error as error:
        raise ValueError(f"{path} is no CSV: {error}") from error
    if len(lines) < 2:
        raise ValueError(f"{path} has {len(lines)} lines, must have a header with joint names and one for each frame")
    head = [cell.strip() for cell in lines[0]]
    named = head[0].lower() == "frame"
    _once(path, tuple(head), "column")
    by_frame: dict[str, tuple[float, ...]] = {}
    rows = []
    for number, line in enumerate(lines[1:], 2):
        try:
            values = tuple(float(cell) for cell in line[named:])
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from error
        if len(line) != len(head):
            raise ValueError(f"{path}, line {number} has {len(line)} cells, the header has {len(head)}")
        rows.append(values)
        if named:
            frame = line[0].strip()
            if frame in by_frame:
                raise ValueError(f"{path}, line {number}: frame {frame} is there already")
            by_frame[frame] = values
    return JointTable(tuple(head[named:]), by_frame, tuple(rows))


def _once(path: Path, names: tuple[str, ...], what: str) -> tuple[str, ...]:
    """The names, none of which may be there twice: the second would count in silence."""
    twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if twice is not None:
        raise ValueError(f"{path} has the {what} {twice} twice")
    return names


def read_camera(path: Path) -> Camera:
    """Read a calibration: ``sensor_msgs/CameraInfo`` as YAML, or what ROS's camera_calibration writes.

    Raises:
        CameraError: it is neither, or cannot be used.
        OSError: it cannot be read.
    """
    try:
        content = read_yaml(path)
    except ValueError as error:
        raise CameraError(str(error)) from error
    if not isinstance(content, dict):
        raise CameraError(f"{path} holds no camera_info")

    def find(*keys: str) -> Any:
        for key in keys:
            if key in content:
                value = content[key]
                return value["data"] if isinstance(value, dict) and "data" in value else value
        raise CameraError(f"{path} has no {keys[0]}: give camera_info as YAML")

    try:
        width, height = int(find("width", "image_width")), int(find("height", "image_height"))
        k = [float(v) for v in find("k", "K", "camera_matrix")]
        d = [float(v) for v in find("d", "D", "distortion_coefficients")]
    except (TypeError, ValueError, OverflowError) as error:
        if isinstance(error, CameraError):
            raise
        raise CameraError(f"{path}: {error}") from error
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise CameraError(f"{path}: the camera is {width} x {height} pixels, each side must be 1 to {MAX_SIDE}")
    return Camera.from_matrix(width, height, k, str(content.get("distortion_model", "plumb_bob")), d)


def read_pose(text: str, folder: Path = Path(), *, frame: str = "optical", inverse: bool = False) -> Pose:
    """Read the pose of a camera in the robot's base link.

    Args:
        text: ``FILE`` or ``FILE:KEY``: a 4 x 4 matrix (JSON, YAML or ``.npy``), with KEY the one of that name; or
            seven numbers x y z qx qy qz qw.
        folder: that FILE is relative to.
        frame: of the camera: ``optical`` (z forward), or ``body`` (x forward, as ``camera_link``).
        inverse: the file has the base in the camera instead.

    Raises:
        ValueError: there is no such matrix, or it is no pose.
        OSError: the file cannot be read.
    """
    if frame not in POSE_FRAMES:
        raise ValueError(f"pose frame is {frame!r}, must be one of {POSE_FRAMES}")
    words = text.replace(",", " ").split()
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    matrix = _of_seven(numbers) if len(numbers) == 7 else _from_file(text, folder)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or np.abs(matrix[3] - [0, 0, 0, 1]).max() > ROUND:
        raise ValueError(f"{text} is {matrix.shape}, must be a 4 x 4 matrix with the last row 0 0 0 1")
    turn = np.array(matrix[:3, :3])
    if np.abs(turn @ turn.T - np.eye(3)).max() > ROUND or np.linalg.det(turn) < 0:
        raise ValueError(f"{text}: the upper left of the matrix is no rotation")
    if np.abs(matrix[:3, 3]).max() > FAR_M:
        raise ValueError(f"{text} is {np.abs(matrix[:3, 3]).max():g} m away, must be at most {FAR_M:g}: in metres?")
    u, _, v = np.linalg.svd(turn)
    matrix[:3, :3] = u @ v
    pose = np.asarray(np.linalg.inv(matrix) if inverse else matrix, np.float64)
    return np.asarray(pose @ BODY_TO_OPTICAL if frame == "body" else pose)


def _of_seven(numbers: Sequence[float]) -> NDArray[np.float64]:
    length = float(np.linalg.norm(numbers[3:]))
    if not abs(length - 1) <= UNIT:
        raise ValueError(f"pose: qx qy qz qw are {numbers[3:]}, of length {length:.3g}, must be 1")
    x, y, z, w = np.asarray(numbers[3:], float) / length
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    matrix[:3, 3] = numbers[:3]
    return matrix


def quaternion(turn: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """qx, qy, qz, qw of a rotation [3, 3], as ROS orders them."""
    vector = cv2.Rodrigues(turn)[0].ravel()
    angle = float(np.linalg.norm(vector))
    axis = vector / angle if angle > 1e-12 else np.zeros(3)
    x, y, z = (float(v) for v in np.sin(angle / 2) * axis)
    return x, y, z, float(np.cos(angle / 2))


def _from_file(text: str, folder: Path) -> NDArray[np.float64]:
    name, key = text, None
    if not (folder / name).is_file() and ":" in text:
        name, key = text.rsplit(":", 1)
    path = folder / name
    if not path.is_file():
        raise FileNotFoundError(f"pose: {path} does not exist; give FILE, FILE:KEY or seven numbers x y z qx qy qz qw")
    if path.suffix.lower() == ".npy":
        return np.asarray(read_array(path), np.float64)
    content = read_json(path) if path.suffix.lower() == ".json" else read_yaml(path)
    if key is not None:
        if not isinstance(content, dict) or key not in content:
            raise ValueError(f"{path} has no {key!r}; it has {', '.join(map(str, content))}")
        content = content[key]
    try:
        return np.array(content, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{path} holds no matrix{'' if key else ' (FILE:KEY names one of several)'}") from error
