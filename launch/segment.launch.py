# SPDX-License-Identifier: Apache-2.0
"""Start the segmenter: ros2 launch robotseg_ros segment.launch.py camera:=/wrist/image_raw."""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, SetEnvironmentVariable
from launch.substitutions import EnvironmentVariable, LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

CONFIG = Path(__file__).resolve().parents[1] / "config"
PROFILE_VARIABLE = "FASTDDS_DEFAULT_PROFILES_FILE"


def generate_launch_description() -> LaunchDescription:
    """Describe one segmenter node with the shipped Fast DDS profile."""
    arguments = [
        DeclareLaunchArgument("camera", default_value="/camera/image_raw", description="Image topic to segment."),
        DeclareLaunchArgument("preset", default_value="nano", description="Model preset."),
        DeclareLaunchArgument("device", default_value="auto", description="Where the model runs: auto, cpu or cuda."),
        DeclareLaunchArgument(
            "params_file", default_value=str(CONFIG / "robotseg.yaml"), description="YAML file with node parameters."
        ),
        DeclareLaunchArgument("namespace", default_value="", description="Namespace of the node robotseg."),
        DeclareLaunchArgument(
            "autostart", default_value="true", description="true: configure and activate the node by itself."
        ),
    ]
    # The default transport loses large images; a profile that the user has chosen stays in force.
    profile = SetEnvironmentVariable(
        PROFILE_VARIABLE, EnvironmentVariable(PROFILE_VARIABLE, default_value=str(CONFIG / "fastdds_profile.xml"))
    )
    segmenter = Node(
        package="robotseg_ros",
        executable="segmenter",
        name="robotseg",
        namespace=LaunchConfiguration("namespace"),
        parameters=[
            LaunchConfiguration("params_file"),
            {
                "camera": ParameterValue(LaunchConfiguration("camera"), value_type=str),
                "preset": ParameterValue(LaunchConfiguration("preset"), value_type=str),
                "device": ParameterValue(LaunchConfiguration("device"), value_type=str),
                "autostart": ParameterValue(LaunchConfiguration("autostart"), value_type=bool),
            },
        ],
        output="screen",
    )
    return LaunchDescription([*arguments, profile, segmenter])
