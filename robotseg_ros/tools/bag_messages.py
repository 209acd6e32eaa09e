# SPDX-License-Identifier: Apache-2.0
"""Messages in bags, by the ``rosbags`` package: images from bytes, masks and what is said of them to bytes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rosbags.interfaces import MessageDefinitionFormat
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from robotseg_core.stream.robotseg import RobotSeg
from robotseg_core.types import PartMask, PartMasks
from robotseg_ros.common.compressed_codec import decode_compressed
from robotseg_ros.common.image_codec import decode_rgb
from robotseg_ros.common.mask_policy import BALANCED
from robotseg_ros.common.shipped import message_file

if TYPE_CHECKING:
    from rosbags.interfaces import Connection

RAW, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
STAGES = (
    "decode",
    "preprocess",
    "encoder",
    "memory_attention",
    "prompt_generator",
    "decoder",
    "memory_encoder",
    "postprocess",
)


def image_topics(connections: Iterable[Connection]) -> list[Connection]:
    """The connections that carry images, each topic once, in the order of their names."""
    images = {c.topic: c for c in connections if c.msgtype in (RAW, COMPRESSED)}
    return [images[topic] for topic in sorted(images)]


class BagMessages:
    """Reads and makes messages.

    Attributes:
        types: the standard types and ours.
    """

    IMAGE = RAW
    PART_MASKS = "robotseg_ros/msg/PartMasks"

    def __init__(self) -> None:
        self.types = get_typestore(Stores.ROS2_HUMBLE)
        for name in ("PartMask", "PartMasks"):
            text = message_file(f"{name}.msg").read_text()
            self.types.register(get_types_from_msg(text, f"robotseg_ros/msg/{name}"))

    def definition(self, connection: Connection) -> tuple[str, str]:
        """Definition and hash of a connection's type as the bag has them, or as ROS has them; else empty."""
        known = connection.msgtype in self.types.types
        text, digest = connection.msgdef.data, connection.digest
        if connection.msgdef.format == MessageDefinitionFormat.NONE and known:
            text, _ = self.types.generate_msgdef(connection.msgtype, ros_version=2)
        if not digest and known:
            digest = self.types.hash_rihs01(connection.msgtype)
        return text, digest

    def image(self, data: bytes, kind: str) -> tuple[Any, int, NDArray[np.uint8]]:
        """Header, stamp in ns and RGB [H, W, 3] uint8 of an image message.

        Raises:
            CodecError: the image is not what it says.
        """
        message: Any = self.types.deserialize_cdr(data, kind)
        rgb = decode_rgb(message) if kind == RAW else decode_compressed(message).rgb
        stamp = message.header.stamp
        return message.header, int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec), rgb

    def mask(self, header: Any, mask: NDArray[np.uint8]) -> memoryview:
        """A mask [H, W] uint8 as a mono8 image."""
        height, width = mask.shape
        image = self.types.types[RAW](
            header=header,
            height=height,
            width=width,
            encoding="mono8",
            is_bigendian=0,
            step=width,
            data=np.ascontiguousarray(mask).reshape(-1),
        )
        return self.types.serialize_cdr(image, RAW)

    def parts(self, header: Any, result: PartMasks, model: RobotSeg) -> memoryview:
        """What is said of one image.  Age and stage times are NaN: they would be another's in every run."""
        message = self.types.types[self.PART_MASKS](
            header=header,
            state=int(result.state),
            parts=[self._part(part) for part in result.parts],
            age_ms=math.nan,
            dropped=0,
            camera="",
            mask_policy=BALANCED,
            mask_margin=0,
            preset=model.preset,
            device=model.device,
            backend=model.backend,
            **{f"{stage}_ms": math.nan for stage in STAGES},
        )
        return self.types.serialize_cdr(message, self.PART_MASKS)

    def _part(self, part: PartMask) -> Any:
        types = self.types.types
        x, y, width, height = part.roi
        return types["robotseg_ros/msg/PartMask"](
            name=part.name,
            score=float(part.score),
            present=bool(part.present),
            area=int(part.area),
            roi=types["sensor_msgs/msg/RegionOfInterest"](
                x_offset=x, y_offset=y, height=height, width=width, do_rectify=False
            ),
            centroid=types["geometry_msgs/msg/Point"](x=part.centroid[0], y=part.centroid[1], z=0.0),
        )
