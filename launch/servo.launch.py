# SPDX-License-Identifier: Apache-2.0
"""Start the servo node: ros2 launch robotseg_ros servo.launch.py depth:=/camera/depth/image_raw."""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, SetEnvironmentVariable
from launch.substitutions import EnvironmentVariable, LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

CONFIG = Path(__file__).resolve().parents[1] / "config"
PROFILE_VARIABLE = "FASTDDS_DEFAULT_PROFILES_FILE"
ALIGNED = "/camera/aligned_depth_to_color"
TOPICS = {
    "depth": (f"{ALIGNED}/image_raw", "Depth image aligned with the segmented camera."),
    "mask": ("/robotseg/gripper_mask", "Mask of the part to follow."),
    "camera_info": (f"{ALIGNED}/camera_info", "Calibration of the depth image."),
}


def generate_launch_description() -> LaunchDescription:
    """Describe one servo node with the shipped Fast DDS profile."""
    arguments = [
        DeclareLaunchArgument(name, default_value=topic, description=text) for name, (topic, text) in TOPICS.items()
    ]
    arguments += [
        DeclareLaunchArgument(
            "params_file", default_value=str(CONFIG / "servo.yaml"), description="YAML file with node parameters."
        ),
        DeclareLaunchArgument("namespace", default_value="", description="Namespace of the node servo."),
    ]
    # The default transport loses large images; a profile that the user has chosen stays in force.
    profile = SetEnvironmentVariable(
        PROFILE_VARIABLE, EnvironmentVariable(PROFILE_VARIABLE, default_value=str(CONFIG / "fastdds_profile.xml"))
    )
    node = Node(
        package="robotseg_ros",
        executable="servo",
        name="servo",
        namespace=LaunchConfiguration("namespace"),
        parameters=[
            LaunchConfiguration("params_file"),
            {name: ParameterValue(LaunchConfiguration(name), value_type=str) for name in TOPICS},
        ],
        output="screen",
    )
    return LaunchDescription([*arguments, profile, node])
