# SPDX-License-Identifier: Apache-2.0
"""A bag without masks becomes one with masks: writes the demo clip as a bag, adds masks to it, reads them back."""

import argparse
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from robotseg_core.cli import main as robotseg

IMAGE = "sensor_msgs/msg/Image"
START_NS, PERIOD_NS = 1_700_000_000_000_000_000, 33_333_333


def write_clip(clip: Path, bag: Path, frames: int) -> None:
    """The first frames of a video as ``/camera/image_raw`` in a new bag, 30 a second."""
    types = get_typestore(Stores.ROS2_HUMBLE)
    time_type, header_type = types.types["builtin_interfaces/msg/Time"], types.types["std_msgs/msg/Header"]
    video = cv2.VideoCapture(str(clip))
    with Writer(bag, version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        camera = writer.add_connection("/camera/image_raw", IMAGE, typestore=types)
        for stamp in itertools.islice(itertools.count(START_NS, PERIOD_NS), frames):
            good, frame = video.read()
            if not good:
                break
            header = header_type(stamp=time_type(*divmod(stamp, 10**9)), frame_id="camera_optical")
            height, width = frame.shape[:2]
            image = types.types[IMAGE](header, height, width, "bgr8", 0, width * 3, frame.reshape(-1))
            writer.write(camera, stamp, types.serialize_cdr(image, IMAGE))


def read_masks(bag: Path) -> list[tuple[int, int]]:
    """Stamp in ns and number of pixels of each robot mask in a bag; the types are those that the bag brings along."""
    found = []
    with AnyReader([bag]) as reader:
        wanted = [connection for connection in reader.connections if connection.topic == "/robotseg/robot_mask"]
        for connection, time, data in reader.messages(wanted):
            mask = reader.deserialize(data, connection.msgtype)
            found.append((time, int(np.count_nonzero(mask.data))))
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Run all three steps; the two bags lie in the folder that is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="a folder that is not there yet")
    parser.add_argument("--clip", type=Path, default=Path("demo/clip.mp4"))
    parser.add_argument("--frames", type=int, default=30)
    arguments = parser.parse_args(argv)
    arguments.out.mkdir(parents=True)
    write_clip(arguments.clip, arguments.out / "camera", arguments.frames)
    status = robotseg(["bag", str(arguments.out / "camera"), "--out", str(arguments.out / "with_masks")])
    for stamp, pixels in read_masks(arguments.out / "with_masks"):
        print(f"{stamp / 1e9:.3f} s: {pixels} robot pixels")
    return status


if __name__ == "__main__":
    sys.exit(main())
