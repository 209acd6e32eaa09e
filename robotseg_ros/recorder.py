# SPDX-License-Identifier: Apache-2.0
"""Records what the segmenter publishes: when each mask came, what was said about it, and the overlay pictures."""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from robotseg_core.types import PARTS
from robotseg_ros import msg as ros_msg
from robotseg_ros.messages import stamp_ns

# Deep and reliable: a record is to be complete, not fresh.
QOS = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)


@dataclass
class Answer:
    """What came back for one image.

    Attributes:
        masks: when the mask of each part came, by the system clock, ns.
        parts: the message about the masks, None before it came.
    """

    masks: dict[str, int] = field(default_factory=dict)
    parts: ros_msg.PartMasks | None = None


class VideoFile:
    """Writes RGB pictures to a video in a thread of its own, so that encoding delays no time stamp."""

    def __init__(self, path: Path, rate_hz: float) -> None:
        self._path, self._rate_hz = path, rate_hz
        self._pictures: queue.SimpleQueue[NDArray[np.uint8] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="video", daemon=True)
        self._thread.start()

    def put(self, rgb: NDArray[np.uint8]) -> None:
        """Append a picture, [H, W, 3] uint8; other sizes than the first are scaled to it."""
        self._pictures.put(rgb)

    def close(self) -> None:
        """Write what is left."""
        self._pictures.put(None)
        self._thread.join()

    def _run(self) -> None:
        writer = None
        size = (0, 0)
        while (rgb := self._pictures.get()) is not None:
            if writer is None:
                size = (rgb.shape[1], rgb.shape[0])
                writer = cv2.VideoWriter(str(self._path), cv2.VideoWriter.fourcc(*"mp4v"), self._rate_hz, size)
            bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
            writer.write(bgr if (rgb.shape[1], rgb.shape[0]) == size else cv2.resize(bgr, size))
        if writer is not None:
            writer.release()


class Recorder:
    """Listens to ``/robotseg``.

    Attributes:
        answers: by stamp of the image, ns, in the order in which they came.
        last_heard: when the last message came, by ``time.monotonic``.
    """

    def __init__(self, node: Node, video: VideoFile) -> None:
        self._video = video
        self.answers: dict[int, Answer] = {}
        self.last_heard = time.monotonic()
        for part in PARTS:
            node.create_subscription(Image, f"/robotseg/{part}_mask", self._mask_listener(part), QOS)
        node.create_subscription(ros_msg.PartMasks, "/robotseg/parts", self._on_parts, QOS)
        node.create_subscription(Image, "/robotseg/overlay", self._on_overlay, QOS)

    def _answer(self, message: Any) -> Answer:
        self.last_heard = time.monotonic()
        return self.answers.setdefault(stamp_ns(message.header), Answer())

    def _mask_listener(self, part: str) -> Any:
        def on_mask(message: Image) -> None:
            now = time.time_ns()
            self._answer(message).masks[part] = now

        return on_mask

    def _on_parts(self, message: ros_msg.PartMasks) -> None:
        # Without parts it is no answer: STALE comes when the clip is over.
        if message.parts:
            self._answer(message).parts = message

    def _on_overlay(self, message: Image) -> None:
        self.last_heard = time.monotonic()
        self._video.put(np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3))
