# SPDX-License-Identifier: Apache-2.0
"""The streaming RobotSeg core: which pixels of every camera frame are the robot, its arm, its gripper.

This package never imports ROS.  Entry points: :class:`robotseg_core.stream.RobotSeg` (load a model, open a
stream) and :mod:`robotseg_core.types` (what a step returns).
"""

__version__ = "0.1.0"
