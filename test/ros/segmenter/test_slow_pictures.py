# SPDX-License-Identifier: Apache-2.0
"""What takes a peer's camera long is bounded, and holds up that camera alone."""

import threading
import time

import cv2
import numpy as np
import pytest
from fake_model import HANG_S, FakeModel, robot_picture
from plain_messages import File
from ros_client import wait_until
from sensor_msgs.msg import CompressedImage, Image
from std_srvs.srv import SetBool

from robotseg_core.types import Prompt, PromptKind
from robotseg_ros.common.compressed_codec import MAX_PIXELS, MAX_SCANNED, MAX_SCANS, decode_compressed
from robotseg_ros.common.image_codec import CodecError
from robotseg_ros.common.messages import to_compressed
from robotseg_ros.segmenter import inference as inference_module
from robotseg_ros.segmenter.hints import MAX_BYTES, MAX_LATE_IMAGES, Hint, PromptError, SeenImage

SECOND = 1_000_000_000
PROGRESSIVE = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]


def with_scans(height, width, repeats):
    """A progressive JPEG whose last scan is there again and again."""
    data = cv2.imencode(".jpg", np.full((height, width, 3), 90, np.uint8), PROGRESSIVE)[1].tobytes()
    start = data.rfind(b"\xff\xc4", 0, data.rfind(b"\xff\xda"))
    return data[:-2] + data[start:-2] * repeats + b"\xff\xd9"


def test_a_picture_with_too_many_scans_is_refused_before_it_is_decoded(monkeypatch):
    monkeypatch.setattr(cv2, "imdecode", lambda *args: pytest.fail("decoded"))
    with pytest.raises(CodecError, match=f"has 60 scans, 2013265920 pixels to go over, must be at most {MAX_SCANNED}"):
        decode_compressed(File(with_scans(4096, 8192, 50), "jpeg"))
    with pytest.raises(CodecError, match=f"has 110 scans, must be at most {MAX_SCANS}"):
        decode_compressed(File(with_scans(48, 64, 100), "jpeg"))


def test_progressive_pictures_up_to_the_largest_are_read():
    assert decode_compressed(File(with_scans(480, 640, 0), "jpeg")).rgb.shape == (480, 640, 3)
    assert decode_compressed(File(with_scans(48, 64, 50), "jpeg")).rgb.shape == (48, 64, 3)
    assert 10 * MAX_PIXELS <= MAX_SCANNED


@pytest.fixture
def slow_decoder(monkeypatch):
    """Decoding waits for an event, once it is set to."""
    decode, hold, go, begun = inference_module.decode, threading.Event(), threading.Event(), threading.Event()

    def slow(image, **more):
        if hold.is_set() and isinstance(image, CompressedImage):
            begun.set()
            go.wait(HANG_S)
        return decode(image, **more)

    monkeypatch.setattr(inference_module, "decode", slow)
    yield hold, begun, go
    go.set()


def jpeg(client, stamp, rgb=None):
    data = cv2.imencode(".png", robot_picture() if rgb is None else rgb)[1].tobytes()
    return to_compressed(client.header(stamp), data, "png")


def test_a_camera_whose_picture_takes_long_to_decode_does_not_hold_up_another(
    client, start_segmenter, slow_decoder, stderr, every_line
):
    hold, begun, go = slow_decoder
    names = {"cameras": ["good", "bad"], "bad.camera": "/bad/image_raw/compressed", "stale_after": 0.3}
    node = start_segmenter(FakeModel(), **names)
    good, bad = (
        client.advertise(Image, "/good/image_raw"),
        client.advertise(CompressedImage, "/bad/image_raw/compressed"),
    )
    answered = node.cameras[0].inference.counters
    hold.set()
    bad.publish(jpeg(client, SECOND))
    wait_until(begun.is_set, "the slow picture")
    count, stamp = answered.answered, SECOND

    def goes_on():
        nonlocal stamp
        stamp += 1
        from robotseg_ros.common.messages import to_image

        good.publish(to_image(client.header(stamp), robot_picture(), "rgb8"))
        time.sleep(0.02)
        return answered.answered >= count + 20

    wait_until(goes_on, "answers for the good camera")
    said = ""

    def told():
        nonlocal said
        said += stderr.read()
        return "camera bad: an image on /bad/image_raw/compressed is still being decoded after 0.3 s" in said

    wait_until(told, "why the bad one is stale")
    go.set()
    wait_until(lambda: node.cameras[1].inference.counters.answered == 1, "the answer to the slow picture")


