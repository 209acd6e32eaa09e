# SPDX-License-Identifier: Apache-2.0
"""Mask and depth are joined only where they are of one view; what does not come, or cannot, is said."""

import time

import cv2
import numpy as np
import pytest
import rclpy
from companion import Running, header
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import PointStamped
from patience import PATIENCE_S
from plain_messages import File
from rclpy.qos import QoSProfile, ReliabilityPolicy
from ros_client import wait_until
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2

from robotseg_core.geometry.camera import Camera
from robotseg_ros.common import graph
from robotseg_ros.common.messages import stamp_ns, to_compressed, to_image
from robotseg_ros.companions.calibration import apart
from robotseg_ros.companions.compressed_depth import HEADER
from robotseg_ros.companions.depth_codec import decode_depth, to_depth_image
from robotseg_ros.companions.self_filter import SelfFilter
from robotseg_ros.companions.servo import Servo
from robotseg_ros.msg import GripperPose

T0 = 1_700_000_000_000_000_000
MS = 1_000_000
MASK = np.zeros((30, 40), np.uint8)
MASK[10:20, 5:15] = 255
K = [50.0, 0.0, 19.5, 0.0, 50.0, 14.5, 0.0, 0.0, 1.0]
OTHER_K = [35.0, 0.0, 19.5, 0.0, 35.0, 14.5, 0.0, 0.0, 1.0]
COLOUR, DEPTH = "camera_color_optical_frame", "camera_depth_optical_frame"


class Bench:
    """A self-filter or a servo node, and all that it reads."""

    def __init__(self, context, peer, kind, part):
        self.running = Running(context, kind, depth="/depth", camera_info="/info", patience=0.2)
        self.node, self.peer, self.stamp = self.running.node, peer, T0
        self.depth = peer.advertise(Image, "/depth", reliable=False)
        self.mask = peer.advertise(Image, f"/robotseg/{part}_mask")
        self.info = peer.advertise(CameraInfo, "/info", reliable=False)
        self.mask_info = peer.advertise(CameraInfo, "/robotseg/camera_info", reliable=False)

    def send(self, mask_frame=COLOUR, depth_frame=COLOUR, info_frame=COLOUR, k=K, mask_k=K, size=(40, 30)):
        self.stamp += 100 * MS
        width, height = size
        self.info.publish(CameraInfo(header=header(self.stamp, info_frame), width=width, height=height, k=k))
        self.mask_info.publish(CameraInfo(header=header(self.stamp, mask_frame), width=40, height=30, k=mask_k))
        time.sleep(0.02)
        depth = np.full((height, width), 1500, np.uint16)
        self.depth.publish(to_depth_image(header(self.stamp, depth_frame), depth))
        self.mask.publish(to_image(header(self.stamp, mask_frame), MASK, "mono8"))
        time.sleep(0.05)

    def calibrate(self, info_frame=COLOUR, k=K, size=(40, 30), **_):
        """Send camera_info alone until the node has it: it may come after the images that are sent with it."""

        def known():
            self.info.publish(CameraInfo(header=header(self.stamp, info_frame), width=size[0], height=size[1], k=k))
            time.sleep(0.02)
            kept, camera = self.node.calibration.frame_id, self.node.calibration.camera
            return (kept, camera.width, camera.height, camera.fx, camera.cx) == (info_frame, *size, k[0], k[2])

        wait_until(known, "the camera_info")

    def send_until(self, condition, what, **more):
        def met():
            self.send(**more)
            return condition()

        wait_until(met, what)


