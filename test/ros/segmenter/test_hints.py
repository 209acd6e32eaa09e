# SPDX-License-Identifier: Apache-2.0
"""Which image a hint is for, and clicks of viewers."""

import numpy as np
import pytest
from geometry_msgs.msg import PointStamped
from sensor_msgs.msg import CameraInfo

from robotseg_core.types import Prompt, PromptKind
from robotseg_ros.segmenter.hints import PromptError, RecentImages, check_inside, click_prompt

SECOND = 1_000_000_000


def image(value=0):
    return np.full((10, 20, 3), value, np.uint8)


@pytest.fixture
def recent():
    recent = RecentImages(max_images=4)
    for i in range(6):
        recent.add(i * SECOND // 10, image(i))
    return recent


def test_the_image_of_a_stamp_is_found_and_between_two_the_earlier(recent):
    assert recent.at(3 * SECOND // 10).rgb[0, 0, 0] == 3
    assert recent.at(3 * SECOND // 10 + 5).rgb[0, 0, 0] == 3
    assert recent.at(4 * SECOND // 10 - 1).rgb[0, 0, 0] == 3
    assert recent.at(SECOND).rgb[0, 0, 0] == 5


@pytest.mark.parametrize(
    ("stamp", "words"),
    [
        (SECOND // 10, "0.400 s older than the newest one; 0.300 s are kept"),
        (SECOND + 1, "0.500 s after the image before it, must be at most 0.5 s"),
        (90 * SECOND, "89.500 s after the image before it"),
    ],
)
def test_a_stamp_too_old_or_too_new_is_refused_with_the_reason(recent, stamp, words):
    with pytest.raises(PromptError, match=words):
        recent.at(stamp)


def test_without_any_image_a_hint_for_one_is_refused(recent):
    recent.clear()
    with pytest.raises(PromptError, match="no image has been worked on yet"):
        recent.at(0)


def test_images_are_kept_up_to_a_size():
    recent = RecentImages(max_bytes=1500)
    for i in range(5):
        recent.add(i, image(i))
    assert recent.at(4).rgb[0, 0, 0] == 4 and recent.at(3).rgb[0, 0, 0] == 3
    with pytest.raises(PromptError):
        recent.at(2)
    # One image always, however large.
    small = RecentImages(max_bytes=1)
    small.add(7, image())
    assert small.at(7).stamp == 7


@pytest.mark.parametrize(
    ("kind", "xy", "good"),
    [
        (PromptKind.POINT, (0.0, 0.0), True),
        (PromptKind.POINT, (19.4, 9.4), True),
        (PromptKind.POINT, (19.6, 5.0), False),
        (PromptKind.POINT, (-0.6, 5.0), False),
        (PromptKind.BOX, (-5.0, -5.0, 3.0, 3.0), True),
        (PromptKind.BOX, (30.0, 30.0, 40.0, 40.0), False),
        (PromptKind.RESET, (), True),
    ],
)
def test_hints_off_the_image_are_refused(recent, kind, xy, good):
    prompt = Prompt(part="arm", kind=kind, xy=xy)
    if good:
        check_inside(prompt, recent.at(SECOND // 2))
    else:
        with pytest.raises(PromptError, match="outside the 20 x 10 image"):
            check_inside(prompt, recent.at(SECOND // 2))


def click(x, y, z=0.0, frame_id="wrist"):
    made = PointStamped()
    made.header.frame_id = frame_id
    made.point.x, made.point.y, made.point.z = x, y, z
    return made


INFO = CameraInfo(width=640, height=480)
INFO.p = [500.0, 0.0, 320.0, 0.0, 0.0, 510.0, 240.0, 0.0, 0.0, 0.0, 1.0, 0.0]


def test_a_click_in_pixels_is_a_point():
    prompt = click_prompt(click(12.5, 7.0, frame_id="whatever"), "gripper", info=None, frame_id="wrist")
    assert prompt == Prompt(part="gripper", kind=PromptKind.POINT, xy=(12.5, 7.0))


def test_a_click_in_metres_is_projected_into_the_image():
    prompt = click_prompt(click(0.2, -0.1, 2.0), "robot", info=INFO, frame_id="wrist")
    assert prompt.xy == pytest.approx((320 + 500 * 0.1, 240 - 510 * 0.05))


@pytest.mark.parametrize(
    ("message", "info", "words"),
    [
        (click(1.0, 1.0, 1.0, "base_link"), INFO, "in frame 'base_link', the images are in 'wrist'"),
        (click(1.0, 1.0, 1.0), None, "camera_info, which has not come"),
        (click(1.0, 1.0, 1.0), CameraInfo(), "camera_info, which has not come"),
        (click(1.0, 1.0, -2.0), INFO, "2.0 m behind the camera"),
        (click(float("nan"), 1.0), INFO, "must be finite"),
    ],
)
def test_clicks_that_are_no_point_of_the_image_are_refused(message, info, words):
    with pytest.raises(PromptError, match=words):
        click_prompt(message, "arm", info=info, frame_id="wrist")
