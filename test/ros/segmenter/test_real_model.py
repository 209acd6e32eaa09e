# SPDX-License-Identifier: Apache-2.0
"""The real core with the shipped weights behind the node, in this process: no player, no other process."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from ros_client import IMAGES, pixels

from robotseg_ros.common.messages import stamp_ns
from robotseg_ros.common.model import ModelOptions, load_robotseg

ROOT = Path(__file__).resolve().parents[3]
STAMP = 1_700_000_000_123_456_789


@pytest.mark.real_model
def test_real_core_answers_with_the_stamp_and_size_of_the_image(client, start_segmenter):
    good, frame = cv2.VideoCapture(str(ROOT / "demo" / "clip.mp4")).read()
    assert good
    # Not a size that the model was made for.
    rgb = np.ascontiguousarray(frame[:-1, :-3, ::-1])
    start_segmenter(load_robotseg(ModelOptions(device="cpu")))
    client.listen("parts", *IMAGES)
    client.wait_for_camera_subscriber()
    stamp = STAMP
    for topic in ("parts", *IMAGES):
        client.send_until(rgb, stamp, topic, 1)
        stamp += 1000
    for topic in IMAGES:
        image = client.heard[topic][0]
        assert STAMP <= stamp_ns(image.header) < stamp
        assert image.header.frame_id == "wrist_camera"
        assert (image.height, image.width) == rgb.shape[:2]
    answers = {topic: {stamp_ns(m.header): m for m in client.heard[topic]} for topic in ("parts", *IMAGES)}
    common = sorted(set.intersection(*(set(by_stamp) for by_stamp in answers.values())))
    assert common, "no image was answered on all topics"
    arm, gripper, robot = (pixels(answers[topic][common[0]]) for topic in IMAGES[:3])
    assert set(np.unique(robot)) <= {0, 255}
    assert not np.any(arm & gripper) and np.array_equal(arm | gripper, robot)
    parts = answers["parts"][common[0]]
    assert [part.area for part in parts.parts] == [np.count_nonzero(mask) for mask in (arm, gripper, robot)]
    assert parts.preset == "nano" and parts.encoder_ms > 0
