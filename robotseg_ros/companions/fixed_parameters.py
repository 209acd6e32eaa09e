# SPDX-License-Identifier: Apache-2.0
"""Read-only parameters with description and range, for the nodes beside the segmenter."""

from __future__ import annotations

from typing import Any

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.exceptions import NameValidationException
from rclpy.node import Node
from rclpy.validate_topic_name import validate_topic_name


class FixedParameters:
    """Declares parameters that stay what they are from the start of a node.

    Raises:
        ValueError: (by the methods) a start value is out of its range.
        rclpy.exceptions.ParameterException: (by the methods) a start value is of another type.
    """

    def __init__(self, node: Node) -> None:
        self._node = node

    def text(self, name: str, default: str, description: str, choices: tuple[str, ...] = ()) -> str:
        """Declare a text; ``choices`` names all that it may be."""
        value = self._declare(name, default, description, additional_constraints=", ".join(choices))
        if choices and value not in choices:
            raise ValueError(f"{name} is {value!r}, must be one of {', '.join(choices)}")
        return str(value)

    def topic(self, name: str, default: str, description: str) -> str:
        """Declare the name of a topic."""
        value = self.text(name, default, description)
        try:
            validate_topic_name(value)
        except NameValidationException as error:
            raise ValueError(
                f"{name} is {value!r}, must be the name of a topic: {' '.join(str(error).split())}"
            ) from error
        return value

    def number(self, name: str, default: float, low: float, high: float, description: str) -> float:
        """Declare a number from ``low`` to ``high``; 2 is as good as 2.0."""
        value = self._declare(
            name, default, description, dynamic_typing=True, additional_constraints=f"{low} to {high}"
        )
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            raise ValueError(f"{name} is {value!r}, must be a number, {low} to {high}")
        return float(value)

    def flag(self, name: str, default: bool, description: str) -> bool:
        """Declare a boolean."""
        return bool(self._declare(name, default, description))

    def _declare(self, name: str, default: Any, description: str, **limits: Any) -> Any:
        descriptor = ParameterDescriptor(description=description, read_only=True, **limits)
        value = self._node.declare_parameter(name, default, descriptor).value
        if value is None:
            # An empty list in a parameter file has no type, and comes as nothing.
            raise ValueError(f"{name} is an empty list, must be a {type(default).__name__}")
        return value
