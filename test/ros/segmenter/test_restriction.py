# SPDX-License-Identifier: Apache-2.0
"""The node means one of several robots: region and max_depth as parameters, depth images by stamp, soft masks."""

import threading
import time

import cv2
import numpy as np
import pytest
from fake_model import FakeModel, robot_picture
from patience import PATIENCE_S
from rclpy.parameter import Parameter
from ros_client import pixels, wait_until
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from robotseg_core.masks.nearest import Nearest
from robotseg_ros.common.graph import Senders
from robotseg_ros.common.messages import stamp_ns, to_time
from robotseg_ros.companions.compressed_depth import HEADER
from robotseg_ros.companions.depth_codec import to_depth_image
from robotseg_ros.segmenter.nearest.depth_images import DepthImages, NoDepth

SECOND = 1_000_000_000
T0 = 5 * SECOND
LEFT = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))


def header(stamp):
    return Header(frame_id="wrist_camera", stamp=to_time(stamp))


def far(metres, stamp, height=120, width=160):
    return to_depth_image(header(stamp), np.full((height, width), round(metres * 1000), np.uint16))


class RestrictedModel(FakeModel):
    """Its streams note what they mean, and the depth that they are given."""

    def stream(self):
        stream = super().stream()
        stream.nearest, stream.seen = None, []
        step = stream.step

        def restricted(frame, stamp, *, depth=None):
            stream.seen.append((stamp, stream.nearest, None if depth is None else depth()))
            return step(frame, stamp)

        stream.step = restricted
        return stream


def seen(model):
    return model.streams[-1].seen


def send_until(client, condition, what, stamp=T0):
    """Publish images with rising stamps until the condition holds."""
    client.wait_for_camera_subscriber()
    stamps = iter(range(stamp, stamp + 100_000))
    wait_until(lambda: client.send(robot_picture(), next(stamps)) and condition(), what)


def test_region_reaches_the_stream_and_can_be_changed(client, start_segmenter):
    model = RestrictedModel()
    node = start_segmenter(model, region="0,0, 0.5,0, 0.5,1, 0,1")
    send_until(client, lambda: seen(model), "a step")
    assert seen(model)[0][1] == Nearest(LEFT)
    assert node.set_parameters([Parameter("region", value="")])[0].successful
    send_until(client, lambda: seen(model)[-1][1] is None, "a step without a region", T0 + 200_000)


def test_the_depth_image_of_an_images_stamp_reaches_the_stream(client, start_segmenter):
    model = RestrictedModel()
    start_segmenter(model, depth="/camera/depth", max_depth=1.5)
    depths = client.advertise(Image, "/camera/depth")

    def found():
        for i in range(3):
            depths.publish(far(1.0 + i, T0 + i * SECOND))
        return any(depth is not None for _, _, depth in seen(model))

    send_until(client, found, "a step with depth", T0 + SECOND)
    depth = next(depth for _, _, depth in seen(model) if depth is not None)
    assert depth.dtype == np.uint16 and (depth == 2000).all()


def test_without_depth_the_stream_is_given_none_and_it_is_counted(client, start_segmenter):
    model = RestrictedModel()
    node = start_segmenter(model, depth="/camera/depth", max_depth=1.5)
    send_until(client, lambda: seen(model), "a step")
    assert seen(model)[0][1].max_depth == 1.5 and seen(model)[0][2] is None
    assert node.cameras[0].inference.restriction.without_depth


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("region", "0,0,1,1", "region has 2 corners, must have at least 3"),
        ("region", "0,0,640,0,640,480", "must be shares of the image's width and height"),
        ("region", "left", "must be numbers"),
        ("region", "x" * 100_000, f"region is '{'x' * 80}', must be numbers"),
        ("region", "0,0," * 1000, "region has 2000 numbers, must have at most 64 corners"),
        ("max_depth", 1.5, "max_depth is 1.5, which needs depth, the topic of depth images"),
        ("max_depth", float("nan"), "out of range"),
    ],
)
def test_limits_that_cannot_be_are_refused_with_the_reason(start_segmenter, name, value, words):
    node = start_segmenter(FakeModel(), activate=False)
    result = node.set_parameters([Parameter(name, value=value)])[0]
    assert not result.successful and words in result.reason
    assert not node._settings.limits.of("")


