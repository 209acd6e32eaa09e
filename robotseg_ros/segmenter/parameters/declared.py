# SPDX-License-Identifier: Apache-2.0
"""Parameters of the node: declared with description and range, read into frozen dataclasses.

Those of :class:`~robotseg_ros.segmenter.parameters.options.SegmenterOptions` are read-only; those of
:class:`~robotseg_ros.segmenter.parameters.options.LiveOptions` may be changed at any time.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from robotseg_core.config import MAX_BATCH
from robotseg_core.types import PARTS
from robotseg_ros.common.mask_policy import POLICIES
from robotseg_ros.common.model import ModelOptions
from robotseg_ros.segmenter.nearest.limits import Limits
from robotseg_ros.segmenter.parameters.options import KEEP, REMOVE, CameraOptions, LiveOptions, SegmenterOptions

TRANSPORTS = ("auto", "raw", "compressed")
COMPRESSED_SUFFIX = "/compressed"
CAMERA_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
MAX_CAMERAS = 16


def _seconds(low: float, high: float) -> dict[str, Any]:
    # Of any type, so that 2 is as good as 2.0; both ranges, because each is looked at for its own type only.
    return {
        "dynamic_typing": True,
        "floating_point_range": [FloatingPointRange(from_value=low, to_value=high)],
        "integer_range": [IntegerRange(from_value=math.ceil(low), to_value=math.floor(high))],
    }


def _one_of(values: Sequence[str]) -> dict[str, Any]:
    return {"additional_constraints": f"one of {', '.join(values)}"}


_HYGIENE = {"auto": None, "on": True, "off": False}
_CHOICES = {"mask_policy": POLICIES, "masked_image": (KEEP, REMOVE), "click_part": PARTS}
_LIVE: dict[str, tuple[str, dict[str, Any]]] = {
    "max_age": (
        "Seconds from the stamp of an image after which its result is not published as current, but as STALE; 0: no "
        "limit.",
        _seconds(0.0, 60.0),
    ),
    "stale_after": ("Seconds without a usable image until state STALE is published.", _seconds(0.1, 60.0)),
    "mask_policy": (
        "balanced: masks as the model gives them, inclusive: grown by mask_margin, exclusive: shrunk by it.",
        _one_of(POLICIES),
    ),
    "mask_margin": (
        "Pixels by which mask_policy grows or shrinks the masks.",
        {"integer_range": [IntegerRange(from_value=0, to_value=100)]},
    ),
    "masked_image": (
        "What ~/masked_image leaves of the image: keep only the robot, or remove it.",
        _one_of((KEEP, REMOVE)),
    ),
    "click_part": ("The part that clicks on click_topic are on.", _one_of(PARTS)),
}


class Parameters:
    """All parameters of a node.

    Attributes:
        options: the read-only ones.
        live: the others, as they are now; replaced as a whole, so a reader sees no half of a change.
        limits: which robot each camera means, likewise.

    Raises:
        ValueError: a start value is out of its range.
        rclpy.exceptions.ParameterException: a start value is of another type, or refused.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self.options = self._declare_options()
        self.live = defaults = LiveOptions()
        self.limits = Limits({camera.name: bool(camera.depth) for camera in self.options.cameras})
        # Registered first: declaring a parameter checks its start value with the callbacks that are there.
        node.add_on_set_parameters_callback(self._on_set)
        for name, (description, limits) in _LIVE.items():
            descriptor = ParameterDescriptor(description=f"{description} Can be changed at any time.", **limits)
            node.declare_parameter(name, getattr(defaults, name), descriptor)
        self.limits.declare(node)

    def _on_set(self, parameters: list[Parameter]) -> SetParametersResult:
        result = _check(parameters)
        try:
            limits = self.limits.changed(parameters)
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        if result.successful:
            self.limits.set(limits)
            # rclpy has looked at types, ranges and read_only before: nothing refuses them after this.
            self.live = _updated(self.live, [parameter for parameter in parameters if parameter.name in _LIVE])
        return result

    def _remapped(self, topic: str) -> str:
        """The name that ``-r`` gives a topic; as it is, where no rule is for it."""
        try:
            expanded = self._node.resolve_topic_name(topic, only_expand=True)
            resolved = self._node.resolve_topic_name(topic)
        except (ValueError, RuntimeError):
            # A name that cannot be one is named when the node is configured.
            return topic
        return topic if expanded == resolved else str(resolved)

    def _declare_options(self) -> SegmenterOptions:
        def fixed(name: str, default: Any, description: str, **limits: Any) -> Any:
            descriptor = ParameterDescriptor(description=description, read_only=True, **limits)
            value = self._node.declare_parameter(name, default, descriptor).value
            if value is None and name != "cameras":
                # An empty list in a parameter file has no type, and comes as nothing.
                raise ValueError(f"{name} is an empty list, must be a {type(default).__name__}")
            return value

        names = _camera_names(
            fixed("cameras", [""], "Names of several cameras that share the model; none: a single one without a name.")
        )

        def one_of(name: str, default: str, description: str, values: tuple[str, ...]) -> str:
            value = str(fixed(name, default, description, **_one_of(values)))
            if value not in values:
                raise ValueError(f"{name} is {value!r}, must be one of {', '.join(values)}")
            return value

        transport = one_of(
            "transport",
            "auto",
            "raw: sensor_msgs/Image; compressed: CompressedImage on <camera>/compressed; auto: compressed for a camera "
            "topic that ends with /compressed.",
            TRANSPORTS,
        )
        replay = fixed(
            "replay", False, "Work on every image, in order, with reliable QoS and without max_age: for recordings."
        )
        encoder_batch = fixed(
            "encoder_batch",
            0,
            "Images of different cameras that go through the encoder at once, if so many wait; 0: 1 on a CPU, on CUDA "
            "one of each camera. With replay always 1.",
            integer_range=[IntegerRange(from_value=0, to_value=MAX_BATCH)],
        )
        return SegmenterOptions(
            cameras=tuple(_declare_camera(fixed, name, transport, self._remapped) for name in names),
            model=ModelOptions(
                preset=fixed("preset", "nano", "Model preset."),
                device=fixed("device", "auto", "Where the model runs: auto, cpu or cuda."),
                backend=fixed(
                    "backend", "auto", "What runs the encoder: auto, torch, onnxruntime, openvino or tensorrt."
                ),
                weights=Path(weights).expanduser()
                if (weights := fixed("weights", "", "Path of a weights file; empty: the shipped ones of the preset."))
                else None,
                robot=fixed(
                    "robot",
                    "",
                    "Adapter of your robot: its name in the folder of adapters, or the path of its file; empty: none.",
                )
                or None,
                image_size=fixed(
                    "image_size",
                    0,
                    "Side of the model's square input in pixels, a multiple of 32; 0: the preset's.",
                    integer_range=[IntegerRange(from_value=0, to_value=2048, step=32)],
                )
                or None,
                precision=fixed(
                    "precision",
                    "auto",
                    "Of the arithmetic; auto: int8 for nano's encoder on a CPU that profits, else fp32.",
                    **_one_of(("auto", "fp32", "bf16", "fp16", "int8")),
                ),
                hygiene=_HYGIENE[
                    one_of(
                        "hygiene",
                        "auto",
                        "Takes specks far from the robot and small holes out of the masks; auto: nano does, base not.",
                        tuple(_HYGIENE),
                    )
                ],
                memory_frames=fixed(
                    "memory_frames",
                    0,
                    "Frames that the memory attention looks up; 0: the preset's.",
                    integer_range=[IntegerRange(from_value=0, to_value=16)],
                )
                or None,
                cameras=len(names),
                # Whom an image meets in a batch is chance, and shows in the last bits of its masks.
                encoder_batch=1 if replay else encoder_batch or None,
            ),
            replay=replay,
            autostart=fixed("autostart", False, "Configure and activate the node by itself."),
            jpeg_without_end=fixed(
                "jpeg_without_end",
                False,
                "Take JPEGs that have no end marker, as some cameras send all of theirs. Then one that was cut off on "
                "its way is taken, too, and what it lacks is grey.",
            ),
            vision_msgs=fixed(
                "vision_msgs",
                False,
                "Publish ~/detections and ~/vision_label_info (vision_msgs, which must be installed), too.",
            ),
        )


