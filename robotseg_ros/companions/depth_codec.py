# SPDX-License-Identifier: Apache-2.0
"""Depth images and masks as messages, strictly decoded, for the nodes that work on them beside the camera."""

from __future__ import annotations

import array
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from robotseg_core.geometry.depth_filter import Depth
from robotseg_ros.common.image_codec import MAX_SIDE, CodecError, ImageLike, Refusal

DEPTH_TYPES: dict[str, type[np.uint16] | type[np.float32]] = {
    "16UC1": np.uint16,
    "mono16": np.uint16,
    "32FC1": np.float32,
}
"""Depth encodings: 16UC1 (some drivers call it mono16) in millimetres, 32FC1 in metres (REP 118)."""


def decode_depth(image: ImageLike) -> Depth:
    """Decode a depth image of either byte order.

    Returns:
        [height, width] uint16 (mm) or float32 (m) in the machine's own order, contiguous; may share the memory of
        ``image.data``.

    Raises:
        CodecError: a field is wrong; the message names the value and the limit.
    """
    kind = DEPTH_TYPES.get(image.encoding)
    if kind is None:
        raise CodecError(Refusal.ENCODING, f"encoding {image.encoding!r} is not one of {', '.join(DEPTH_TYPES)}")
    if image.is_bigendian not in (0, 1):
        raise CodecError(Refusal.ENDIANNESS, f"is_bigendian is {image.is_bigendian}, must be 0 or 1")
    plane = _plane(image, np.dtype(kind).newbyteorder(">" if image.is_bigendian else "<"))
    return plane.astype(plane.dtype.newbyteorder("="), copy=False)


def decode_mask(image: ImageLike) -> NDArray[np.uint8]:
    """Decode a mask of the segmenter: mono8, 0 or not 0.

    Returns:
        [height, width] uint8, contiguous; may share the memory of ``image.data``.

    Raises:
        CodecError: a field is wrong; the message names the value and the limit.
    """
    if image.encoding != "mono8":
        raise CodecError(Refusal.ENCODING, f"encoding {image.encoding!r} of a mask must be 'mono8'")
    return np.ascontiguousarray(_plane(image, np.dtype(np.uint8)))


def to_depth_image(header: Header, depth: Depth) -> Image:
    """Make a ``sensor_msgs/Image`` of depth [H, W]: 16UC1 of uint16 (mm), 32FC1 of float32 (m)."""
    image = Image(header=header, height=depth.shape[0], width=depth.shape[1])
    image.encoding = "16UC1" if depth.dtype == np.uint16 else "32FC1"
    image.is_bigendian = int(sys.byteorder == "big")
    image.step = depth.shape[1] * depth.itemsize
    image.data = array.array("B")
    image.data.frombytes(np.ascontiguousarray(depth).view(np.uint8))
    return image


def _plane(image: ImageLike, kind: np.dtype[Any]) -> NDArray[Any]:
    """A view [height, width] of the pixels, checked against the fields of the message."""
    for name, side in (("width", image.width), ("height", image.height)):
        if not 1 <= side <= MAX_SIDE:
            raise CodecError(Refusal.SIZE, f"{name} is {side}, must be 1 to {MAX_SIDE}")
    row = image.width * kind.itemsize
    if image.step < row:
        raise CodecError(
            Refusal.STEP, f"step is {image.step}, must be at least {row} for width {image.width} in {image.encoding}"
        )
    data = np.frombuffer(image.data, np.uint8) if len(image.data) else np.empty(0, np.uint8)
    size = image.step * image.height
    if data.size != size:
        raise CodecError(
            Refusal.DATA, f"data has {data.size} bytes, must be {size} (step {image.step} x height {image.height})"
        )
    # Rows first: a step need not be a multiple of the pixel's size.
    rows = np.ascontiguousarray(data.reshape(image.height, image.step)[:, :row])
    return rows.view(kind)
