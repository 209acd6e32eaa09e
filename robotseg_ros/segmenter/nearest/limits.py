# SPDX-License-Identifier: Apache-2.0
"""The limits that say which robot a camera means: parameters of each camera that may be changed at any time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter

from robotseg_core.masks.nearest import Nearest, parse_region
from robotseg_ros.common.camera_log import CameraLog
from robotseg_ros.segmenter.nearest.depth_images import DepthImages, NoDepth

MOST_M = 100
"""Largest ``max_depth``."""


class Limits:
    """Those of all cameras, as they are now.

    Args:
        cameras: names of the cameras, and whether each has a topic with depth.
    """

    def __init__(self, cameras: dict[str, bool]) -> None:
        self._has_depth = cameras
        self._now = dict.fromkeys(cameras, Nearest())

    def declare(self, node: Node) -> None:
        """Declare the parameters; their start values are checked by :meth:`changed`, as all others are."""
        for name in self._has_depth:
            prefix = _prefix(name)
            live = "Can be changed at any time."
            node.declare_parameter(
                f"{prefix}region",
                "",
                ParameterDescriptor(
                    description="Corners x0,y0,x1,y1,... of where the robot is that is meant, as shares of the "
                    f"image's width and height, 0 to 1; empty: the whole image. {live}",
                    additional_constraints="three corners or more, or empty",
                ),
            )
            node.declare_parameter(
                f"{prefix}max_depth",
                0.0,
                ParameterDescriptor(
                    description=f"Robots farther away than this are not meant, m; needs depth; 0: no limit. {live}",
                    dynamic_typing=True,
                    floating_point_range=[FloatingPointRange(from_value=0.0, to_value=float(MOST_M))],
                    integer_range=[IntegerRange(from_value=0, to_value=MOST_M)],
                ),
            )

    def of(self, camera: str) -> Nearest:
        """What a camera means now."""
        return self._now[camera]

    def changed(self, parameters: Sequence[Parameter]) -> dict[str, Nearest]:
        """The limits with these parameters, those of them that are limits; to be put in force by :meth:`set`.

        Raises:
            ValueError: a value is none; the parameter is named.
        """
        given = {parameter.name: parameter.value for parameter in parameters}
        changed = {}
        for name, now in self._now.items():
            prefix = _prefix(name)
            try:
                if f"{prefix}region" in given:
                    text = given[f"{prefix}region"]
                    if not isinstance(text, str):
                        raise ValueError(f"region is {text!r}, must be a text x0,y0,x1,y1,...")
                    now = dataclasses.replace(now, region=parse_region(text))
                if f"{prefix}max_depth" in given:
                    metres = given[f"{prefix}max_depth"]
                    if isinstance(metres, bool) or not isinstance(metres, (int, float)):
                        raise ValueError(f"max_depth is {metres!r}, must be a number of metres")
                    now = dataclasses.replace(now, max_depth=float(metres))
                    if now.max_depth and not self._has_depth[name]:
                        raise ValueError(f"max_depth is {metres:g}, which needs depth, the topic of depth images")
            except ValueError as error:
                raise ValueError(f"{prefix}{error}") from None
            changed[name] = now
        return changed

    def set(self, limits: dict[str, Nearest]) -> None:
        """Put limits of :meth:`changed` in force."""
        self._now = limits


def _prefix(camera: str) -> str:
    return f"{camera}." if camera else ""


@dataclass
class Restriction:
    """What one camera's stream is told with every image.

    Attributes:
        nearest: gives what is meant now.
        depth: the camera's depth images.
        log: of the camera.
        border: whether depth decides where the border of the masks is doubtful.
        without_depth: images so far for which a depth was needed and there was none.
    """

    nearest: Callable[[], Nearest]
    depth: DepthImages
    log: CameraLog
    border: bool = False
    without_depth: int = 0

    def apply(self, stream: Any, stamp: int, height: int, width: int, frame_id: str) -> dict[str, Any]:
        """Tell a stream what is meant; further arguments of its next step."""
        nearest = self.nearest()
        if nearest or getattr(stream, "nearest", None) is not None:
            stream.nearest = nearest or None
        if self.border:
            stream.depth_border = True
        return (
            {"depth": lambda: self._depth_at(stamp, height, width, frame_id)}
            if nearest.max_depth or self.border
            else {}
        )

    def _depth_at(self, stamp: int, height: int, width: int, frame_id: str) -> Any:
        try:
            return self.depth.at(stamp, height, width, frame_id)
        except NoDepth as error:
            self.without_depth += 1
            self.log.warning(
                "depth",
                f"{error}; {self._lost()} ({self.without_depth} images so far)",
            )
            return None

    def _lost(self) -> str:
        """What is not known without depth."""
        if self.nearest().max_depth:
            return "which robot is meant is not known, state DEGRADED"
        return "the border of the masks is the model's alone"
