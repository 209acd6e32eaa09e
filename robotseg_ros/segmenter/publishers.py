# SPDX-License-Identifier: Apache-2.0
"""The topics published for one camera.  What nobody subscribes to is neither composed nor encoded."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from robotseg_core.files import overlay as pictures
from robotseg_core.instruct.follow import FollowedTarget
from robotseg_core.masks.soft import robot_probability
from robotseg_core.types import PARTS, PartMasks, State
from robotseg_ros import msg as ros_msg
from robotseg_ros.common import compressed_codec as compressed
from robotseg_ros.common import messages, qos
from robotseg_ros.common.mask_policy import BALANCED, apply_to_target
from robotseg_ros.common.model import Model
from robotseg_ros.segmenter.parameters.options import KEEP, CameraOptions, LiveOptions
from robotseg_ros.segmenter.vision_messages import VisionMessages

KEPT = 256
"""Messages of which is known that they are from here."""


def _told_by(message: ros_msg.PartMasks) -> tuple[object, ...]:
    """What tells one message about an image from all others; ages are of a clock of nanoseconds."""
    stamp = message.header.stamp
    return stamp.sec, stamp.nanosec, message.state, str(np.float32(message.age_ms))


@dataclass(frozen=True)
class Answer:
    """What is published for one image, besides the parameters.

    Attributes:
        header: of the image; goes out unchanged with everything.
        rgb: [H, W, 3] uint8, the image.
        result: masks of that image, after the mask policy.
        decode_ms: time of decoding the image, ms.
        info: of the camera, if it is known.
        dropped: images replaced by a newer one, or lost, since the last answer.
        followed: what a request in words has found, if anything is followed.
    """

    header: Header
    rgb: NDArray[np.uint8]
    result: PartMasks
    decode_ms: float
    info: CameraInfo | None
    dropped: int = 0
    followed: FollowedTarget | None = None


class PictureTopic:
    """An image topic and, by the naming of image_transport, its compressed variant below it."""

    def __init__(self, advertise: Callable[[type, str], Any], topic: str, encoding: str) -> None:
        self._encoding = encoding
        self._raw = advertise(Image, topic)
        # Of the name that it has after remapping, as image_transport does it.
        self._compressed = advertise(CompressedImage, f"{self._raw.topic_name}/compressed")

    def publish(self, header: Header, compose: Callable[[], NDArray[np.uint8]]) -> None:
        """Publish to those who subscribe; ``compose`` is called once, or not at all."""
        compose = cache(compose)
        if self._raw.get_subscription_count():
            self._raw.publish(messages.to_image(header, compose(), self._encoding))
        if self._compressed.get_subscription_count():
            mono = self._encoding == "mono8"
            data = compressed.encode_png(compose()) if mono else compressed.encode_jpeg(compose())
            # As image_transport's own publisher names it: encoding of the raw image, then of what is inside.
            kind = "mono8; png compressed mono8" if mono else f"{self._encoding}; jpeg compressed bgr8"
            self._compressed.publish(messages.to_compressed(header, data, kind))


class Publishers:
    """All outputs of one camera.  They may be used from another thread than the executor's."""

    def __init__(
        self,
        node: LifecycleNode,
        topics: qos.Topics,
        camera: CameraOptions,
        model: Model,
        *,
        replay: bool,
        vision: VisionMessages | None = None,
    ) -> None:
        self._node = node
        self._topics = topics
        self._camera = camera
        self._model = model
        self._vision = vision
        self._made: list[Any] = []
        self._said: deque[tuple[object, ...]] = deque(maxlen=KEPT)

        def advertise(kind: type, topic: str) -> Any:
            name = topic if topic.startswith(("/", "~")) else camera.output(topic)
            self._made.append(topics.advertise(kind, name, qos.output_qos(replay)))
            return self._made[-1]

        try:
            self._masks = {part: PictureTopic(advertise, camera.output(f"{part}_mask"), "mono8") for part in PARTS}
            self._labels = PictureTopic(advertise, camera.output("labels"), "mono8")
            self._masked_image = PictureTopic(advertise, camera.output("masked_image"), "rgb8")
            self._overlay = PictureTopic(advertise, camera.output("overlay"), "rgb8")
            self._probability = PictureTopic(advertise, camera.output("robot_probability"), "mono8")
            self._target_mask = PictureTopic(advertise, camera.output("target_mask"), "mono8")
            self._target = advertise(ros_msg.Target, camera.output("target"))
            self._info = advertise(CameraInfo, camera.output("camera_info"))
            self._parts = advertise(ros_msg.PartMasks, camera.output("parts"))
            self._label_info = topics.advertise(ros_msg.LabelInfo, camera.output("label_info"), qos.latched_qos())
            self._made.append(self._label_info)
            if vision is not None:
                self._detections = advertise(vision.messages.Detection2DArray, "detections")
                self._vision_info = topics.advertise(
                    vision.messages.LabelInfo, camera.output("vision_label_info"), qos.latched_qos()
                )
                self._made.append(self._vision_info)
        except Exception:
            self.destroy()
            raise

    def publish_once(self) -> None:
        """Publish what is latched; after every activation."""
        header = Header(stamp=self._node.get_clock().now().to_msg())
        self._label_info.publish(messages.label_info(header))
        if self._vision is not None:
            self._vision_info.publish(self._vision.label_info(header))

    def publish(self, answer: Answer, live: LiveOptions) -> None:
        """Publish the answer to one image."""
        header, rgb, result = answer.header, answer.rgb, answer.result
        # The masks go first: somebody acts on them, the pictures are looked at.
        for part, topic in self._masks.items():
            topic.publish(header, lambda part=part: result[part].mask)  # type: ignore[misc]
        self._publish_target(header, answer.followed, live)
        if answer.info is not None and self._info.get_subscription_count():
            info = copy.copy(answer.info)
            info.header = header
            self._info.publish(info)
        self._say(
            messages.to_part_masks(
                header,
                self._model,
                result,
                camera=self._camera.name,
                policy=live.mask_policy,
                margin=0 if live.mask_policy == BALANCED else live.mask_margin,
                decode_ms=answer.decode_ms,
                age_ms=self.age_ms(header),
                dropped=answer.dropped,
            )
        )
        if self._vision is not None and self._detections.get_subscription_count():
            self._detections.publish(self._vision.detections(header, result))
        self._labels.publish(header, lambda: messages.label_image(result))
        self._probability.publish(header, lambda: robot_probability(result))
        mask = pictures.keep_robot if live.masked_image == KEEP else pictures.remove_robot
        self._masked_image.publish(header, lambda: mask(rgb, result["robot"].mask))
        self._overlay.publish(header, lambda: pictures.overlay(rgb, result))

    def _publish_target(self, header: Header, followed: FollowedTarget | None, live: LiveOptions) -> None:
        mask = None
        if followed is not None:
            mask = apply_to_target(followed.target.mask, live.mask_policy, live.mask_margin)
            pixels = mask.mask
            self._target_mask.publish(header, lambda: pixels)
        if self._target.get_subscription_count():
            self._target.publish(messages.to_target(header, followed, mask))

    def publish_without_parts(self, header: Header | None, state: State, *, dropped: int) -> None:
        """Publish that nothing is known: a state, no parts and no masks.  Without a header the age is NaN."""
        age_ms = float("nan") if header is None else self.age_ms(header)
        header = header or Header()
        self._say(
            messages.without_parts(header, self._model, state, camera=self._camera.name, age_ms=age_ms, dropped=dropped)
        )
        self._target.publish(ros_msg.Target(header=header, state=int(state)))

    @property
    def parts_topic(self) -> str:
        """Where it is said what is known of each image."""
        return str(self._parts.topic_name)

    def said(self, message: ros_msg.PartMasks) -> bool:
        """Whether a message on :attr:`parts_topic` is one of the last from here."""
        return _told_by(message) in self._said

    def _say(self, message: ros_msg.PartMasks) -> None:
        # Before it is on its way.
        self._said.append(_told_by(message))
        self._parts.publish(message)

    def destroy(self) -> None:
        """Take the topics down."""
        while self._made:
            self._topics.unadvertise(self._made.pop())

    def age_ms(self, header: Header) -> float:
        """Age of an image now, by the node's clock, ms; negative when its stamp is ahead."""
        return float(self._node.get_clock().now().nanoseconds - messages.stamp_ns(header)) / 1e6
