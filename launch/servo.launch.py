# SPDX-License-Identifier: Apache-2.0
"""Start the servo node: ros2 launch robotseg_ros servo.launch.py depth:=/camera/depth/image_raw."""

from launch import LaunchDescription

from robotseg_ros.common.launching import Argument, aligned_depth, describe_node

ARGUMENTS = aligned_depth(Argument("mask", "/robotseg/gripper_mask", "Mask of the part to follow."))


def generate_launch_description() -> LaunchDescription:
    """Describe one servo node."""
    return describe_node("servo", ARGUMENTS)