def _declare_camera(
    fixed: Callable[..., Any], name: str, transport: str, remapped: Callable[[str], str]
) -> CameraOptions:
    prefix = f"{name}." if name else ""
    image = fixed(
        f"{prefix}camera",
        f"/{name or 'camera'}/image_raw",
        "Image topic to segment (sensor_msgs/Image, or CompressedImage: see transport).",
    )
    info = fixed(f"{prefix}camera_info", "", "Topic of the camera's CameraInfo; empty: camera_info beside the images.")
    click_topic = fixed(
        f"{prefix}click_topic", "", "Topic of clicks on the image (geometry_msgs/PointStamped); empty: none."
    )
    depth = fixed(
        f"{prefix}depth",
        "",
        "Topic of depth images aligned with the camera's, for max_depth and depth_border (sensor_msgs/Image, or "
        "CompressedImage on a topic that ends with /compressedDepth); empty: none.",
    )
    depth_border = fixed(
        f"{prefix}depth_border", False, "Let depth decide where the border of the masks is doubtful; needs depth."
    )
    if depth_border and not depth:
        raise ValueError(f"{prefix}depth_border is true, which needs {prefix}depth, the topic of depth images")
    base = image if transport == "raw" else image.removesuffix(COMPRESSED_SUFFIX)
    compressed = transport == "compressed" or (transport == "auto" and base != image)
    # What is derived follows a remapping, as with image_transport.
    base = remapped(base)
    beside = f"{base.rpartition('/')[0]}/camera_info" if "/" in base else "camera_info"
    topic = base + COMPRESSED_SUFFIX if compressed else image
    return CameraOptions(
        name,
        image=topic,
        compressed=compressed,
        info=info or beside,
        click_topic=click_topic,
        depth=depth,
        depth_border=depth_border,
    )


