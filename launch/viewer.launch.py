# SPDX-License-Identifier: Apache-2.0
"""Start the viewer for Foxglove: ros2 launch robotseg_ros viewer.launch.py camera:=/wrist/image_raw."""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, SetEnvironmentVariable
from launch.substitutions import EnvironmentVariable, LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

CONFIG = Path(__file__).resolve().parents[1] / "config"
PROFILE_VARIABLE = "FASTDDS_DEFAULT_PROFILES_FILE"


def generate_launch_description() -> LaunchDescription:
    """Describe one viewer with the shipped Fast DDS profile."""
    arguments = [
        DeclareLaunchArgument("camera", default_value="/camera/image_raw", description="Image topic of the camera."),
        DeclareLaunchArgument(
            "params_file", default_value=str(CONFIG / "viewer.yaml"), description="YAML file with node parameters."
        ),
        DeclareLaunchArgument("namespace", default_value="", description="Namespace of the node viewer."),
    ]
    # The default transport loses large images; a profile that the user has chosen stays in force.
    profile = SetEnvironmentVariable(
        PROFILE_VARIABLE, EnvironmentVariable(PROFILE_VARIABLE, default_value=str(CONFIG / "fastdds_profile.xml"))
    )
    node = Node(
        package="robotseg_ros",
        executable="viewer",
        name="viewer",
        namespace=LaunchConfiguration("namespace"),
        parameters=[
            LaunchConfiguration("params_file"),
            {"camera": ParameterValue(LaunchConfiguration("camera"), value_type=str)},
        ],
        output="screen",
    )
    return LaunchDescription([*arguments, profile, node])
