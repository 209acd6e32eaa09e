# SPDX-License-Identifier: Apache-2.0
"""Strict decoding of camera images to RGB: what the message says must be what the bytes are, or it is refused.

cv_bridge is not used: it silently narrows images with a short step and fails on short data with unrelated errors.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

MAX_SIDE = 8192
"""Longest side that is accepted, pixels: above it a header is taken for garbage."""


class ImageLike(Protocol):
    """The fields of ``sensor_msgs/Image`` that decoding reads."""

    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: Any


class Refusal(enum.Enum):
    """Why an image was refused."""

    ENCODING = "encoding"
    ENDIANNESS = "endianness"
    SIZE = "size"
    STEP = "step"
    DATA = "data"
    FORMAT = "format"
    """Of a compressed image: neither JPEG nor PNG."""


class CodecError(ValueError):
    """An image that was refused.

    Attributes:
        reason: which field is wrong.
    """

    def __init__(self, reason: Refusal, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class _Layout:
    """How one encoding lies in memory: bytes a pixel, OpenCV conversion to RGB, divisor of width and of height."""

    channels: int
    conversion: int | None
    even_width: bool = False
    even_height: bool = False


# OpenCV's short names (BayerBG, ...) come from the second row's second and third pixel; the long names used here say
# what ROS says: the first row's first two pixels, then the second row's.
_LAYOUTS = {
    "rgb8": _Layout(3, None),
    "bgr8": _Layout(3, cv2.COLOR_BGR2RGB),
    "rgba8": _Layout(4, cv2.COLOR_RGBA2RGB),
    "bgra8": _Layout(4, cv2.COLOR_BGRA2RGB),
    "mono8": _Layout(1, cv2.COLOR_GRAY2RGB),
    "yuv422_yuy2": _Layout(2, cv2.COLOR_YUV2RGB_YUY2, even_width=True),
    "bayer_rggb8": _Layout(1, cv2.COLOR_BayerRGGB2RGB, even_width=True, even_height=True),
    "bayer_bggr8": _Layout(1, cv2.COLOR_BayerBGGR2RGB, even_width=True, even_height=True),
    "bayer_gbrg8": _Layout(1, cv2.COLOR_BayerGBRG2RGB, even_width=True, even_height=True),
    "bayer_grbg8": _Layout(1, cv2.COLOR_BayerGRBG2RGB, even_width=True, even_height=True),
}

ENCODINGS = tuple(_LAYOUTS)
"""Encodings that :func:`decode_rgb` reads, by their ROS names."""


def decode_rgb(image: ImageLike) -> NDArray[np.uint8]:
    """Decode a ``sensor_msgs/Image`` (or anything with its fields).

    Args:
        image: the message; ``data`` is any contiguous buffer of bytes.

    Returns:
        [height, width, 3] uint8 RGB, contiguous.  It shares the memory of ``image.data`` when that is RGB already.

    Raises:
        CodecError: a field is wrong; the message names the value and the limit.
    """
    layout = _LAYOUTS.get(image.encoding)
    if layout is None:
        raise CodecError(Refusal.ENCODING, f"encoding {image.encoding!r} is not one of {', '.join(ENCODINGS)}")
    # All encodings are bytes, so both orders are right; any other value means that the header is garbage.
    if image.is_bigendian not in (0, 1):
        raise CodecError(Refusal.ENDIANNESS, f"is_bigendian is {image.is_bigendian}, must be 0 or 1")
    _check_size(image, layout)
    row = image.width * layout.channels
    if image.step < row:
        raise CodecError(
            Refusal.STEP, f"step is {image.step}, must be at least {row} for width {image.width} in {image.encoding}"
        )
    data = _as_bytes(image.data)
    size = image.step * image.height
    if data.size != size:
        raise CodecError(
            Refusal.DATA, f"data has {data.size} bytes, must be {size} (step {image.step} x height {image.height})"
        )
    shape = (image.height, image.width) if layout.channels == 1 else (image.height, image.width, layout.channels)
    pixels = np.ascontiguousarray(data.reshape(image.height, image.step)[:, :row]).reshape(shape)
    if layout.conversion is None:
        return pixels
    return np.asarray(cv2.cvtColor(pixels, layout.conversion), dtype=np.uint8)


def _check_size(image: ImageLike, layout: _Layout) -> None:
    for name, side, even in (("width", image.width, layout.even_width), ("height", image.height, layout.even_height)):
        if not 1 <= side <= MAX_SIDE:
            raise CodecError(Refusal.SIZE, f"{name} is {side}, must be 1 to {MAX_SIDE}")
        if even and side % 2:
            raise CodecError(Refusal.SIZE, f"{name} is {side}, must be even in {image.encoding}")


def _as_bytes(data: Any) -> NDArray[np.uint8]:
    try:
        return np.frombuffer(data, np.uint8)
    except (TypeError, ValueError) as error:
        # numpy refuses an empty buffer as well; that is a matter of size, named by the caller's check.
        if hasattr(data, "__len__") and len(data) == 0:
            return np.empty(0, np.uint8)
        raise CodecError(Refusal.DATA, f"data is a {type(data).__name__}, must be a buffer of bytes") from error
