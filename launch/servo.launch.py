# SPDX-License-Identifier: Apache-2.0
"""Start the servo node: ros2 launch robotseg_ros servo.launch.py depth:=/camera/depth/image_raw."""

from launch import LaunchDescription

from robotseg_ros.common.launching import Argument, aligned_depth, describe_node

ARGUMENTS = (
    *aligned_depth(Argument("mask", "/robotseg/gripper_mask", "Mask of the part to follow."), patience=0.2),
    Argument("depth_constant", 0.001, "Deviation of measured depth at 0 m, m."),
    Argument("depth_quadratic", 0.002, "Its growth with the depth squared, 1/m."),
    Argument("edge", 2.0, "Deviation of the mask's edges, pixels."),
    Argument("least_measured", 0.2, "Share of the mask that must have a depth."),
)


def generate_launch_description() -> LaunchDescription:
    """Describe one servo node."""
    return describe_node("servo", ARGUMENTS)