@pytest.fixture(
    params=[("robot", SelfFilter, Image, "/self_filter/depth"), ("gripper", Servo, PointStamped, "/servo/point")]
)
def bench(request, context, peer):
    part, kind, out, topic = request.param
    made = Bench(context, peer, kind, part)
    made.out = peer.listen(out, topic, made.node)
    yield made
    made.running.close()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"depth_frame": DEPTH, "info_frame": DEPTH}, f"frame '{COLOUR}', the depth image of '{DEPTH}'"),
        ({"mask_frame": ""}, "the mask is of frame ''"),
        # Sizes as 848 x 480 is to 1280 x 720: the ratios of the sides are almost the same, the lenses are not.
        ({"k": OTHER_K}, "focal length fx / width is 1.2500 and 0.8750"),
        ({"k": [*K[:2], 30.5, *K[3:]]}, "principal point cx / width is 0.5000 and 0.7750"),
        ({"size": (40, 40), "k": [*K[:4], 50 * 4 / 3, 39.5 * 0.5, *K[6:]]}, "mask is 40 x 30, depth is 40 x 40"),
    ],
)
def test_depth_of_another_view_is_refused_by_name_and_never_goes_out(bench, stderr, more, words):
    bench.send_until(lambda: bench.out, "an output")
    bench.calibrate(**more)
    # The last good pair may be on its way still.
    last, said = bench.stamp, ""

    def told():
        nonlocal said
        said += stderr.read()
        return words in said

    bench.send_until(told, "the reason", **more)
    for _ in range(3):
        bench.send(**more)
    assert max(stamp_ns(message.header) for message in bench.out) <= last
    bench.send_until(lambda: stamp_ns(bench.out[-1].header) > last, "an output of the good pair")


def test_depth_of_half_the_size_is_the_same_view(bench):
    half = [25.0, 0.0, 9.5, 0.0, 25.0, 7.0, 0.0, 0.0, 1.0]
    bench.send_until(lambda: bench.out, "an output", size=(20, 15), k=half)
    assert not bench.node.refused


def test_a_calibration_of_another_frame_makes_no_points(context, peer, stderr):
    bench = Bench(context, peer, SelfFilter, "robot")
    try:
        cloud = peer.listen(PointCloud2, "/self_filter/points", bench.node)
        filtered = peer.listen(Image, "/self_filter/depth", bench.node)
        bench.send_until(lambda: len(filtered) >= 3, "filtered depth", info_frame="elsewhere", k=OTHER_K)
        assert not cloud and "camera_info is of frame 'elsewhere'" in stderr.read()
        bench.send_until(lambda: cloud, "points")
    finally:
        bench.running.close()


@pytest.mark.parametrize(("what", "frame"), [("mask", COLOUR), ("depth", COLOUR), ("depth", DEPTH), ("info", DEPTH)])
def test_two_senders_are_refused_whatever_their_frames_and_one_is_heard_again(bench, stderr, what, frame, monkeypatch):
    """What is joined by stamps is of one camera: a second one is seen, and nothing of it goes out."""
    # However slow the machine is, they send in turn.
    monkeypatch.setattr(graph, "HEARD_S", PATIENCE_S)
    bench.send_until(lambda: bench.out, "an output")
    topic = getattr(bench, what)
    kind = CameraInfo if what == "info" else Image
    second = bench.peer.advertise(kind, topic.topic_name, reliable=what == "mask")
    said = ""

    def both():
        nonlocal said
        bench.send()
        if what == "mask":
            message = to_image(header(bench.stamp, frame), np.zeros_like(MASK), "mono8")
        elif what == "depth":
            message = to_depth_image(header(bench.stamp, frame), np.full(MASK.shape, 300, np.uint16))
        else:
            message = CameraInfo(header=header(bench.stamp, frame), width=40, height=30, k=OTHER_K)
        second.publish(message)
        said += stderr.read()
        return "2 publishers send it on" in said

    wait_until(both, "the refusal")
    # What was on its way.
    bench.send()
    if what != "info":
        bench.out.clear()
        for _ in range(3):
            both()
        assert not bench.out
    bench.peer.node.destroy_publisher(second)
    monkeypatch.setattr(graph, "HEARD_S", 0.5)
    count = len(bench.out)
    bench.send_until(lambda: len(bench.out) > count + 2, "outputs again")


# ------------------------------------------------------------------------------------------------ silence
def statuses(heard, name):
    return [status for message in list(heard) for status in message.status if status.name == name]


