# SPDX-License-Identifier: Apache-2.0
"""Start the safety monitor example: ros2 launch robotseg_ros safety_monitor.launch.py zones:=zones.yaml."""

from launch import LaunchDescription

from robotseg_ros.common.launching import Argument, describe_node
from robotseg_ros.common.shipped import config_file

ARGUMENTS = (
    Argument("zones", str(config_file("zones.yaml")), "YAML file of the zones."),
    Argument("mask", "/robotseg/robot_mask", "Mask of the robot."),
    Argument("parts", "/robotseg/parts", "What the segmenter says of each image."),
)


def generate_launch_description() -> LaunchDescription:
    """Describe one safety monitor."""
    return describe_node("safety_monitor", ARGUMENTS)
