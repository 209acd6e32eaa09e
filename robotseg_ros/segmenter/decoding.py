# SPDX-License-Identifier: Apache-2.0
"""A camera's message becomes an RGB image, and is told apart from one that belongs to another sequence of images."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Header

from robotseg_ros.common.compressed_codec import decode_compressed
from robotseg_ros.common.image_codec import decode_rgb
from robotseg_ros.common.messages import stamp_ns

LOOP_NS = 1_000_000_000
"""Live, a stamp that goes back by more than this begins a new sequence, as when a bag is played again."""


@dataclass(frozen=True)
class Decoded:
    """An image: RGB [H, W, 3] uint8, its encoding, and the time of decoding it, ms."""

    rgb: NDArray[np.uint8]
    encoding: str
    ms: float


def decode(image: Any, *, unfinished_jpeg: bool = False) -> Decoded:
    """Decode an Image or a CompressedImage.

    Args:
        image: the message.
        unfinished_jpeg: take JPEGs without an end marker.

    Raises:
        CodecError: the image is refused.
    """
    start = time.perf_counter()
    if isinstance(image, CompressedImage):
        picture = decode_compressed(image, unfinished_jpeg=unfinished_jpeg)
        rgb, encoding = picture.rgb, picture.kind
    else:
        rgb, encoding = decode_rgb(image), image.encoding
    return Decoded(rgb, encoding, (time.perf_counter() - start) * 1e3)


@dataclass(frozen=True)
class Sequence:
    """What stays the same while a camera is the same camera: size (h, w), encoding, frame; and the last stamp, ns."""

    size: tuple[int, int]
    encoding: str
    frame_id: str
    stamp: int

    @classmethod
    def of(cls, header: Header, decoded: Decoded) -> Sequence:
        """The sequence of one image."""
        height, width = decoded.rgb.shape[:2]
        return cls((height, width), decoded.encoding, header.frame_id, stamp_ns(header))

    def broken_by(self, later: Sequence, *, replay: bool) -> str:
        """What of a later image does not fit: ``size``, ``encoding``, ``frame_id``, ``time``; empty when all does.

        Args:
            later: of the next image that came.
            replay: whether the images come reliably and in order, so that every step back in time counts.
        """
        for name in ("size", "encoding", "frame_id"):
            if getattr(self, name) != getattr(later, name):
                return name
        return "time" if self.stamp - later.stamp > (0 if replay else LOOP_NS) else ""

    def told(self, name: str) -> str:
        """In words, one of what :meth:`broken_by` returns."""
        if name == "size":
            return f"{self.size[1]} x {self.size[0]}"
        return f"{self.stamp / 1e9:.3f} s" if name == "time" else repr(getattr(self, name))
