# SPDX-License-Identifier: Apache-2.0
"""Images that are not what they say, each given to the session of one camera."""

import cv2
import numpy as np
import pytest
from fake_model import robot_picture
from fault_session import header
from sensor_msgs.msg import CompressedImage, Image

from robotseg_core.types import State

SECOND = 1_000_000_000


def raw(**fields):
    message = Image(header=header(SECOND), height=4, width=6, step=18, encoding="rgb8")
    message.data.frombytes(bytes(72))
    for name, value in fields.items():
        if name == "size":
            del message.data[:]
            message.data.frombytes(bytes(value))
        else:
            setattr(message, name, value)
    return message


def file(data, kind="jpeg"):
    message = CompressedImage(header=header(SECOND), format=kind)
    message.data.frombytes(data)
    return message


def encoded(suffix):
    return cv2.imencode(suffix, robot_picture())[1].tobytes()


def png_that_says_it_is_huge():
    """A sound PNG but for the size in its header."""
    png = bytearray(encoded(".png"))
    png[16:24] = (60000).to_bytes(4, "big") * 2
    return bytes(png)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        pytest.param(lambda: raw(step=17), "step", id="step below width x channels"),
        pytest.param(lambda: raw(size=71), "data", id="short data"),
        pytest.param(lambda: raw(size=73), "data", id="long data"),
        pytest.param(lambda: raw(size=0), "data", id="no data"),
        pytest.param(lambda: raw(width=0), "size", id="zero width"),
        pytest.param(lambda: raw(height=0, size=0), "size", id="zero height"),
        pytest.param(lambda: raw(height=8192, width=8192, step=3 * 8192), "data", id="huge size with little data"),
        pytest.param(lambda: raw(height=2**32 - 1, width=2**32 - 1), "size", id="absurd size"),
        pytest.param(lambda: raw(encoding="32FC1"), "encoding", id="unknown encoding"),
        pytest.param(lambda: raw(encoding="mono16", is_bigendian=1, step=11, size=44), "step", id="16 bits"),
        pytest.param(lambda: raw(is_bigendian=7), "endianness", id="no byte order"),
        pytest.param(lambda: file(b"\xff\xd8\xff" + bytes(range(256)) * 8), "data", id="garbage jpeg"),
        pytest.param(lambda: file(encoded(".jpg")[:-300]), "data", id="truncated jpeg"),
        pytest.param(lambda: file(encoded(".png")[:-20]), "data", id="truncated png"),
        pytest.param(lambda: file(png_that_says_it_is_huge()), "size", id="png bomb"),
        pytest.param(lambda: file(encoded(".bmp")), "format", id="bmp"),
        pytest.param(lambda: file(encoded(".webp")[:-6]), "data", id="truncated webp"),
        pytest.param(lambda: file(bytes(12) + encoded(".png"), "16UC1; compressedDepth png"), "format", id="depth"),
        pytest.param(lambda: file(b"\0\0\0\x01\x67\x42\0\x1e", "h264"), "format", id="h264"),
        pytest.param(lambda: file(b""), "format", id="empty file"),
    ],
)
def test_an_image_that_is_not_what_it_says_is_refused_counted_and_said(session, stderr, message, reason):
    assert session.shows(robot_picture(), SECOND) == State.TRACKING
    assert session.give(message()) is None
    assert session.counters.refused == {reason: 1}
    assert "image refused" in (said := stderr.read()) and f"1 for {reason}" in said
    # The next good one is answered, and the memory is what it was.
    assert session.shows(robot_picture(), 2 * SECOND) == State.TRACKING
    assert session.counters.answered == 2 and not session.counters.restarts


def test_padded_rows_are_read(session):
    rgb = robot_picture()
    padded = np.pad(rgb.reshape(120, 480), ((0, 0), (0, 32)), constant_values=255)
    message = raw(height=120, width=160, step=512, size=padded.tobytes())
    assert session.give(message) == State.TRACKING
    assert np.array_equal(session.answers[0][3]["gripper"] > 0, (rgb == (255, 0, 0)).all(-1))
