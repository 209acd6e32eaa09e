# SPDX-License-Identifier: Apache-2.0
"""Values given for parameters that a node does not have: ROS drops them without a word."""

from __future__ import annotations

import difflib

from rclpy.node import Node

OF_ROS = ("qos_overrides.", "use_sim_time", "start_type_description_service")
"""Declared by rclpy, the first when a topic is made."""


def unknown_parameters(node: Node) -> list[str]:
    """Say of each value that was given at the start and is of no parameter what it is, and what may be meant.

    Args:
        node: that has declared all of its parameters.
    """
    # Not public; where rclpy should call it otherwise, nothing is said.
    given = sorted(getattr(node, "_parameter_overrides", {}))
    declared = list(node.get_parameters_by_prefix(""))
    said = []
    for name in given:
        if name in declared or name.startswith(OF_ROS):
            continue
        close = difflib.get_close_matches(name, declared, n=1)
        meant = f"; is {close[0]} meant?" if close else ""
        said.append(f"parameter {name} is none of this node and has no effect{meant}")
    return said
