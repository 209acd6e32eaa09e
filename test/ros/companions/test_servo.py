# SPDX-License-Identifier: Apache-2.0
"""The servo node with real rclpy: masks in, numbers out; with depth and calibration also a place."""

import math
import time

import numpy as np
import pytest
from companion import Running, header
from geometry_msgs.msg import PointStamped, PoseWithCovarianceStamped
from ros_client import wait_until
from sensor_msgs.msg import CameraInfo, Image

from robotseg_ros.common.messages import to_image
from robotseg_ros.companions.depth_codec import to_depth_image
from robotseg_ros.companions.servo import NO_ORIENTATION, Servo
from robotseg_ros.msg import GripperPose

T0 = 1_700_000_000_000_000_000
MASK = np.zeros((30, 40), np.uint8)
MASK[10:14, 5:25] = 255


@pytest.fixture
def servo(context):
    running = Running(context, Servo, depth="/depth", camera_info="/info")
    yield running.node
    running.close()


def test_every_mask_is_answered_in_pixels_with_its_own_header(servo, peer):
    poses = peer.listen(GripperPose, "/servo/gripper", servo)
    mask = peer.advertise(Image, "/robotseg/gripper_mask")
    mask.publish(to_image(header(T0), MASK, "mono8"))
    mask.publish(to_image(header(T0 + 1), np.zeros_like(MASK), "mono8"))
    wait_until(lambda: len(poses) == 2, "both answers")
    seen, empty = poses
    assert seen.header == header(T0) and empty.header == header(T0 + 1)
    assert seen.present and seen.area == 80 and seen.axis_angle == 0 and seen.elongation > 4
    assert (seen.centroid.x, seen.centroid.y) == (14.5, 11.5)
    assert (seen.roi.x_offset, seen.roi.y_offset, seen.roi.width, seen.roi.height) == (5, 10, 20, 4)
    assert {(p.x, p.y) for p in seen.contour} == {(5, 10), (24, 10), (24, 13), (5, 13)}
    assert not empty.present and math.isnan(empty.centroid.x) and not empty.contour


def test_depth_and_calibration_give_a_point_with_covariance(servo, peer):
    points = peer.listen(PointStamped, "/servo/point", servo)
    poses = peer.listen(PoseWithCovarianceStamped, "/servo/pose", servo)
    info = peer.advertise(CameraInfo, "/info", reliable=False)
    depth = peer.advertise(Image, "/depth", reliable=False)
    mask = peer.advertise(Image, "/robotseg/gripper_mask")
    k = [50.0, 0.0, 19.5, 0.0, 60.0, 14.5, 0.0, 0.0, 1.0]
    stamp = T0

    def sent():
        nonlocal stamp
        stamp += 1
        info.publish(CameraInfo(header=header(stamp), width=40, height=30, k=k))
        depth.publish(to_depth_image(header(stamp), np.full((30, 40), 2000, np.uint16)))
        mask.publish(to_image(header(stamp), MASK, "mono8"))
        time.sleep(0.1)
        return points and poses

    wait_until(sent, "a point")
    point = points[0].point
    assert points[0].header.frame_id == "wrist_camera"
    assert (point.x, point.y, point.z) == pytest.approx(((14.5 - 19.5) / 50 * 2, (11.5 - 14.5) / 60 * 2, 2.0))
    covariance = np.array(poses[0].pose.covariance).reshape(6, 6)
    assert np.allclose(np.diag(covariance)[3:], NO_ORIENTATION) and np.linalg.eigvalsh(covariance).min() > 0
    assert math.sqrt(covariance[2, 2]) == pytest.approx(0.001 + 0.002 * 4)
    assert poses[0].pose.pose.orientation.w == 1.0


def test_wrong_messages_are_refused_and_the_node_goes_on(servo, peer):
    poses = peer.listen(GripperPose, "/servo/gripper", servo)
    mask = peer.advertise(Image, "/robotseg/gripper_mask")
    info = peer.advertise(CameraInfo, "/info", reliable=False)
    mask.publish(to_image(header(T0), np.zeros((30, 40, 3), np.uint8), "rgb8"))
    wait_until(lambda: servo.refused == 1, "the refusal of the mask")
    info.publish(CameraInfo(width=40, height=30))
    wait_until(lambda: servo.refused == 2, "the refusal of an uncalibrated camera")
    mask.publish(to_image(header(T0), MASK, "mono8"))
    wait_until(lambda: poses, "an answer")


def test_parameters_out_of_their_range_are_refused(context):
    with pytest.raises(ValueError, match="edge is 51"):
        Running(context, Servo, edge=51)
