# SPDX-License-Identifier: Apache-2.0
"""The last depth images of one camera, found by the stamp of a colour image, decoded only when one is needed."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any

from sensor_msgs.msg import Image

from robotseg_core.masks.nearest import Depth, check_depth
from robotseg_ros.common.camera_log import cut
from robotseg_ros.common.image_codec import CodecError
from robotseg_ros.common.messages import stamp_ns
from robotseg_ros.companions.compressed_depth import decode_compressed_depth
from robotseg_ros.companions.depth_codec import decode_depth

KEPT = 8
"""Depth images, the newest ones."""
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

    def add(self, image: Any) -> None:
        """Keep an Image or CompressedImage, as it came."""
        with self._changed:
            self._images.append(image)
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
        image = self._nearest(stamp)
        if image.header.frame_id != frame_id:
            frames = f"{cut(image.header.frame_id, 80)!r}, the image of {cut(frame_id, 80)!r}"
            raise NoDepth(f"depth is of frame {frames}: it must be aligned with the image")
        try:
            depth = decode_depth(image) if isinstance(image, Image) else decode_compressed_depth(image)
            check_depth(depth, height, width)
        except (CodecError, ValueError) as error:
            raise NoDepth(f"the depth image cannot be used: {error}") from error
        return depth

    def _nearest(self, stamp: int) -> Any:
        deadline = time.monotonic() + self._patience
        with self._changed:
            while True:
                found = min(self._images, key=lambda image: abs(stamp_ns(image.header) - stamp), default=None)
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
