# SPDX-License-Identifier: Apache-2.0
"""Every example runs, and gives what its README says."""

import importlib.util
import os
import queue
import re
import subprocess
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from companion import Peer, Running, header
from fake_model import FakeModel, robot_picture
from patience import PATIENCE_S
from ros_client import Client, wait_until
from sensor_msgs.msg import CameraInfo, Image

from robotseg_ros.common.messages import to_image
from robotseg_ros.companions.depth_codec import to_depth_image
from robotseg_ros.companions.self_filter import SelfFilter
from robotseg_ros.msg import PartMasks

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
AGAIN_S = 0.2


def module_of(name):
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / name / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Process:
    """An example as a process in the test's ROS domain; its lines as they come."""

    def __init__(self, name, *arguments):
        command = [sys.executable, str(EXAMPLES / name / f"{name}.py"), *arguments]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        self.lines = queue.Queue()
        self.reader = threading.Thread(target=lambda: [self.lines.put(line) for line in self.process.stdout])
        self.reader.start()

    def line(self, send):
        """Its first line; ``send(number)`` is called until it comes, for who listens has not yet found who sends."""
        for number in range(1, round(PATIENCE_S / AGAIN_S)):
            send(number)
            try:
                return self.lines.get(timeout=AGAIN_S).strip()
            except queue.Empty:
                assert self.process.poll() is None, "the example has ended without a word"
        raise AssertionError(f"no line within {PATIENCE_S} s")

    def close(self):
        self.process.kill()
        self.process.wait(PATIENCE_S)
        self.reader.join(PATIENCE_S)
        self.process.stdout.close()


def heard(node, *topics):
    """Wait until a node knows that somebody listens to its topics; before that it sends nothing."""
    for publisher in (publisher for publisher in node.publishers if publisher.topic_name in topics):
        wait_until(lambda p=publisher: p.get_subscription_count() > 0, f"{publisher.topic_name} heard")


