# SPDX-License-Identifier: Apache-2.0
"""What the launch files share.  For ``ros2 launch`` alone: launch and launch_ros come with ROS, not from pip."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from robotseg_ros.common.fastdds import profile_settings

RESPAWN_DELAY_S = 2.0
_FLAGS = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True)
class Argument:
    """A launch argument that sets the node's parameter of the same name, where it is given.

    One that is not given sets nothing: a value of the user's parameter file, or of a ``SetParameter`` around the
    launch file, stays in force.

    Attributes:
        name: of both.
        default: of the node, which says so itself; also the type of the parameter.
        description: for ``ros2 launch --show-args``.
        otherwise: what the launch file gives where neither argument nor file does, if that is not the node's default.
    """

    name: str
    default: str | bool | int | float
    description: str
    otherwise: str | bool | int | float | None = None

    def value(self, text: str) -> Any:
        """The parameter's value as it was written on the command line.

        Raises:
            ValueError: it is no value of this type.
        """
        kind = type(self.default)
        try:
            if kind is bool:
                return flag(self.name, text)
            # A text stays one also where YAML would see something else in it.
            return ParameterValue(text, value_type=str) if kind is str else kind(text)
        except ValueError as error:
            what = {int: "a whole number", float: "a number"}.get(kind, "true or false")
            raise ValueError(f"argument {self.name} is {text!r}, must be {what}") from error


def flag(name: str, text: str) -> bool:
    """A flag as it was written on the command line.

    Raises:
        ValueError: it is none.
    """
    try:
        return _FLAGS[text.lower()]
    except KeyError:
        raise ValueError(f"argument {name} is {text!r}, must be true or false") from None


def describe_node(executable: str, arguments: Sequence[Argument], *, name: str | None = None) -> LaunchDescription:
    """Describe one node of this package with the shipped Fast DDS profile.

    Beside ``arguments`` it takes ``params_file``, over which they win, ``namespace``, ``use_sim_time``, ``log_level``
    and ``respawn``.

    Args:
        executable: what starts it.
        arguments: its own ones.
        name: of the node; None: that of the executable.
    """
    own = [
        *arguments,
        Argument("use_sim_time", False, "true: time comes from /clock, as for simulators and bags."),
    ]
    declared = [
        DeclareLaunchArgument(
            argument.name,
            default_value="",
            description=f"{argument.description} Not given: as in params_file, else {_written(argument)}.",
        )
        for argument in own
    ]
    declared += [
        DeclareLaunchArgument(
            "params_file", default_value="", description="YAML file with node parameters; arguments win over it."
        ),
        DeclareLaunchArgument(
            "namespace", default_value="", description=f"Namespace of the node {name or executable}."
        ),
        DeclareLaunchArgument(
            "log_level", default_value="", description="debug, info, warn, error or fatal; <logger>:=<level> for one."
        ),
        DeclareLaunchArgument(
            "respawn",
            default_value="false",
            description=f"true: start the node again {RESPAWN_DELAY_S:.0f} s after it has ended.",
        ),
    ]

    def start(context: LaunchContext) -> list[Any]:
        given = {entity.name: LaunchConfiguration(entity.name).perform(context) for entity in declared}
        # The default transport loses large images; a profile that the user has chosen stays in force.
        profile = [SetEnvironmentVariable(*setting) for setting in profile_settings(os.environ).items()]
        file = given["params_file"]
        if file and not Path(file).is_file():
            raise ValueError(f"argument params_file is {file!r}, which is no file")
        ros_arguments = []
        for argument in own:
            if argument.otherwise is not None and not given[argument.name]:
                # Here, because files and SetParameter come after it; a parameter dictionary of a node would win.
                ros_arguments += ["-p", f"{argument.name}:={str(argument.otherwise).lower()}"]
        if given["log_level"]:
            ros_arguments += ["--log-level", given["log_level"]]
        values = {a.name: a.value(given[a.name]) for a in own if given[a.name]}
        node = Node(
            package="robotseg_ros",
            executable=executable,
            name=name or executable,
            namespace=given["namespace"],
            parameters=[*([file] if file else []), *([values] if values else [])],
            ros_arguments=ros_arguments,
            respawn=flag("respawn", given["respawn"]),
            respawn_delay=RESPAWN_DELAY_S,
            output="screen",
        )
        return [*profile, node]

    return LaunchDescription([*declared, OpaqueFunction(function=start)])


def _written(argument: Argument) -> str:
    """What holds where nothing is given, as it would be written on the command line."""
    value = argument.default if argument.otherwise is None else argument.otherwise
    return str(value).lower() if isinstance(value, bool) else str(value) or "empty"


def aligned_depth(mask: Argument, patience: float) -> tuple[Argument, ...]:
    """Arguments of a node that reads a mask and the depth of the same camera."""
    topics = "/camera/aligned_depth_to_color"
    return (
        Argument("depth", f"{topics}/image_raw", "Depth image aligned with the segmented camera."),
        mask,
        Argument("camera_info", f"{topics}/camera_info", "Calibration of the depth image."),
        Argument("slop", 0.005, "Seconds between the stamps of mask and depth at most."),
        Argument("patience", patience, "Seconds that one of them waits for the other."),
    )
