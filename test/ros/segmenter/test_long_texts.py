# SPDX-License-Identifier: Apache-2.0
"""Texts and lists without end in the headers of others: neither kept nor passed on."""

from fake_model import FakeModel, robot_picture
from sensor_msgs.msg import CameraInfo

from robotseg_ros.common.messages import MAX_COEFFICIENTS, MAX_FRAME_ID, to_image

SECOND = 1_000_000_000


def test_what_would_go_out_with_every_answer_has_an_end(client, start_segmenter, stderr):
    (camera,) = start_segmenter(FakeModel()).cameras
    counters = camera.inference.counters
    camera._on_image(to_image(client.header(SECOND, "x" * (MAX_FRAME_ID + 1)), robot_picture(), "rgb8"))
    assert counters.refused == {"frame_id": 1} and not camera._lane.waiting
    assert f"frame_id has {MAX_FRAME_ID + 1} characters, must have at most {MAX_FRAME_ID}" in stderr.read()
    camera._on_info(CameraInfo(width=160, height=120, d=[0.0] * (MAX_COEFFICIENTS + 1)))
    assert camera.inference.info is None
    assert f"it has {MAX_COEFFICIENTS + 1} coefficients, must have at most" in stderr.read()
    camera._on_info(CameraInfo(width=160, height=120, distortion_model="x" * (MAX_COEFFICIENTS + 1)))
    camera._on_info(CameraInfo(header=client.header(SECOND, "x" * (MAX_FRAME_ID + 1)), width=160, height=120))
    assert camera.inference.info is None
    good = CameraInfo(header=client.header(SECOND), width=160, height=120, d=[0.0] * 14)
    camera._on_info(good)
    assert camera.inference.info is good
    client.listen("parts")
    client.send_until(robot_picture(), 2 * SECOND, "parts", 1)
    assert counters.answered and set(counters.refused) == {"frame_id"}


def test_camera_info_of_two_senders_is_that_of_none(client, start_segmenter, stderr):
    (camera,) = start_segmenter(FakeModel()).cameras
    infos = [CameraInfo(header=client.header(SECOND), width=160, height=120, k=[k, *[1.0] * 8]) for k in (1.0, 2.0)]
    heard = {"publisher_gid": {"data": b"1" * 16}}, {"publisher_gid": {"data": b"2" * 16}}
    camera._on_info(infos[0], heard[0])
    # The first has been restarted.
    camera._on_info(infos[1], heard[1])
    assert camera.inference.info is infos[1]
    camera._on_info(infos[0], heard[0])
    assert camera.inference.info is None
    assert "camera_info is left out: 2 publishers send it for frame 'wrist_camera'" in stderr.read()
    other = CameraInfo(header=client.header(SECOND, "front_camera"), width=160, height=120)
    camera._on_info(other, {"publisher_gid": {"data": b"3" * 16}})
    assert camera.inference.info is other
