# SPDX-License-Identifier: Apache-2.0
"""Messages in bags, by the ``rosbags`` package: images from bytes, masks and what is said of them to bytes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from robotseg_core.stream.robotseg import RobotSeg
from robotseg_core.types import PartMask, PartMasks, State
from robotseg_ros.common.compressed_codec import decode_compressed
from robotseg_ros.common.image_codec import CodecError, Refusal, decode_rgb
from robotseg_ros.common.mask_policy import BALANCED
from robotseg_ros.common.shipped import message_file
from robotseg_ros.tools.bag_records import Topic

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


def ros_type(name: str) -> str:
    """The full name of a type: ``a/B``, as the first distributions of ROS 2 wrote it, stands for ``a/msg/B``."""
    return name.replace("/", "/msg/") if name.count("/") == 1 else name


def image_topics(topics: Iterable[Topic]) -> list[Topic]:
    """Those that carry images of ROS 2, each topic once, in the order of their names."""
    images = {t.name: t for t in topics if t.encoding == "cdr" and ros_type(t.kind) in (RAW, COMPRESSED)}
    return [images[name] for name in sorted(images)]


class BagMessages:
    """Reads and makes messages.

    Args:
        unfinished_jpeg: whether JPEGs without an end marker are taken.

    Attributes:
        types: the standard types and ours.
    """

    IMAGE = RAW
    PART_MASKS = "robotseg_ros/msg/PartMasks"

    def __init__(self, *, unfinished_jpeg: bool = False) -> None:
        self._unfinished_jpeg = unfinished_jpeg
        self._described: dict[Topic, Topic] = {}
        self.types = get_typestore(Stores.ROS2_HUMBLE)
        for name in ("PartMask", "PartMasks"):
            text = message_file(f"{name}.msg").read_text()
            self.types.register(get_types_from_msg(text, f"robotseg_ros/msg/{name}"))

    def topic(self, name: str, kind: str) -> Topic:
        """A topic of one of our types."""
        text, _ = self.types.generate_msgdef(kind, ros_version=2)
        metadata = {"offered_qos_profiles": "", "topic_type_hash": self.types.hash_rihs01(kind)}
        return Topic(name, "cdr", kind, "ros2msg", text.encode(), tuple(metadata.items()))

    def hash_of(self, kind: str) -> str:
        """Hash of a type that ROS or we have; empty for others."""
        kind = ros_type(kind)
        return self.types.hash_rihs01(kind) if kind in self.types.types else ""

    def described(self, topic: Topic) -> Topic:
        """The same topic; where the bag has no definition of a type that ROS has, with that of ROS."""
        if topic not in self._described:
            self._described[topic] = self._describe(topic)
        return self._described[topic]

    def _describe(self, topic: Topic) -> Topic:
        kind = ros_type(topic.kind)
        if topic.encoding != "cdr" or topic.schema_encoding or topic.schema or kind not in self.types.types:
            return topic
        text, _ = self.types.generate_msgdef(kind, ros_version=2)
        metadata = {"topic_type_hash": self.types.hash_rihs01(kind), **dict(topic.metadata)}
        return replace(
            topic, kind=kind, schema_encoding="ros2msg", schema=text.encode(), metadata=tuple(metadata.items())
        )

    def image(self, data: bytes, kind: str) -> tuple[Any, int, NDArray[np.uint8]]:
        """Header, stamp in ns and RGB [H, W, 3] uint8 of an image message.

        Raises:
            CodecError: the image is not what it says, or the message is damaged.
        """
        try:
            message: Any = self.types.deserialize_cdr(data, kind)
        except Exception as error:  # Whatever a message that was cut off makes of the parser.
            said = str(error) or type(error).__name__
            raise CodecError(Refusal.DATA, f"the message of {len(data)} bytes is damaged: {said}") from error
        if kind == RAW:
            rgb = decode_rgb(message)
        else:
            rgb = decode_compressed(message, unfinished_jpeg=self._unfinished_jpeg).rgb
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
        return self._said(header, result.state, [self._part(part) for part in result.parts], BALANCED, model)

    def fault(self, header: Any, model: RobotSeg) -> memoryview:
        """What is said of an image on which the model failed: FAULT, without parts."""
        return self._said(header, State.FAULT, [], "", model)

    def _said(self, header: Any, state: State, parts: list[Any], policy: str, model: RobotSeg) -> memoryview:
        message = self.types.types[self.PART_MASKS](
            header=header,
            state=int(state),
            parts=parts,
            age_ms=math.nan,
            dropped=0,
            camera="",
            mask_policy=policy,
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
