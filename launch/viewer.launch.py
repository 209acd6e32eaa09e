# SPDX-License-Identifier: Apache-2.0
"""Start the viewer for Foxglove: ros2 launch robotseg_ros viewer.launch.py camera:=/wrist/image_raw."""

from launch import LaunchDescription

from robotseg_ros.common.launching import Argument, describe_node

ARGUMENTS = (
    Argument("camera", "/camera/image_raw", "Image topic of the camera."),
    Argument("prefix", "/robotseg", "What the segmenter's topics begin with."),
    Argument("host", "127.0.0.1", "Address to serve on; 0.0.0.0 lets other machines look."),
    Argument("port", 8765, "Port to serve on; 0: any that is free."),
    Argument(
        "origins",
        "https://app.foxglove.dev https://studio.foxglove.dev file://",
        "Web pages that may look, by their Origin, separated by spaces.",
    ),
)


def generate_launch_description() -> LaunchDescription:
    """Describe one viewer."""
    return describe_node("viewer", ARGUMENTS)
