# SPDX-License-Identifier: Apache-2.0
"""Start the self-filter: ros2 launch robotseg_ros self_filter.launch.py depth:=/camera/depth/image_raw."""

from launch import LaunchDescription

from robotseg_ros.common.launching import Argument, aligned_depth, describe_node

ARGUMENTS = (
    *aligned_depth(Argument("mask", "/robotseg/robot_mask", "Mask of what is cut out."), patience=0.5),
    Argument("margin", 5, "Pixels of the depth image by which the mask is grown."),
    Argument("without_mask", "drop", "Depth without a mask: drop it, or publish it as unknown."),
)


def generate_launch_description() -> LaunchDescription:
    """Describe one self-filter node."""
    return describe_node("self_filter", ARGUMENTS)
