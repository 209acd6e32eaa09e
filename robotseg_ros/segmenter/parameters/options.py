# SPDX-License-Identifier: Apache-2.0
"""What the parameters of the node are read into: frozen, one object for those of a camera, the node, and the moment."""

from __future__ import annotations

from dataclasses import dataclass

from robotseg_ros.common.mask_policy import BALANCED
from robotseg_ros.common.model import ModelOptions

KEEP = "keep"
REMOVE = "remove"


@dataclass(frozen=True)
class CameraOptions:
    """One camera.

    Attributes:
        name: of the camera among several; empty when there is only one.
        image: topic of its images, before remapping where that is not compressed.
        compressed: whether CompressedImage is subscribed to.
        info: topic of its camera_info.
        click_topic: of PointStamped clicks of a viewer; empty: none.
        depth: topic of depth images aligned with its images; empty: none.
        depth_border: whether they decide where the border of the masks is doubtful.
    """

    name: str
    image: str
    compressed: bool
    info: str
    click_topic: str
    depth: str = ""
    depth_border: bool = False

    def output(self, topic: str) -> str:
        """Name of an output, e.g. ``~/arm_mask``, or ``~/wrist/arm_mask`` among several cameras."""
        return f"~/{self.name}/{topic}" if self.name else f"~/{topic}"


@dataclass(frozen=True)
class SegmenterOptions:
    """The parameters that stay what they are from the start of the node.

    Attributes:
        cameras: one or more.
        model: what to load.
        replay: whether every image is worked on, in order, instead of the newest.
        autostart: whether the executable configures and activates the node by itself.
        jpeg_without_end: whether JPEGs without an end marker are taken.
        vision_msgs: whether messages of vision_msgs are published, too.
    """

    cameras: tuple[CameraOptions, ...]
    model: ModelOptions
    replay: bool
    autostart: bool
    jpeg_without_end: bool = False
    vision_msgs: bool = False


@dataclass(frozen=True)
class LiveOptions:
    """The parameters that can be changed while the node runs; the names are those of the parameters.

    Attributes:
        max_age: seconds from the stamp of an image after which its result is not published as current; 0: no limit.
        stale_after: seconds without a usable image until STALE is published.
        mask_policy: one of :data:`robotseg_ros.common.mask_policy.POLICIES`.
        mask_margin: image pixels by which the policy grows or shrinks.
        masked_image: ``keep`` or ``remove``.
        click_part: what a click of a viewer is on.
    """

    max_age: float = 0.2
    stale_after: float = 1.0
    mask_policy: str = BALANCED
    mask_margin: int = 8
    masked_image: str = KEEP
    click_part: str = "robot"