def test_each_of_several_cameras_has_limits_of_its_own(start_segmenter):
    node = start_segmenter(
        FakeModel(),
        activate=False,
        cameras=["wrist", "front"],
        **{"front.depth": "/front/depth", "front.max_depth": 2.0, "wrist.region": "0,0,1,0,1,1"},
    )
    limits = node._settings.limits
    assert limits.of("front") == Nearest(max_depth=2.0)
    assert limits.of("wrist") == Nearest(((0.0, 0.0), (1.0, 0.0), (1.0, 1.0)))
    result = node.set_parameters([Parameter("wrist.max_depth", value=1.0)])[0]
    assert not result.successful and result.reason.startswith("wrist.max_depth is 1, which needs depth")


@pytest.mark.parametrize(("given", "expected"), [("auto", None), ("on", True), ("off", False)])
def test_hygiene_reaches_the_model(start_segmenter, given, expected):
    assert start_segmenter(FakeModel(), activate=False, hygiene=given).options.model.hygiene is expected


def test_a_hygiene_that_nobody_knows_ends_the_start(start_segmenter):
    with pytest.raises(ValueError, match="hygiene is 'maybe', must be one of auto, on, off"):
        start_segmenter(FakeModel(), activate=False, hygiene="maybe")


def test_soft_masks_are_published_to_who_subscribes(client, start_segmenter):
    start_segmenter(FakeModel())
    client.listen("robot_probability")
    client.send_until(robot_picture(), T0, "robot_probability", 1)
    image = client.heard["robot_probability"][0]
    assert image.encoding == "mono8" and image.header.frame_id == "wrist_camera"
    soft = pixels(image)
    assert soft.shape == (120, 160) and (soft[40:60, 10:100] == 255).all() and soft[0, 0] == 0


# ------------------------------------------------------------------------------------ depth images by stamp
def test_the_nearest_depth_image_within_the_slop_is_taken():
    images = DepthImages(patience=0.0)
    for ms in (0, 30, 60):
        images.add(far(1.0 + ms / 1000, T0 + ms * 1_000_000))
    assert images.at(T0 + 29_000_000, 120, 160, "wrist_camera")[0, 0] == 1030
    assert images.at(T0, 120, 160, "wrist_camera")[0, 0] == 1000
    with pytest.raises(NoDepth, match=r"nearest depth image is -0.140 s off .*, must be within 0.05 s"):
        images.at(T0 + 200_000_000, 120, 160, "wrist_camera")


def test_a_depth_image_that_comes_late_is_waited_for():
    images = DepthImages(patience=30.0)
    images.add(far(1.0, T0 - 33_000_000))
    found = []
    waiting = threading.Thread(target=lambda: found.append(images.at(T0, 120, 160, "wrist_camera")[0, 0]))
    waiting.start()
    images.add(far(2.0, T0))
    waiting.join(PATIENCE_S)
    assert found == [2000]


def test_depth_of_another_frame_is_of_another_view():
    images = DepthImages(patience=0.0)
    images.add(far(1.0, T0))
    with pytest.raises(NoDepth, match="is of frame 'wrist_camera', the image of 'front_camera': it must be"):
        images.at(T0, 120, 160, "front_camera")


def heard(images, stamp, sender, frame_id="wrist_camera"):
    image = far(1.0, stamp)
    image.header.frame_id = frame_id
    images.add(image, {"publisher_gid": {"data": sender * 16}})


def test_two_senders_of_depth_are_not_mixed_and_one_is_taken_again(monkeypatch):
    images, now = DepthImages(patience=0.0), 0.0
    images._senders = Senders(lambda: now)
    for i, sender in enumerate((b"1", b"2", b"1")):
        now = 0.1 * i
        heard(images, T0 + i, sender)
    with pytest.raises(NoDepth, match="2 publishers send depth images of frame 'wrist_camera': they cannot be told"):
        images.at(T0 + 2, 120, 160, "wrist_camera")
    now = 10.0
    heard(images, T0 + 3, b"1")
    assert images.at(T0 + 3, 120, 160, "wrist_camera").shape == (120, 160)
    # Those of another frame are told apart by it, though they are nearer in time.
    for i in range(4, 8):
        now = 10.0 + 0.1 * i
        heard(images, T0 + i, b"1")
        heard(images, T0 + i + 20_000_000, b"2", "front_camera")
    found = images.at(T0 + 27_000_000, 120, 160, "wrist_camera")
    assert found.shape == (120, 160)


