# SPDX-License-Identifier: Apache-2.0
"""What nodes share that read masks and the depth of the same camera: self-filter and servo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from numpy.typing import NDArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from robotseg_core.geometry.camera import Camera
from robotseg_core.geometry.depth_filter import Depth
from robotseg_ros.common.image_codec import CodecError
from robotseg_ros.companions.calibration import Calibration, apart
from robotseg_ros.companions.compressed_depth import decode_compressed_depth
from robotseg_ros.companions.depth_codec import decode_depth, decode_mask
from robotseg_ros.companions.fixed_parameters import FixedParameters
from robotseg_ros.companions.inputs import Input, Inputs, Status

# Serves subscribers of both kinds.
RELIABLE = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
SENSOR = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
COMPRESSED_DEPTH = "/compressedDepth"
"""A depth topic that ends with it is of CompressedImage, by the naming of image_transport."""


class ViewError(ValueError):
    """Two images that are not of one view; the message says why."""


@dataclass(frozen=True)
class AlignedInputs:
    """Parameters of what is read.

    Attributes:
        mask, depth, camera_info: topics.
        slop: how far apart the stamps of mask and depth may be, seconds.
        patience: how long the one waits for the other, seconds.
    """

    mask: str
    depth: str
    camera_info: str
    slop: float
    patience: float

    @staticmethod
    def declare(fixed: FixedParameters, *, mask: str, used_for: str, patience: float, waits: str) -> AlignedInputs:
        """Declare the parameters.

        Args:
            fixed: of the node.
            mask, patience: defaults.
            used_for: what the mask is, for its description: "Mask of ...".
            waits: what waits for what, likewise: "Seconds that ...".
        """
        aligned = "/camera/aligned_depth_to_color"
        return AlignedInputs(
            mask=fixed.topic("mask", mask, f"Mask of {used_for} (sensor_msgs/Image, mono8)."),
            depth=fixed.topic(
                "depth",
                f"{aligned}/image_raw",
                "Depth image aligned with the segmented camera (sensor_msgs/Image, or CompressedImage on a topic that "
                "ends with /compressedDepth).",
            ),
            camera_info=fixed.topic("camera_info", f"{aligned}/camera_info", "Calibration of the depth image."),
            slop=fixed.number("slop", 0.005, 0.0, 1.0, "Seconds between the stamps of mask and depth at most."),
            patience=fixed.number("patience", patience, 0.01, 10.0, f"Seconds that {waits}."),
        )


class AlignedDepthNode(Node):
    """A node that is given decoded masks and depth images, and keeps the calibration.

    Attributes:
        inputs: what it listens to; from :meth:`listen` on, as what follows.
        calibration: of the depth image.
        mask_calibration: of the camera that the masks are of, from camera_info beside the masks, where the segmenter
            publishes it.

    Args:
        name: of the node.
        **node_arguments: passed to ``rclpy.node.Node``.
    """

    inputs: Inputs
    calibration: Calibration
    mask_calibration: Calibration

    def __init__(self, name: str, **node_arguments: Any) -> None:
        super().__init__(name, **node_arguments)
        self.unmatched = 0
        self._depth_input: Input
        self._mask_input: Input

    @property
    def refused(self) -> int:
        """Messages so far that were not what they said, or did not belong together."""
        return self.inputs.refused

    def listen(self, options: AlignedInputs) -> None:
        """Subscribe, and look four times in ``patience`` for what has waited long enough."""
        inputs = self.inputs = Inputs(self, self._say)
        base = options.depth.removesuffix(COMPRESSED_DEPTH)
        if base != options.depth:
            # Of the name that the raw topic has after remapping, as image_transport does it.
            topic, kind = self.resolve_topic_name(base) + COMPRESSED_DEPTH, CompressedImage
        else:
            topic, kind = options.depth, Image
        self._depth_input = inputs.subscribe(kind, topic, self._decode_depth, SENSOR, what="depth image")
        self._mask_input = inputs.subscribe(Image, options.mask, self._decode_mask, RELIABLE, what="mask")
        self.calibration = Calibration(inputs, options.camera_info)
        beside = self.resolve_topic_name(options.mask).rpartition("/")[0] + "/camera_info"
        self.mask_calibration = Calibration(inputs, beside, "camera_info of the masks")
        # By the steady clock: it goes on where the node's clock stands still, as that of a bag that is paused.
        self.create_timer(options.patience / 4, self.on_time, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def on_depth(self, header: Header, depth: Depth) -> None:
        """Take a depth image [H, W], uint16 in mm or float32 in m."""
        raise NotImplementedError

    def on_mask(self, header: Header, mask: NDArray[np.uint8]) -> None:
        """Take a mask [H, W], 0 or not 0."""
        raise NotImplementedError

    def on_time(self) -> None:
        """Decide what has waited long enough."""
        raise NotImplementedError

    def values(self) -> dict[str, str]:
        """What the node has counted, for /diagnostics."""
        raise NotImplementedError

    def check_same_view(self, mask: Header, depth: Header) -> None:
        """See that a mask and a depth image are of one view.

        Raises:
            ViewError: they are of different frames, or of cameras with different lenses.
        """
        if mask.frame_id != depth.frame_id:
            raise ViewError(
                f"the mask is of frame {mask.frame_id!r}, the depth image of {depth.frame_id!r}: not the same view, "
                f"the depth must be aligned with the segmented camera"
            )
        ours, theirs = self.calibration, self.mask_calibration
        if ours.camera is None or theirs.camera is None:
            return
        # Those of other frames say nothing of these images.
        if not {ours.frame_id, theirs.frame_id} <= {"", depth.frame_id}:
            return
        why = apart(theirs.camera, ours.camera)
        if why:
            raise ViewError(
                f"{why} in camera_info of mask and depth, both of frame {depth.frame_id!r}: not the same view, the "
                f"depth must be aligned with the segmented camera"
            )

    def camera_of(self, depth: Header) -> Camera | None:
        """The calibration of a depth image, if it is known.

        Raises:
            ViewError: that on the topic is of another frame.
        """
        camera, frame_id = self.calibration.camera, self.calibration.frame_id
        # Some drivers do not say of which frame it is.
        if camera is not None and frame_id not in ("", depth.frame_id):
            raise ViewError(f"camera_info is of frame {frame_id!r}, the depth image of {depth.frame_id!r}")
        return camera

    def refuse_pair(self, error: Exception) -> None:
        """Count and log a mask that does not go with its depth image."""
        self.unmatched += 1
        self.inputs.refuse(self._mask_input, error)

    def _say(self) -> Status:
        bad = self._mask_input.refused or self._depth_input.refused
        level = DiagnosticStatus.WARN if bad else DiagnosticStatus.OK
        words = self._mask_input.last_refusal or self._depth_input.last_refusal
        return level, f"refused: {words}" if bad else "works", self.values() | {"unmatched": str(self.unmatched)}

    def _decode_depth(self, message: Image | CompressedImage) -> None:
        try:
            depth = decode_depth(message) if isinstance(message, Image) else decode_compressed_depth(message)
        except CodecError as error:
            self.inputs.refuse(self._depth_input, error)
        else:
            self.on_depth(message.header, depth)

    def _decode_mask(self, message: Image) -> None:
        try:
            mask = decode_mask(message)
        except CodecError as error:
            self.inputs.refuse(self._mask_input, error)
        else:
            self.on_mask(message.header, mask)
