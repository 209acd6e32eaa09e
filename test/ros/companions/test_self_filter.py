# SPDX-License-Identifier: Apache-2.0
"""The self-filter node with real rclpy: depth and masks in, depth without the robot out."""

import time

import numpy as np
import pytest
from companion import Running, header
from fake_model import FakeModel, robot_picture
from rclpy.parameter import Parameter
from ros_client import pixels, wait_until
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from robotseg_ros.common.image_codec import CodecError
from robotseg_ros.common.messages import stamp_ns, to_image
from robotseg_ros.companions.depth_codec import decode_depth, decode_mask, to_depth_image
from robotseg_ros.companions.self_filter import SelfFilter

MS = 1_000_000
T0 = 1_700_000_000_000_000_000
MASK = np.zeros((30, 40), np.uint8)
MASK[10:20, 5:15] = 255


@pytest.fixture
def start(context, peer):
    running = []

    def start(**parameters):
        running.append(Running(context, SelfFilter, depth="/depth", camera_info="/info", **parameters))
        depth = peer.advertise(Image, "/depth", reliable=False)
        mask = peer.advertise(Image, "/robotseg/robot_mask")
        return running[-1].node, depth, mask

    yield start
    for one in running:
        one.close()


def depth_image(stamp, value=1500, kind=np.uint16):
    return to_depth_image(header(stamp), np.full((30, 40), value, kind))


def test_depth_of_the_masks_stamp_comes_out_without_the_robot(start, peer):
    node, depth, mask = start(margin=0)
    filtered = peer.listen(Image, "/self_filter/depth", node)
    unknown = peer.listen(Image, "/self_filter/unknown", node)
    depth.publish(depth_image(T0 + 1))
    mask.publish(to_image(header(T0 + 1), MASK, "mono8"))
    wait_until(lambda: filtered and unknown, "filtered depth")
    assert filtered[0].header == header(T0 + 1) and filtered[0].encoding == "16UC1"
    pixel = decode_depth(filtered[0])
    assert not pixel[MASK > 0].any() and (pixel[MASK == 0] == 1500).all()
    assert np.array_equal(pixels(unknown[0]) > 0, MASK > 0)
    assert unknown[0].header == filtered[0].header
    # The margin is live; what it cannot be is refused.
    assert node.set_parameters([Parameter("margin", value=3)])[0].successful
    assert not node.set_parameters([Parameter("margin", value=101)])[0].successful
    depth.publish(depth_image(T0 + 40 * MS, 1.5, np.float32))
    mask.publish(to_image(header(T0 + 40 * MS), MASK, "mono8"))
    wait_until(lambda: len(filtered) > 1, "filtered metres")
    assert filtered[1].encoding == "32FC1"
    assert np.isnan(decode_depth(filtered[1])[7:23, 9]).all()


def test_depth_without_a_mask_is_dropped_and_never_published_as_filtered(start, peer):
    node, depth, mask = start(patience=0.2)
    filtered = peer.listen(Image, "/self_filter/depth", node)
    depth.publish(depth_image(T0))
    wait_until(lambda: node.without_mask == 1, "the depth image given up")
    # A mask that is too far away is not its mask.
    depth.publish(depth_image(T0 + 100 * MS))
    mask.publish(to_image(header(T0 + 110 * MS), MASK, "mono8"))
    wait_until(lambda: node.without_mask == 2, "the second one given up")
    depth.publish(depth_image(T0 + 200 * MS))
    mask.publish(to_image(header(T0 + 200 * MS), MASK, "mono8"))
    wait_until(lambda: filtered, "a depth image with a mask")
    assert [stamp_ns(m.header) for m in filtered] == [T0 + 200 * MS]


def test_depth_without_a_mask_can_be_published_as_unknown(start, peer):
    node, depth, _ = start(patience=0.1, without_mask="unknown")
    filtered, unknown = peer.listen(Image, "/self_filter/depth", node), peer.listen(Image, "/self_filter/unknown", node)
    depth.publish(depth_image(T0))
    wait_until(lambda: filtered and unknown, "the unknown image")
    assert not decode_depth(filtered[0]).any() and (pixels(unknown[0]) == 255).all()
    assert node.filtered == 0


def test_nearest_mask_within_slop(start, peer):
    node, depth, mask = start(slop=0.02)
    filtered = peer.listen(Image, "/self_filter/depth", node)
    depth.publish(depth_image(T0 + 8 * MS))
    mask.publish(to_image(header(T0), MASK, "mono8"))
    wait_until(lambda: filtered, "filtered depth")
    assert stamp_ns(filtered[0].header) == T0 + 8 * MS


