# SPDX-License-Identifier: Apache-2.0
"""A small bag with one camera, as a recorder writes it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

TYPES = get_typestore(Stores.ROS2_HUMBLE)
IMAGE = "sensor_msgs/msg/Image"
T0 = 1_700_000_000_000_000_000
STEP_NS = 50_000_000


def header(stamp: int, frame_id: str = "wrist") -> object:
    time = TYPES.types["builtin_interfaces/msg/Time"](sec=stamp // 10**9, nanosec=stamp % 10**9)
    return TYPES.types["std_msgs/msg/Header"](stamp=time, frame_id=frame_id)


def image(stamp: int, frame: NDArray[np.uint8], *, step: int | None = None, encoding: str = "rgb8") -> bytes:
    height, width = frame.shape[:2]
    step = frame[0].size if step is None else step
    fields = dict(height=height, width=width, encoding=encoding, is_bigendian=0, step=step)
    message = TYPES.types[IMAGE](header=header(stamp), **fields, data=frame.reshape(-1))
    return bytes(TYPES.serialize_cdr(message, IMAGE))


def write_bag(path: Path, frames: list[NDArray[np.uint8]], *, broken: tuple[int, ...] = ()) -> Path:
    """A bag ``path`` of ``/camera``, 20 images a second; those numbered in ``broken`` have a short step."""
    with Writer(path, version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        camera = writer.add_connection("/camera", IMAGE, typestore=TYPES)
        for number, frame in enumerate(frames):
            stamp = T0 + number * STEP_NS
            writer.write(camera, stamp + 5_000, image(stamp, frame, step=3 if number in broken else None))
    return path