def _camera_names(given: Sequence[str] | None) -> tuple[str, ...]:
    """The names of several cameras, or one empty name.

    Raises:
        ValueError: a name that cannot be part of a topic, one given twice, or too many.
    """
    # An empty list in a parameter file has no type, and comes as nothing.
    names = tuple(name for name in given or () if name)
    if len(names) > MAX_CAMERAS:
        raise ValueError(f"cameras has {len(names)} names, must have at most {MAX_CAMERAS}")
    for name in names:
        if not CAMERA_NAME.fullmatch(name) or "__" in name:
            raise ValueError(f"cameras has the name {name!r}, must be letters, digits and single _, a letter first")
        if names.count(name) > 1:
            raise ValueError(f"cameras has the name {name!r} {names.count(name)} times")
    return names or ("",)


def _updated(live: LiveOptions, parameters: Sequence[Parameter]) -> LiveOptions:
    """``live`` with some values replaced, each in the type of its field."""
    values: dict[str, Any] = {
        p.name: float(p.value) if p.name in ("max_age", "stale_after") else p.value for p in parameters
    }
    return dataclasses.replace(live, **values)


def _check(parameters: list[Parameter]) -> SetParametersResult:
    for parameter in parameters:
        value, name = parameter.value, parameter.name
        if name in _LIVE and value is None:
            return SetParametersResult(successful=False, reason=f"{name} cannot be deleted")
        if name in _CHOICES and value not in _CHOICES[name]:
            choices = " or ".join(repr(choice) for choice in _CHOICES[name])
            return SetParametersResult(successful=False, reason=f"{name} is {value!r}, must be {choices}")
        if name in ("max_age", "stale_after") and (
            isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value)
        ):
            return SetParametersResult(successful=False, reason=f"{name} is {value!r}, must be a number of seconds")
    return SetParametersResult(successful=True)
