# SPDX-License-Identifier: Apache-2.0
"""The last depth images of one camera, found by the stamp of a colour image, decoded only when one is needed."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from sensor_msgs.msg import Image

from robotseg_core.masks.nearest import Depth, check_depth
from robotseg_ros.common.camera_log import cut
from robotseg_ros.common.graph import NOTHING_KNOWN, Senders
from robotseg_ros.common.image_codec import CodecError
from robotseg_ros.common.messages import stamp_ns, too_long
from robotseg_ros.companions.compressed_depth import decode_compressed_depth
from robotseg_ros.companions.depth_codec import decode_depth

KEPT = 8
"""Depth images, the newest ones."""
MAX_BYTES = 256 * 2**20
"""Of them together, but for the newest one."""
TIMES = 4
"""Pixels of a depth image for each one of its colour image: it is decoded while all cameras wait."""
SLOP_NS = 50_000_000
"""How far apart the stamps of a depth image and its colour image may be."""
LIVE_PATIENCE_S = 0.02
"""How long an answer waits for its depth image, which comes while the model works."""
REPLAY_PATIENCE_S = 2.0
"""The same for a recording, whose answers should not depend on how fast it is read."""


class NoDepth(ValueError):
    """There is no depth image for a colour image; the message says why."""


class DepthImages:
    """Of one camera.  Images come from one thread and are asked for by another.

    Args:
        patience: seconds that :meth:`at` waits.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._images: deque[Any] = deque(maxlen=KEPT)
        self._changed = threading.Condition()
        self._senders = Senders()
        self._mixed = ""

    def add(self, image: Any, info: Mapping[str, Any] = NOTHING_KNOWN) -> None:
        """Keep an Image or CompressedImage, as it came, if there is one sender of its frame_id.

        Args:
            image: the message.
            info: what rclpy says of it.
        """
        frame_id = "" if too_long(image.header) else image.header.frame_id
        senders = self._senders.hear(info, frame_id)
        with self._changed:
            if senders > 1:
                # Whose depth it is cannot be told: that of one robot would say where another one is.
                self._mixed = f"{senders} publishers send depth images of frame {cut(frame_id, 80)!r}"
                self._images.clear()
            else:
                self._mixed = ""
                self._images.append(image)
                while len(self._images) > 1 and sum(len(kept.data) for kept in self._images) > MAX_BYTES:
                    self._images.popleft()
            self._changed.notify_all()

    def clear(self) -> None:
        """Forget all of them."""
        with self._changed:
            self._images.clear()

    def at(self, stamp: int, height: int, width: int, frame_id: str) -> Depth:
        """Depth of the colour image with this stamp, ns, size and frame_id.

        Raises:
            NoDepth: none has come within the patience, or what has come cannot be used.
        """
        image = self._nearest(stamp, frame_id)
        if image.header.frame_id != frame_id:
            frames = f"{cut(image.header.frame_id, 80)!r}, the image of {cut(frame_id, 80)!r}"
            raise NoDepth(f"depth is of frame {frames}: it must be aligned with the image")
        try:
            most = TIMES * height * width
            if not isinstance(image, Image):
                depth = decode_compressed_depth(image, most_pixels=most)
            elif image.height * image.width > most:
                raise ValueError(f"it is {image.width} x {image.height}, must have at most {most} pixels")
            else:
                depth = decode_depth(image)
            check_depth(depth, height, width)
        except (CodecError, ValueError) as error:
            raise NoDepth(f"the depth image cannot be used: {error}") from error
        return depth

    def _nearest(self, stamp: int, frame_id: str) -> Any:
        """The nearest one in time, of those of the frame where there are such."""
        deadline = time.monotonic() + self._patience
        with self._changed:
            while True:
                if self._mixed:
                    raise NoDepth(f"{self._mixed}: they cannot be told apart")
                of_frame = [image for image in self._images if image.header.frame_id == frame_id] or self._images
                found = min(of_frame, key=lambda image: abs(stamp_ns(image.header) - stamp), default=None)
                # The very one, or one after which none nearer comes, as stamps rise.
                off = None if found is None else stamp_ns(found.header) - stamp
                if off is not None and 0 <= off <= SLOP_NS:
                    return found
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
        if off is None:
            raise NoDepth("no depth image has come")
        if abs(off) > SLOP_NS:
            raise NoDepth(
                f"the nearest depth image is {off / 1e9:+.3f} s off the colour image, must be within {SLOP_NS / 1e9} s"
            )
        return found
