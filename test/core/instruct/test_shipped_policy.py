# SPDX-License-Identifier: Apache-2.0
"""The policy that is shipped belongs to the weights that are shipped, and answers."""

from pathlib import Path

import cv2
import pytest

from robotseg_core.instruct.policies import default_policy, small_weights
from robotseg_core.instruct.prompt_set import Answer, View
from robotseg_core.instruct.request import Request
from robotseg_core.instruct.small.policy import SmallPolicy, load_policy
from robotseg_core.stream.robotseg import RobotSeg

CLIP = Path(__file__).parents[3] / "demo" / "clip.mp4"

pytestmark = pytest.mark.real_model


@pytest.fixture(scope="module")
def robotseg():
    return RobotSeg.load("nano", device="cpu", warm=False)


def test_it_is_small_and_of_the_weights_that_are_shipped(robotseg):
    path = small_weights()
    assert path is not None and path.stat().st_size < 25_000_000
    assert robotseg.sha256 in load_policy(path).bases
    assert isinstance(default_policy(robotseg), SmallPolicy)


def test_requests_about_a_frame_are_answered_in_its_pixels(robotseg):
    good, bgr = cv2.VideoCapture(str(CLIP)).read()
    assert good
    rgb = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
    policy = default_policy(robotseg)
    (encoded,) = robotseg.encode_frames([rgb])
    parts = robotseg.stream().step_encoded(encoded.again())
    view = View(rgb, parts, policy.look(encoded, parts))
    height, width = rgb.shape[:2]
    found = 0
    for text in (
        "the robot",
        "the left arm",
        "the gripper that is open",
        "the arm nearest to the red cup",
        "both arms",
    ):
        prompts = policy.answer(Request.of(text), view)
        found += prompts.answer is Answer.FOUND
        for instance in prompts.instances:
            x0, y0, x1, y1 = instance.box
            assert 0 <= x0 < x1 < width and 0 <= y0 < y1 < height
    assert found
    assert policy.answer(Request.of("the robot"), view).automatic
