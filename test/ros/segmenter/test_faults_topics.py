# SPDX-License-Identifier: Apache-2.0
"""Faults of those at the other ends of the topics, over DDS, and of the disk under a recording."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from fake_model import HANG_S, FakeModel, robot_picture
from rclpy.node import Node
from ros_client import Spinner, pixels, wait_until
from sensor_msgs.msg import Image

from robotseg_ros.common.messages import stamp_ns, to_image
from robotseg_ros.msg import PartMasks
from robotseg_ros.tools.recorder import PictureFolder

SECOND = 1_000_000_000
CAMERA = """
import sys, time, rclpy
sys.path.insert(0, sys.argv[1])
from fake_model import robot_picture
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from robotseg_ros.common.messages import to_image
rclpy.init()
node = rclpy.create_node("camera")
camera = node.create_publisher(Image, "/camera/image_raw", 5)
while True:
    header = Header(frame_id=sys.argv[2], stamp=node.get_clock().now().to_msg())
    camera.publish(to_image(header, robot_picture(), "rgb8"))
    time.sleep(0.05)
"""


@pytest.fixture
def start_camera(context):
    """Start a camera in a process of its own: ``start_camera(frame_id)``."""
    cameras = []

    def start(frame_id):
        command = [sys.executable, "-c", CAMERA, str(Path(__file__).parents[1]), frame_id]
        cameras.append(subprocess.Popen(command, start_new_session=True))
        return cameras[-1]

    yield start
    for camera in cameras:
        camera.kill()
        camera.wait()


def test_a_camera_that_is_killed_is_stale_and_is_heard_again_when_it_is_back(client, start_segmenter, start_camera):
    node = start_segmenter(FakeModel(), stale_after=0.5)
    client.listen("parts")
    camera = start_camera("before")

    def told(state, frame_id):
        return any(m.state == state and m.header.frame_id == frame_id for m in list(client.heard["parts"]))

    wait_until(lambda: told(PartMasks.TRACKING, "before"), "masks")
    camera.send_signal(signal.SIGKILL)
    camera.wait()
    wait_until(lambda: told(PartMasks.STALE, "before"), "state STALE")
    start_camera("after")
    wait_until(lambda: told(PartMasks.TRACKING, "after"), "masks of the camera that is back")
    assert node.cameras[0].inference.counters.restarts == {"frame_id": 1}


def test_two_cameras_on_one_topic_are_told_and_each_image_has_its_own_answer(client, start_segmenter):
    node = start_segmenter(FakeModel())
    client.listen("parts", "robot_mask")
    diagnostics = client.hear(DiagnosticArray, "/diagnostics")
    other = client.advertise(Image, "/camera/image_raw")
    client.wait_for_camera_subscriber()
    stamp = SECOND

    def answered():
        nonlocal stamp
        stamp += 2
        client.send(robot_picture(), stamp, "left")
        time.sleep(0.03)
        other.publish(to_image(client.header(stamp + 1, "right"), robot_picture(height=90), "rgb8"))
        time.sleep(0.03)
        return {m.header.frame_id for m in client.heard["robot_mask"]} == {"left", "right"}

    wait_until(answered, "masks for both")
    for mask in client.heard["robot_mask"]:
        even = stamp_ns(mask.header) % 2 == SECOND % 2
        assert (mask.header.frame_id, mask.height) == (("left", 120) if even else ("right", 90))
        assert np.array_equal(pixels(mask) > 0, (robot_picture(height=mask.height) != 120).any(-1))
    assert node.cameras[0].inference.counters.restarts.total() >= 1
    wait_until(
        lambda: any("2 publishers on /camera/image_raw" in m.status[1].message for m in list(diagnostics)),
        "the two publishers in the diagnostics",
    )


def test_a_subscriber_that_hangs_does_not_hold_up_the_others(client, start_segmenter):
    node = start_segmenter(FakeModel())
    release, stuck = threading.Event(), threading.Event()

    def hang(message):
        stuck.set()
        release.wait(HANG_S)

    slow = Spinner(client.node.context, Node("slow", context=client.node.context))
    try:
        slow.node.create_subscription(Image, "/robotseg/robot_mask", hang, 5)
        client.listen("robot_mask")
        client.wait_for_camera_subscriber()
        client.send_until(robot_picture(), SECOND, "robot_mask", 1)
        wait_until(stuck.is_set, "the slow subscriber stuck")
        # Many more than either end keeps for it.
        client.send_until(robot_picture(), 2 * SECOND, "robot_mask", 60)
        assert not release.is_set() and node.cameras[0].inference.counters.answered >= 60
    finally:
        release.set()
        slow.close()


def test_a_disk_that_is_full_while_recording_is_counted(tmp_path):
    good, lost = 1, 2
    pictures = PictureFolder(tmp_path)
    os.symlink("/dev/full", tmp_path / f"{lost}.jpg")
    for stamp in (good, lost):
        pictures.put(stamp, robot_picture())
    pictures.close()
    assert pictures.failed == 1
    assert pictures.has(good) and not pictures.has(lost)
    assert pictures.read(good).shape == (120, 160, 3) and pictures.read(lost) is None
