# SPDX-License-Identifier: Apache-2.0
"""A numpy frame in, three masks out: the first frames of the demo clip, without ROS."""

import cv2

from robotseg_core import RobotSeg

stream = RobotSeg.load("nano").stream()
video = cv2.VideoCapture("demo/clip.mp4")
for _ in range(5):
    frame = cv2.cvtColor(video.read()[1], cv2.COLOR_BGR2RGB)  # [H, W, 3] uint8
    answer = stream.step(frame)
    arm, gripper, robot = (answer[part].mask for part in ("arm", "gripper", "robot"))  # [H, W] uint8, 0 or 255
    print(answer.state.name, *((mask > 0).sum() for mask in (arm, gripper, robot)))