def test_every_example_has_a_readme_and_a_row():
    names = {path.name for path in EXAMPLES.iterdir() if path.is_dir()}
    rows = re.findall(r"^\| \[(\w+)\]", (EXAMPLES / "README.md").read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(names)
    for name in names:
        assert f"examples/{name}/{name}.py" in (EXAMPLES / name / "README.md").read_text()
        assert (EXAMPLES / name / f"{name}.py").is_file()


@pytest.mark.real_model
def test_numpy_stream():
    path = EXAMPLES / "numpy_stream" / "numpy_stream.py"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run([sys.executable, path], cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    answers = [line.split() for line in run.stdout.splitlines()]
    assert len(answers) == 5
    for state, arm, gripper, robot in answers:
        assert state == "TRACKING" and int(arm) > 10_000 and int(arm) + int(gripper) == int(robot)


def test_readme_shows_the_numpy_stream_as_it_is():
    code = (EXAMPLES / "numpy_stream" / "numpy_stream.py").read_text().split('"""\n\n', 1)[1]
    assert f"```python\n{code}```" in (ROOT / "README.md").read_text()
    assert len([line for line in code.splitlines() if line]) <= 10


def test_mask_subscriber_joins_mask_and_parts(context, domain_id, start_segmenter):
    node = start_segmenter(FakeModel(), camera="/wrist/image_raw")
    client = Client(context)
    example = Process("mask_subscriber")
    try:
        heard(node, "/robotseg/gripper_mask", "/robotseg/parts")
        publisher = client.node.create_publisher(Image, "/wrist/image_raw", 5)
        wait_until(lambda: publisher.get_subscription_count() > 0, "the segmenter listening")
        told = example.line(lambda number: publisher.publish(to_image(header(number), robot_picture(), "rgb8")))
        assert re.fullmatch(r"TRACKING gripper at \(\d+\.\d, \d+\.\d\), \d+ pixels, score \d\.\d\d", told)
    finally:
        example.close()
        client.close()


def test_mask_subscriber_joins_by_stamp_alone_and_forgets():
    module = module_of("mask_subscriber")
    if module.TimeSynchronizer is not None:
        pytest.skip("message_filters is installed: it does the joining")
    # No node: only what joins.
    node = module.MaskSubscriber.__new__(module.MaskSubscriber)
    node.waiting, joined = {}, []
    node.together = lambda image, parts: joined.append((image.header.stamp.nanosec, parts.header.stamp.nanosec))
    for stamp in (1, 2, 3):
        node.one(Image(header=header(stamp)))
    node.one(PartMasks(header=header(3)))
    node.one(PartMasks(header=header(1)))
    assert joined == [(3, 3), (1, 1)]
    # STALE is said again with the stamp of the last image: nothing is joined, and what waits is not pushed out.
    for _ in range(2 * module.QUEUE):
        node.one(PartMasks(header=header(4), state=PartMasks.STALE))
    node.one(PartMasks(header=header(2), state=PartMasks.TRACKING))
    assert joined == [(3, 3), (1, 1), (2, 2)]
    for stamp in range(100, 200):
        node.one(Image(header=header(stamp)))
    assert len(node.waiting) == module.QUEUE


@pytest.mark.real_model
def test_roboreg_masks_are_found_by_roboregs_rules(tmp_path, capsys):
    video = cv2.VideoCapture(str(ROOT / "demo" / "clip.mp4"))
    for number in range(31):
        good, frame = video.read()
        assert good
        if number % 30 == 0:
            cv2.imwrite(str(tmp_path / f"image_{number}.png"), frame)
    cv2.imwrite(str(tmp_path / "image_99.png"), np.full((480, 640, 3), 90, np.uint8))
    assert module_of("roboreg_masks").main([str(tmp_path)]) == 1
    assert "image_99.png" in capsys.readouterr().err
    # As roboreg 0.6.7 finds and reads them.
    found = sorted(tmp_path.glob("mask_robotseg_image_*.png"), key=lambda path: int(path.stem.split("_")[-1]))
    assert [path.name for path in found] == ["mask_robotseg_image_0.png", "mask_robotseg_image_30.png"]
    for path, truth in zip(found, ("00000", "00030"), strict=True):
        mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        true = cv2.imread(str(ROOT / "demo" / "mask_gt" / "clip" / "002" / f"{truth}.png"), cv2.IMREAD_GRAYSCALE)
        assert set(np.unique(mask)) == {0, 255}
        assert ((mask > 0) & (true > 0)).sum() / ((mask > 0) | (true > 0)).sum() > 0.6


def test_roboreg_masks_without_images(tmp_path, capsys):
    assert module_of("roboreg_masks").main([str(tmp_path)]) == 2
    assert "image_*.png" in capsys.readouterr().err


def test_self_filter_cloud_has_no_robot(context, domain_id, tmp_path):
    running, peer = Running(context, SelfFilter, margin=0), Peer(context)
    example = Process("self_filter_cloud", str(tmp_path / "cloud.ply"))
    try:
        depth = np.full((4, 6), 2000, np.uint16)
        depth[0, 0] = 0
        mask = np.zeros((4, 6), np.uint8)
        mask[1:3, 2:5] = 255
        k = [5.0, 0.0, 2.5, 0.0, 5.0, 1.5, 0.0, 0.0, 1.0]
        info = CameraInfo(header=header(9), height=4, width=6, k=k)
        topics = "/camera/aligned_depth_to_color"
        calibration = peer.advertise(CameraInfo, f"{topics}/camera_info")
        depths, masks = peer.advertise(Image, f"{topics}/image_raw"), peer.advertise(Image, "/robotseg/robot_mask")
        heard(running.node, "/self_filter/points")
        calibration.publish(info)
        wait_until(lambda: running.node.calibration.camera is not None, "the calibration")

        def send(number):
            masks.publish(to_image(header(number), mask, "mono8"))
            depths.publish(to_depth_image(header(number), depth))

        assert example.line(send).startswith("17 of 24 pixels have a point in wrist_camera")
        example.process.wait(PATIENCE_S)
    finally:
        example.close()
        peer.close()
        running.close()
    lines = (tmp_path / "cloud.ply").read_text().splitlines()
    assert lines[2] == "element vertex 17" and len(lines) == 7 + 17
    points = np.array([line.split() for line in lines[7:]], float)
    assert np.allclose(points[:, 2], 2.0)


@pytest.mark.real_model
def test_bag_gets_masks_of_its_frames(tmp_path, capsys):
    pytest.importorskip("rosbags", reason="bags need the extra 'bag'")
    assert (
        module_of("bag").main([str(tmp_path / "made"), "--clip", str(ROOT / "demo" / "clip.mp4"), "--frames", "3"]) == 0
    )
    lines = [line for line in capsys.readouterr().out.splitlines() if "robot pixels" in line]
    assert [line.split()[0] for line in lines] == ["1700000000.000", "1700000000.033", "1700000000.067"]
    assert all(int(line.split()[2]) > 10_000 for line in lines)
