# SPDX-License-Identifier: Apache-2.0
"""Start the safety monitor example: ros2 launch robotseg_ros safety_monitor.launch.py zones:=zones.yaml."""

from launch import LaunchDescription

from robotseg_ros.common.launching import Argument, describe_node

ARGUMENTS = (
    Argument("zones", "", "YAML file of the zones; empty: the example that is shipped."),
    Argument("mask", "/robotseg/robot_mask", "Mask of the robot."),
    Argument("parts", "/robotseg/parts", "What the segmenter says of each image."),
    Argument("frame_id", "", "Of the camera that is watched; empty: that of the first masks."),
    Argument("max_age", 0.5, "Seconds from an image's stamp for which its masks count."),
    Argument("clear_for", 1.0, "Seconds of clear masks until it is safe again."),
    Argument("robot_in_view", True, "Whether 'no robot seen' is a failure."),
    Argument("accept_degraded", False, "Whether doubted masks count."),
    Argument("rate", 20.0, "Hz of the output, beside every change."),
)


def generate_launch_description() -> LaunchDescription:
    """Describe one safety monitor."""
    return describe_node("safety_monitor", ARGUMENTS)
