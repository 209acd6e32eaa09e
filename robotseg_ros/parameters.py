# SPDX-License-Identifier: Apache-2.0
"""Parameters of the node: declared with description and range, read into a frozen dataclass."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rcl_interfaces.msg import ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from robotseg_ros.model import ModelOptions

KEEP = "keep"
REMOVE = "remove"
STALE_AFTER_S = (0.1, 60.0)
"""Range of ``stale_after``."""


@dataclass(frozen=True)
class SegmenterOptions:
    """The parameters that stay what they are from the start of the node.

    Attributes:
        camera: image topic.
        model: what to load.
        stale_after: seconds without a usable image until STALE is published.
        autostart: whether the executable configures and activates the node by itself.
    """

    camera: str
    model: ModelOptions
    stale_after: float
    autostart: bool


def declare(node: Node) -> SegmenterOptions:
    """Declare all parameters of the segmenter and return the read-only ones.

    Raises:
        ValueError: a start value is out of its range.
        rclpy.exceptions.ParameterException: a start value is of another type, or refused.
    """

    def fixed(name: str, default: Any, description: str, **limits: Any) -> Any:
        descriptor = ParameterDescriptor(description=description, read_only=True, **limits)
        return node.declare_parameter(name, default, descriptor).value

    options = SegmenterOptions(
        camera=fixed("camera", "/camera/image_raw", "Image topic to segment (sensor_msgs/Image)."),
        model=ModelOptions(
            preset=fixed("preset", "nano", "Model preset."),
            device=fixed("device", "auto", "Where the model runs: auto, cpu or cuda."),
            backend=fixed("backend", "auto", "What runs the encoder: auto, torch, onnxruntime or tensorrt."),
            weights=_path(fixed("weights", "", "Path of a weights file; empty: the shipped ones of the preset.")),
        ),
        # Of any type, so that 2 is as good as 2.0.
        stale_after=_seconds(
            "stale_after",
            fixed(
                "stale_after",
                1.0,
                "Seconds without a usable image until state STALE is published.",
                dynamic_typing=True,
                additional_constraints=f"{STALE_AFTER_S[0]} to {STALE_AFTER_S[1]}",
            ),
        ),
        autostart=fixed("autostart", False, "Configure and activate the node by itself."),
    )
    # Registered first: declaring a parameter checks its start value with the callbacks that are there.
    node.add_on_set_parameters_callback(_check)
    node.declare_parameter(
        "masked_image",
        KEEP,
        ParameterDescriptor(
            description="What ~/masked_image leaves of the image; can be changed at any time.",
            additional_constraints=f"{KEEP}: only the robot, {REMOVE}: all but the robot",
        ),
    )
    return options


def keeps_robot(node: Node) -> bool:
    """Whether ``~/masked_image`` keeps the robot (it is removed otherwise)."""
    return bool(node.get_parameter("masked_image").value == KEEP)


def _seconds(name: str, value: Any) -> float:
    low, high = STALE_AFTER_S
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise ValueError(f"{name} is {value!r}, must be a number of seconds, {low} to {high}")
    return float(value)


def _path(text: str) -> Path | None:
    return Path(text).expanduser() if text else None


def _check(parameters: list[Parameter]) -> SetParametersResult:
    for parameter in parameters:
        if parameter.name == "masked_image" and parameter.value not in (KEEP, REMOVE):
            reason = f"masked_image is {parameter.value!r}, must be {KEEP!r} or {REMOVE!r}"
            return SetParametersResult(successful=False, reason=reason)
    return SetParametersResult(successful=True)