@pytest.mark.parametrize(("name", "kind"), [("self_filter", SelfFilter), ("servo", Servo)])
def test_what_does_not_come_is_said_with_its_reason_and_in_diagnostics(context, peer, domain_id, stderr, name, kind):
    # Another process: Fast DDS allows one type a topic and process.
    other = rclpy.Context()
    rclpy.init(context=other, domain_id=domain_id)
    camera = rclpy.create_node("camera", context=other)
    camera.create_publisher(CompressedImage, "/depth", 5)
    running = Running(context, kind, depth="/depth", camera_info="/info")
    part = "robot" if name == "self_filter" else "gripper"
    try:
        diagnostics = peer.listen(DiagnosticArray, "/diagnostics")
        said = ""

        def told(*words):
            nonlocal said
            said += stderr.read()
            return all(word in said for word in words)

        wait_until(
            lambda: told(
                f"no mask on /robotseg/{part}_mask for 2 s: nobody publishes it",
                "no depth image on /depth for 2 s: it is published as sensor_msgs/msg/CompressedImage, "
                "sensor_msgs/msg/Image is expected",
                "no camera_info on /info for 2 s: nobody publishes it",
            ),
            "all reasons",
        )
        wait_until(
            lambda: any(s.level == DiagnosticStatus.STALE for s in statuses(diagnostics, f"/{name}: {name}")), "STALE"
        )
        # The reason changes, and is said anew.
        peer.node.create_publisher(
            Image, f"/robotseg/{part}_mask", QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        )
        wait_until(lambda: told("the publisher sends best effort, the subscriber insists on reliable"), "the QoS")
        # Not over and over.
        assert said.count("no camera_info on /info") == 1
    finally:
        running.close()
        other.try_shutdown()


def test_diagnostics_of_inputs_that_come(bench):
    diagnostics = bench.peer.listen(DiagnosticArray, "/diagnostics")
    bench.send_until(lambda: bench.out, "an output")
    name = bench.node.get_name()

    def good():
        bench.send()
        last = diagnostics[-1].status if diagnostics else []
        return {s.name for s in last if s.level == DiagnosticStatus.OK} >= {
            f"/{name}: {what}" for what in (name, "mask", "depth image", "camera_info", "camera_info of the masks")
        }

    wait_until(good, "all well")


# ------------------------------------------------------------------------------------------------ compressedDepth
def compressed_depth(pixels, kind="16UC1", a=0.0, b=0.0, name=None):
    data = HEADER.pack(0, a, b) + cv2.imencode(".png", pixels)[1].tobytes()
    return File(data, name or f"{kind}; compressedDepth png")


def test_self_filter_listens_to_a_compressed_depth_topic(context, peer):
    running = Running(context, SelfFilter, depth="/cam/depth/compressedDepth", camera_info="/info")
    try:
        filtered = peer.listen(Image, "/self_filter/depth", running.node)
        camera = peer.advertise(CompressedImage, "/cam/depth/compressedDepth", reliable=False)
        mask = peer.advertise(Image, "/robotseg/robot_mask")
        file = compressed_depth(np.full((30, 40), 900, np.uint16))
        stamp = T0

        def sent():
            nonlocal stamp
            stamp += 50 * MS
            camera.publish(to_compressed(header(stamp), file.data, file.format))
            mask.publish(to_image(header(stamp), MASK, "mono8"))
            time.sleep(0.05)
            return filtered

        wait_until(sent, "filtered depth")
        values = decode_depth(filtered[0])
        assert not values[MASK > 0].any() and (values == 900).any()
    finally:
        running.close()


# ------------------------------------------------------------------------------------------------ cameras
def test_cameras_of_one_view_at_any_size():
    camera = Camera(1280, 720, 912.0, 911.0, 640.2, 362.5)
    assert apart(camera, camera) == ""
    half = Camera(640, 360, 456.0, 455.5, 319.85, 181.0)
    assert apart(camera, half) == ""
    # An infrared camera of the same make beside it.
    assert apart(camera, Camera(848, 480, 425.0, 425.0, 424.0, 240.0)).startswith(
        "focal length fx / width is 0.7125 and"
    )


def test_the_gripper_is_measured_in_pixels_whatever_the_depth_is_of(context, peer):
    bench = Bench(context, peer, Servo, "gripper")
    try:
        poses = peer.listen(GripperPose, "/servo/gripper", bench.node)
        bench.send_until(lambda: poses and bench.node.refused, "a pose and a refusal", depth_frame=DEPTH)
        assert poses[0].present and poses[0].header.frame_id == COLOUR
    finally:
        bench.running.close()
