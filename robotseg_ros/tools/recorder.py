# SPDX-License-Identifier: Apache-2.0
"""Records what the segmenter publishes: when each mask came, what was said about it, and the overlay pictures."""

from __future__ import annotations

import logging
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
from robotseg_ros.common.compressed_codec import encode_jpeg
from robotseg_ros.common.messages import stamp_ns

log = logging.getLogger(__name__)

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


class PictureFolder:
    """Keeps RGB pictures as files named by their stamp, written in a thread so that it delays no time stamp.

    Attributes:
        failed: pictures that could not be written, as on a full disk.

    Args:
        path: of the folder, which must be there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.failed = 0
        self._pictures: queue.SimpleQueue[tuple[int, NDArray[np.uint8]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="pictures", daemon=True)
        self._thread.start()

    def put(self, stamp: int, rgb: NDArray[np.uint8]) -> None:
        """Keep a picture, [H, W, 3] uint8."""
        self._pictures.put((stamp, rgb))

    def close(self) -> None:
        """Write what is left; a second call does nothing."""
        self._pictures.put(None)
        self._thread.join()

    def has(self, stamp: int) -> bool:
        """Whether there is a picture with this stamp."""
        return self._file(stamp).is_file()

    def read(self, stamp: int) -> NDArray[np.uint8] | None:
        """The picture with this stamp, [H, W, 3] uint8 RGB; None when there is none."""
        bgr = cv2.imread(str(self._file(stamp))) if self.has(stamp) else None
        return None if bgr is None else np.asarray(bgr[..., ::-1], dtype=np.uint8)

    def _file(self, stamp: int) -> Path:
        return self._path / f"{stamp}.jpg"

    def _run(self) -> None:
        while (item := self._pictures.get()) is not None:
            stamp, rgb = item
            try:
                # Not cv2.imwrite: on a full disk it leaves half a file and reports success.
                self._file(stamp).write_bytes(encode_jpeg(rgb))
            except OSError as error:
                self._file(stamp).unlink(missing_ok=True)
                if not self.failed:
                    log.warning("a picture cannot be written: %s", error)
                self.failed += 1


class Recorder:
    """Listens to ``/robotseg``.

    Attributes:
        answers: by stamp of the image, ns, in the order in which they came.
        last_heard: when the last message came, by ``time.monotonic``.
    """

    def __init__(self, node: Node, pictures: PictureFolder) -> None:
        self._pictures = pictures
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
        rgb = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3)
        self._pictures.put(stamp_ns(message.header), rgb)
