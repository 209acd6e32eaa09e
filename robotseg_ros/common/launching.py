# SPDX-License-Identifier: Apache-2.0
"""What the launch files share.  For ``ros2 launch`` alone: launch and launch_ros come with ROS, not from pip."""

from __future__ import annotations

import os
from dataclasses import dataclass

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from robotseg_ros.common.fastdds import profile_settings
from robotseg_ros.common.shipped import config_file


@dataclass(frozen=True)
class Argument:
    """A launch argument that sets the parameter of the same name.

    Attributes:
        name: of both.
        default: as it would be written on the command line.
        description: for ``ros2 launch --show-args``.
        kind: type of the parameter.
    """

    name: str
    default: str
    description: str
    kind: type[str] | type[bool] = str


def describe_node(executable: str, arguments: tuple[Argument, ...], *, name: str | None = None) -> LaunchDescription:
    """Describe one node of this package with the shipped Fast DDS profile.

    Beside ``arguments`` it takes ``params_file`` (default: ``config/<name>.yaml``), over which they win, and
    ``namespace``.

    Args:
        executable: what starts it.
        arguments: its own ones.
        name: of the node; None: that of the executable.
    """
    name = name or executable
    declared = [
        DeclareLaunchArgument(argument.name, default_value=argument.default, description=argument.description)
        for argument in arguments
    ]
    declared += [
        DeclareLaunchArgument(
            "params_file", default_value=str(config_file(f"{name}.yaml")), description="YAML file with node parameters."
        ),
        DeclareLaunchArgument("namespace", default_value="", description=f"Namespace of the node {name}."),
    ]
    # The default transport loses large images; a profile that the user has chosen stays in force.
    profile = [SetEnvironmentVariable(name, value) for name, value in profile_settings(os.environ).items()]
    node = Node(
        package="robotseg_ros",
        executable=executable,
        name=name,
        namespace=LaunchConfiguration("namespace"),
        parameters=[
            LaunchConfiguration("params_file"),
            {a.name: ParameterValue(LaunchConfiguration(a.name), value_type=a.kind) for a in arguments},
        ],
        output="screen",
    )
    return LaunchDescription([*declared, *profile, node])


def aligned_depth(mask: Argument) -> tuple[Argument, ...]:
    """Arguments of a node that reads a mask and the depth of the same camera."""
    topics = "/camera/aligned_depth_to_color"
    return (
        Argument("depth", f"{topics}/image_raw", "Depth image aligned with the segmented camera."),
        mask,
        Argument("camera_info", f"{topics}/camera_info", "Calibration of the depth image."),
    )