def test_a_picture_decoded_across_a_pause_is_not_answered(client, start_segmenter, slow_decoder):
    hold, begun, go = slow_decoder
    node = start_segmenter(FakeModel(), camera="/camera/image_raw/compressed")
    camera = client.advertise(CompressedImage, "/camera/image_raw/compressed")
    hold.set()
    camera.publish(jpeg(client, SECOND))
    wait_until(begun.is_set, "the slow picture")
    hold.clear()
    for data in (False, True):
        assert client.call(SetBool, "/robotseg/enable", SetBool.Request(data=data)).success
    go.set()
    counters = node.cameras[0].inference.counters
    wait_until(lambda: camera.get_subscription_count() > 0, "the subscription again")
    stamp = 5 * SECOND

    def answered():
        nonlocal stamp
        stamp += 1
        camera.publish(jpeg(client, stamp))
        time.sleep(0.05)
        return counters.answered

    wait_until(answered, "an answer")
    assert all(stamp >= 5 * SECOND for stamp in node._model.stamps)


def test_a_picture_that_is_still_decoded_at_the_end_is_said_to_be_left_behind(client, start_segmenter, slow_decoder):
    hold, begun, go = slow_decoder
    node = start_segmenter(FakeModel(), camera="/camera/image_raw/compressed")
    camera = client.advertise(CompressedImage, "/camera/image_raw/compressed")
    hold.set()
    camera.publish(jpeg(client, SECOND))
    wait_until(begun.is_set, "the slow picture")
    # The process must not wait for Python's own way out then.
    assert not node.stop()
    go.set()


@pytest.mark.parametrize("taken", [False, True])
def test_a_camera_that_sends_no_end_markers_is_read_where_that_is_asked_for(client, start_segmenter, stderr, taken):
    node = start_segmenter(FakeModel(), camera="/camera/image_raw/compressed", jpeg_without_end=taken)
    camera = client.advertise(CompressedImage, "/camera/image_raw/compressed")
    data = cv2.imencode(".jpg", robot_picture(), [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
    assert data.endswith(b"\xff\xd9")
    counters = node.cameras[0].inference.counters
    stamp = SECOND

    def dealt_with():
        nonlocal stamp
        stamp += 1
        camera.publish(to_compressed(client.header(stamp), data[:-2], "jpeg"))
        time.sleep(0.05)
        return counters.answered or counters.refused

    wait_until(dealt_with, "the picture dealt with")
    assert bool(counters.answered) == taken and (counters.refused["data"] == 0) == taken
    assert taken or "jpeg_without_end takes them" in stderr.read()


def test_compressed_images_in_replay_are_all_answered_in_order(client, start_segmenter):
    from rclpy.qos import HistoryPolicy, QoSProfile

    model = FakeModel(delay=0.005)
    node = start_segmenter(model, camera="/camera/image_raw/compressed", replay=True)
    everything = QoSProfile(depth=100, history=HistoryPolicy.KEEP_ALL)
    camera = client.advertise(CompressedImage, "/camera/image_raw/compressed", everything)
    for i in range(60):
        camera.publish(jpeg(client, SECOND + i))
    wait_until(lambda: node.cameras[0].inference.counters.answered == 60, "all answers")
    assert model.stamps == [SECOND + i for i in range(60)] and not node.cameras[0].inference.counters.dropped


def test_late_hints_cost_a_new_image_no_more_than_two_old_ones(session):
    for i in range(8):
        session.shows(robot_picture(), (1 + i) * SECOND)
    stream = session.inference._stream
    stream.steps.clear()
    for i in range(6):
        image = session.inference.recent.at((1 + i) * SECOND)
        session.inference.hint(Hint(Prompt("arm", PromptKind.POINT, (20.0, 50.0)), image))
    shown = []
    for i in range(4):
        session.shows(robot_picture(), (20 + i) * SECOND // 2)
        shown.append([what for _, what in stream.steps].count("step"))
        stream.steps.clear()
    # All are given in the end, in the order of their images.
    assert shown == [1 + MAX_LATE_IMAGES] * 3 + [1] and len(stream.prompts) == 6


def test_hints_do_not_keep_more_images_than_fit(session):
    big = np.zeros((1, MAX_BYTES // 3 - 10, 3), np.uint8)
    prompt = Prompt("arm", PromptKind.POINT, (0.0, 0.0))
    session.inference.hint(Hint(prompt, SeenImage(1, big)))
    with pytest.raises(PromptError, match="1 images wait with hints already, 64 MiB at most"):
        session.inference.hint(Hint(prompt, SeenImage(2, big.copy())))
    session.inference.hint(Hint(prompt, None))
