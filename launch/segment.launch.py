# SPDX-License-Identifier: Apache-2.0
"""Start the segmenter: ros2 launch robotseg_ros segment.launch.py camera:=/wrist/image_raw."""

from launch import LaunchDescription

from robotseg_ros.common.launching import Argument, describe_node

ARGUMENTS = (
    Argument("camera", "/camera/image_raw", "Image topic to segment."),
    Argument("preset", "nano", "Model preset."),
    Argument("device", "auto", "Where the model runs: auto, cpu or cuda."),
    Argument("autostart", "true", "true: configure and activate the node by itself.", bool),
)


def generate_launch_description() -> LaunchDescription:
    """Describe one segmenter node."""
    return describe_node("segmenter", ARGUMENTS, name="robotseg")
