# SPDX-License-Identifier: Apache-2.0
"""Start the safety monitor example: ros2 launch robotseg_ros safety_monitor.launch.py zones:=zones.yaml."""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, SetEnvironmentVariable
from launch.substitutions import EnvironmentVariable, LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

CONFIG = Path(__file__).resolve().parents[1] / "config"
PROFILE_VARIABLE = "FASTDDS_DEFAULT_PROFILES_FILE"
TEXTS = {
    "zones": (str(CONFIG / "zones.yaml"), "YAML file of the zones."),
    "mask": ("/robotseg/robot_mask", "Mask of the robot."),
    "parts": ("/robotseg/parts", "What the segmenter says of each image."),
}


def generate_launch_description() -> LaunchDescription:
    """Describe one safety monitor with the shipped Fast DDS profile."""
    arguments = [
        DeclareLaunchArgument(name, default_value=value, description=text) for name, (value, text) in TEXTS.items()
    ]
    arguments += [
        DeclareLaunchArgument(
            "params_file",
            default_value=str(CONFIG / "safety_monitor.yaml"),
            description="YAML file with node parameters.",
        ),
        DeclareLaunchArgument("namespace", default_value="", description="Namespace of the node safety_monitor."),
    ]
    # The default transport loses large images; a profile that the user has chosen stays in force.
    profile = SetEnvironmentVariable(
        PROFILE_VARIABLE, EnvironmentVariable(PROFILE_VARIABLE, default_value=str(CONFIG / "fastdds_profile.xml"))
    )
    node = Node(
        package="robotseg_ros",
        executable="safety_monitor",
        name="safety_monitor",
        namespace=LaunchConfiguration("namespace"),
        parameters=[
            LaunchConfiguration("params_file"),
            {name: ParameterValue(LaunchConfiguration(name), value_type=str) for name in TEXTS},
        ],
        output="screen",
    )
    return LaunchDescription([*arguments, profile, node])