def test_points_on_demand_with_the_calibration(start, peer):
    node, depth, mask = start(margin=0)
    cloud = peer.listen(PointCloud2, "/self_filter/points", node)
    info = peer.advertise(CameraInfo, "/info", reliable=False)
    k = [50.0, 0.0, 19.5, 0.0, 60.0, 14.5, 0.0, 0.0, 1.0]
    stamp = T0
    # Which of two topics arrives first is not known: send both until it is there.

    def sent():
        nonlocal stamp
        stamp += 1
        info.publish(CameraInfo(header=header(stamp), width=40, height=30, k=k))
        depth.publish(depth_image(stamp, 2000))
        mask.publish(to_image(header(stamp), MASK, "mono8"))
        time.sleep(0.1)
        return cloud

    wait_until(sent, "points")
    assert (cloud[0].height, cloud[0].width, cloud[0].point_step) == (30, 40, 12)
    points = np.frombuffer(cloud[0].data, np.float32).reshape(30, 40, 3)
    assert np.isnan(points[MASK > 0]).all()
    assert points[20, 30] == pytest.approx(((30 - 19.5) / 50 * 2, (20 - 14.5) / 60 * 2, 2.0), rel=1e-5)


def test_messages_that_are_not_what_they_say_are_refused_and_the_node_goes_on(start, peer):
    node, depth, mask = start()
    filtered = peer.listen(Image, "/self_filter/depth", node)
    broken = depth_image(T0)
    broken.step = 3
    depth.publish(broken)
    wait_until(lambda: node.refused == 1, "the refusal of depth")
    mask.publish(to_image(header(T0), np.zeros((30, 40, 3), np.uint8), "rgb8"))
    wait_until(lambda: node.refused == 2, "the refusal of the mask")
    depth.publish(depth_image(T0 + 100 * MS))
    mask.publish(to_image(header(T0 + 100 * MS), MASK[:, :20].copy(), "mono8"))
    wait_until(lambda: node.refused == 3, "the refusal of a mask of another view")
    depth.publish(depth_image(T0 + 200 * MS))
    mask.publish(to_image(header(T0 + 200 * MS), MASK, "mono8"))
    wait_until(lambda: filtered, "filtered depth")


def test_behind_the_segmenter(start, peer, client, start_segmenter):
    """The fake model's masks, through the real segmenter node."""
    start_segmenter(FakeModel())
    client.wait_for_camera_subscriber()
    node, depth, _ = start(margin=0)
    filtered = peer.listen(Image, "/self_filter/depth", node)
    stamp = T0

    def sent():
        nonlocal stamp
        stamp += 50 * MS
        client.send(robot_picture(30 * 4, 40 * 4), stamp)
        depth.publish(depth_image(stamp))
        time.sleep(0.1)
        return filtered

    wait_until(sent, "filtered depth")
    cut = decode_depth(filtered[0]) == 0
    assert cut[10:15, 5:25].mean() > 0.9 and not cut[20:].any()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"encoding": "rgb8"}, "'rgb8' is not one of 16UC1"),
        ({"is_bigendian": 2}, "is_bigendian is 2"),
        ({"height": 0}, "height is 0"),
        ({"width": 9000}, "width is 9000"),
        ({"step": 79}, "step is 79, must be at least 80"),
        ({"height": 29}, "2400 bytes, must be 2320"),
    ],
)
def test_depth_is_checked(change, words):
    image = depth_image(T0)
    for name, value in change.items():
        setattr(image, name, value)
    with pytest.raises(CodecError, match=words):
        decode_depth(image)


@pytest.mark.parametrize(("encoding", "kind"), [("16UC1", "u2"), ("mono16", "u2"), ("32FC1", "f4")])
def test_both_byte_orders_and_padded_rows_are_read(encoding, kind):
    values = np.arange(12).reshape(3, 4) * 100
    for big, order in ((0, "<"), (1, ">")):
        rows = np.zeros((3, 4 * np.dtype(kind).itemsize + 3), np.uint8)
        rows[:, :-3] = values.astype(order + kind).view(np.uint8)
        image = Image(height=3, width=4, encoding=encoding, is_bigendian=big, step=rows.shape[1])
        image.data.frombytes(rows)
        decoded = decode_depth(image)
        assert np.array_equal(decoded, values) and decoded.dtype.isnative


def test_mask_is_checked():
    with pytest.raises(CodecError, match="must be 'mono8'"):
        decode_mask(depth_image(T0))
    short = to_image(header(T0), MASK, "mono8")
    short.height = 31
    with pytest.raises(CodecError, match="1200 bytes, must be 1240"):
        decode_mask(short)
