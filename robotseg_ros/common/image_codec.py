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
    """Of a compressed image: of no kind that is read."""


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
    """How one encoding lies in memory.

    Attributes:
        channels: samples a pixel, in a row of the first plane.
        conversion: OpenCV's, from 8 bit to RGB; None where it is RGB already.
        wide: samples of 16 bits, in the byte order that the message names.
        planes: size of all planes over that of the first, times two.
        even_width, even_height: colours are shared by pairs of pixels.
    """

    channels: int
    conversion: int | None
    wide: bool = False
    planes: int = 2
    even_width: bool = False
    even_height: bool = False


_BAYER = {
    # OpenCV's short names (BayerBG, ...) come from the second row's second and third pixel; the long names used here
    # say what ROS says: the first row's first two pixels, then the second row's.
    f"bayer_{pattern}{bits}": _Layout(1, conversion, wide=bits == 16, even_width=True, even_height=True)
    for bits in (8, 16)
    for pattern, conversion in (
        ("rggb", cv2.COLOR_BayerRGGB2RGB),
        ("bggr", cv2.COLOR_BayerBGGR2RGB),
        ("gbrg", cv2.COLOR_BayerGBRG2RGB),
        ("grbg", cv2.COLOR_BayerGRBG2RGB),
    )
}
_YUYV = _Layout(2, cv2.COLOR_YUV2RGB_YUY2, even_width=True)
_UYVY = _Layout(2, cv2.COLOR_YUV2RGB_UYVY, even_width=True)
_LAYOUTS = {
    "rgb8": _Layout(3, None),
    "bgr8": _Layout(3, cv2.COLOR_BGR2RGB),
    "rgba8": _Layout(4, cv2.COLOR_RGBA2RGB),
    "bgra8": _Layout(4, cv2.COLOR_BGRA2RGB),
    "mono8": _Layout(1, cv2.COLOR_GRAY2RGB),
    "rgb16": _Layout(3, None, wide=True),
    "bgr16": _Layout(3, cv2.COLOR_BGR2RGB, wide=True),
    "rgba16": _Layout(4, cv2.COLOR_RGBA2RGB, wide=True),
    "bgra16": _Layout(4, cv2.COLOR_BGRA2RGB, wide=True),
    "mono16": _Layout(1, cv2.COLOR_GRAY2RGB, wide=True),
    # OpenCV's names say nothing of colours; its own pictures, which cv_bridge sends so, are BGR.
    "8UC1": _Layout(1, cv2.COLOR_GRAY2RGB),
    "8UC3": _Layout(3, cv2.COLOR_BGR2RGB),
    "8UC4": _Layout(4, cv2.COLOR_BGRA2RGB),
    "16UC1": _Layout(1, cv2.COLOR_GRAY2RGB, wide=True),
    # The older name of each, then the newer one.
    "yuv422_yuy2": _YUYV,
    "yuyv": _YUYV,
    "yuv422": _UYVY,
    "uyvy": _UYVY,
    # A plane of brightness, below it one of colours.
    "nv12": _Layout(1, cv2.COLOR_YUV2RGB_NV12, planes=3, even_width=True, even_height=True),
    "nv21": _Layout(1, cv2.COLOR_YUV2RGB_NV21, planes=3, even_width=True, even_height=True),
    "nv24": _Layout(1, cv2.COLOR_YUV2RGB_NV12, planes=6, even_width=True, even_height=True),
    **_BAYER,
}

ENCODINGS = tuple(_LAYOUTS)
"""Encodings that :func:`decode_rgb` reads, by their ROS names (``nv12`` has none, but drivers use it)."""
SHOWN = 40
"""Characters of a sender's text that an error shows."""


def decode_rgb(image: ImageLike) -> NDArray[np.uint8]:
    """Decode a ``sensor_msgs/Image`` (or anything with its fields).

    16-bit samples are scaled from 0..65535 to 0..255.  Only ``16UC1``, which infrared cameras send with fewer bits in
    use and of which ROS says nothing, is scaled from the least of 8, 10, 12, 14 and 16 bits that holds its largest one.

    Args:
        image: the message; ``data`` is any contiguous buffer of bytes.

    Returns:
        [height, width, 3] uint8 RGB, contiguous.  It shares the memory of ``image.data`` when that is RGB already.

    Raises:
        CodecError: a field is wrong; the message names the value and the limit.
    """
    layout = _LAYOUTS.get(image.encoding)
    if layout is None:
        raise CodecError(Refusal.ENCODING, f"encoding {image.encoding[:SHOWN]!r} is not one of {', '.join(ENCODINGS)}")
    # Of bytes both orders are right; any other value means that the header is garbage.
    if image.is_bigendian not in (0, 1):
        raise CodecError(Refusal.ENDIANNESS, f"is_bigendian is {image.is_bigendian}, must be 0 or 1")
    _check_size(image, layout)
    row = image.width * layout.channels * (2 if layout.wide else 1)
    if image.step < row:
        raise CodecError(
            Refusal.STEP, f"step is {image.step}, must be at least {row} for width {image.width} in {image.encoding}"
        )
    data = _as_bytes(image.data)
    size = image.step * image.height * layout.planes // 2
    if data.size != size:
        planes = "" if layout.planes == 2 else f" x {layout.planes / 2:g} for its planes"
        raise CodecError(
            Refusal.DATA,
            f"data has {data.size} bytes, must be {size} (step {image.step} x height {image.height}{planes})",
        )
    if layout.planes == 6:
        data = _fewer_colours(data, image)
    rows = np.ascontiguousarray(data.reshape(-1, image.step)[:, :row])
    if layout.wide:
        samples = rows.view(">u2" if image.is_bigendian else "<u2").astype(np.uint16, copy=False)
        # To the nearest: 65535 / 255 is 257.
        scaled = cv2.convertScaleAbs(samples, alpha=255 / (2 ** _bits(samples, image.encoding) - 1))
        rows = np.asarray(scaled, np.uint8)
    shape = (-1, image.width) if layout.channels == 1 else (-1, image.width, layout.channels)
    pixels = rows.reshape(shape)
    if layout.conversion is None:
        return pixels
    return np.asarray(cv2.cvtColor(pixels, layout.conversion), dtype=np.uint8)


def _bits(samples: NDArray[np.uint16], encoding: str) -> int:
    """Bits that are in use."""
    if encoding != "16UC1":
        return 16
    largest = int(samples.max())
    return next(bits for bits in (8, 10, 12, 14, 16) if largest < 2**bits)


def _fewer_colours(data: NDArray[np.uint8], image: ImageLike) -> NDArray[np.uint8]:
    """NV24, a colour for each pixel, as NV12, a colour for four: rows of ``step`` bytes as before."""
    height, width, step = image.height, image.width, image.step
    bright = data[: step * height].reshape(height, step)
    pairs = np.ascontiguousarray(data[step * height :].reshape(height, 2 * step)[:, : 2 * width])
    few = cv2.resize(pairs.reshape(height, width, 2), (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    colours = np.zeros((height // 2, step), np.uint8)
    colours[:, :width] = few.reshape(height // 2, width)
    return np.concatenate([bright, colours]).reshape(-1)


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