def test_two_senders_of_depth_make_the_node_say_that_it_does_not_know(client, start_segmenter, stderr):
    model = RestrictedModel()
    node = start_segmenter(model, depth="/camera/depth", max_depth=1.5)
    one, other = (client.advertise(Image, "/camera/depth") for _ in range(2))
    said = ""

    def told():
        nonlocal said
        for depths in (one, other):
            depths.publish(far(1.0, T0))
            time.sleep(0.02)
        said += stderr.read()
        return "2 publishers send depth images of frame 'wrist_camera'" in said and seen(model)[-1][2] is None

    send_until(client, told, "the refusal")
    assert "state DEGRADED" in said and node.cameras[0].inference.restriction.without_depth


def test_depth_is_decoded_only_where_it_is_not_much_larger_than_its_image():
    """It is decoded in the thread that all cameras share."""
    images = DepthImages(patience=0.0)
    images.add(far(1.0, T0, height=240, width=320))
    assert images.at(T0, 120, 160, "wrist_camera").shape == (240, 320)
    images.add(far(1.0, T0 + 1, height=241, width=321))
    with pytest.raises(NoDepth, match="321 x 241, must have at most 76800 pixels"):
        images.at(T0 + 1, 120, 160, "wrist_camera")
    file = HEADER.pack(0, 0.0, 0.0) + cv2.imencode(".png", np.zeros((480, 640), np.uint16))[1].tobytes()
    images.add(CompressedImage(header=header(T0 + 2), format="16UC1; compressedDepth png", data=file))
    with pytest.raises(NoDepth, match="depth is 640 x 480, .* at most 76800 pixels"):
        images.at(T0 + 2, 120, 160, "wrist_camera")


def test_depth_images_that_wait_take_memory_with_a_limit(monkeypatch):
    images = DepthImages(patience=0.0)
    monkeypatch.setattr("robotseg_ros.segmenter.nearest.depth_images.MAX_BYTES", 3 * 2 * 120 * 160)
    for i in range(6):
        images.add(far(1.0, T0 + i * 100_000_000))
    assert [stamp_ns(kept.header) for kept in images._images] == [T0 + i * 100_000_000 for i in (3, 4, 5)]
    # The newest one stays, whatever its size.
    images.add(far(1.0, T0 + SECOND, height=480, width=640))
    assert len(images._images) == 1 and images._images[0].height == 480


def test_depth_that_cannot_be_used_is_none_and_says_why():
    images = DepthImages(patience=0.0)
    with pytest.raises(NoDepth, match="no depth image has come"):
        images.at(T0, 120, 160, "wrist_camera")
    images.add(Image(header=header(T0), encoding="rgb8", height=1, width=1, step=3, data=[0, 0, 0]))
    with pytest.raises(NoDepth, match="encoding 'rgb8' is not one of"):
        images.at(T0, 120, 160, "wrist_camera")
    images.add(far(1.0, T0 + 1, height=90, width=160))
    with pytest.raises(NoDepth, match="depth is of 160 x 90 pixels, the image of 160 x 120"):
        images.at(T0 + 1, 120, 160, "wrist_camera")
    images.clear()
    images.add(CompressedImage(header=header(T0), format="16UC1; compressedDepth png", data=[0]))
    with pytest.raises(NoDepth, match="cannot be used"):
        images.at(T0, 120, 160, "wrist_camera")


def test_depth_for_the_border_reaches_the_stream_without_a_limit(client, start_segmenter):
    model = RestrictedModel()
    start_segmenter(model, depth="/camera/depth", depth_border=True)
    depths = client.advertise(Image, "/camera/depth")

    def found():
        depths.publish(far(1.5, T0))
        return any(depth is not None for _, _, depth in seen(model))

    send_until(client, found, "a step with depth")
    assert model.streams[-1].depth_border is True
    assert all(nearest is None for _, nearest, _ in seen(model))


def test_border_by_depth_needs_the_topic(start_segmenter):
    with pytest.raises(ValueError, match="depth_border is true, which needs depth"):
        start_segmenter(FakeModel(), depth_border=True)
