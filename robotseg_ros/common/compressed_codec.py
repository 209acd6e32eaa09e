# SPDX-License-Identifier: Apache-2.0
"""JPEG, PNG, WebP and TIFF camera images in, PNG masks and JPEG pictures out.

What an image is, is read from its first bytes, not from the message's ``format``; its size is read from its header
and checked before anything is decoded, because a small file can claim to be a huge picture.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from robotseg_ros.common.image_codec import MAX_SIDE, SHOWN, CodecError, Refusal
from robotseg_ros.common.picture_headers import MAX_SEGMENTS, PNG, png_size, refuse_unknown, tiff_size, webp_size

MAX_PIXELS = 32 * 2**20
"""Largest decoded picture, pixels (96 MiB as RGB)."""
MAX_SCANNED = 16 * MAX_PIXELS
"""Pixels times scans of a JPEG at most: each scan goes over the whole picture, and a few bytes make one.  Progressive
pictures have about ten."""
MAX_SCANS = 64
JPEG_QUALITY = 90

_JPEG = b"\xff\xd8\xff"
_END_OF_JPEG = b"\xff\xd9"
# Start of frame 0 to 15, without the three numbers that mean something else (tables, reserved, arithmetic coding).
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_START_OF_SCAN = 0xDA
_SCAN_MARKER = b"\xff\xda"
# Markers without a length: TEM, restarts, start of image.
_BARE = frozenset({0x01, *range(0xD0, 0xD9)})


class CompressedLike(Protocol):
    """The fields of ``sensor_msgs/CompressedImage`` that decoding reads."""

    format: str
    data: Any


@dataclass(frozen=True)
class Picture:
    """A decoded picture: RGB [H, W, 3] uint8, contiguous, and ``jpeg``, ``png``, ``webp`` or ``tiff``."""

    rgb: NDArray[np.uint8]
    kind: str


def decode_compressed(image: CompressedLike, *, unfinished_jpeg: bool = False) -> Picture:
    """Decode a ``sensor_msgs/CompressedImage``.

    Args:
        image: the message.
        unfinished_jpeg: take JPEGs without an end marker, as some cameras send them; one that is cut off cannot be
            told from them then, and what it lacks is grey.

    Raises:
        CodecError: of none of the four kinds, too large, cut off or damaged; the message names the value and the limit.
    """
    if image.format.startswith("bayer"):
        raise CodecError(
            Refusal.ENCODING, f"format is {image.format[:SHOWN]!r}: debayer before compressing (image_proc)"
        )
    try:
        data = bytes(image.data)
    except (TypeError, ValueError) as error:
        raise CodecError(Refusal.DATA, f"data is a {type(image.data).__name__}, must be a buffer of bytes") from error
    if data.startswith(_JPEG):
        if unfinished_jpeg:
            # OpenCV decodes nothing without it; behind an end it is not looked at.
            data += _END_OF_JPEG
        kind, (width, height) = "jpeg", _jpeg_size(data)
    elif data.startswith(PNG):
        kind, (width, height) = "png", png_size(data)
    elif data.startswith(b"RIFF") and data[8:12] == b"WEBP" and len(data) >= 30:
        kind, (width, height) = "webp", webp_size(data)
    elif data.startswith((b"II*\0", b"MM\0*")):
        kind, (width, height) = "tiff", tiff_size(data)
    else:
        raise refuse_unknown(data, image.format)
    _check_size(kind, width, height)
    # Turning by EXIF would change size and pixels of the image that the masks are for.
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise CodecError(Refusal.DATA, f"{kind} of {len(data)} bytes cannot be decoded: {error}") from error
    if bgr is None:
        raise CodecError(Refusal.DATA, f"{kind} of {len(data)} bytes, {width} x {height}, cannot be decoded")
    if bgr.shape != (height, width, 3):
        raise CodecError(Refusal.DATA, f"{kind} was decoded to {bgr.shape}, its header says {(height, width, 3)}")
    return Picture(np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8), kind)


def encode_png(mono: NDArray[np.uint8]) -> bytes:
    """[H, W] uint8 -> PNG, exact.  Runs of equal pixels, as in masks, are what it is tuned for."""
    return _encode(
        ".png", mono, [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
    )


def encode_jpeg(rgb: NDArray[np.uint8]) -> bytes:
    """[H, W, 3] uint8 RGB -> JPEG, for people."""
    return _encode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])


def _encode(suffix: str, pixels: Any, options: list[int]) -> bytes:
    good, data = cv2.imencode(suffix, pixels, options)
    if not good:
        raise ValueError(f"OpenCV cannot encode {pixels.shape} pixels as {suffix}")
    return bytes(data)


def _check_size(kind: str, width: int, height: int) -> None:
    for name, side in (("width", width), ("height", height)):
        if not 1 <= side <= MAX_SIDE:
            raise CodecError(Refusal.SIZE, f"{name} of the {kind} is {side}, must be 1 to {MAX_SIDE}")
    if width * height > MAX_PIXELS:
        raise CodecError(
            Refusal.SIZE, f"{kind} has {width} x {height} = {width * height} pixels, must be at most {MAX_PIXELS}"
        )


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """(width, height) of a JPEG that goes on to its end marker (ITU-T T.81, annex B)."""
    size = None
    position = 2
    for _ in range(MAX_SEGMENTS):
        # Fill bytes may stand before a marker.
        while data[position : position + 2] == b"\xff\xff":
            position += 1
        if position + 4 > len(data) or data[position] != 0xFF:
            break
        marker = data[position + 1]
        if marker in _BARE:
            position += 2
            continue
        (length,) = struct.unpack_from(">H", data, position + 2)
        if marker in _START_OF_FRAME and position + 9 <= len(data):
            height, width = struct.unpack_from(">HH", data, position + 5)
            if size is not None and size != (width, height):
                raise CodecError(Refusal.DATA, f"jpeg has two sizes, {size} and {(width, height)}")
            size = (width, height)
        position += 2 + length
        if marker == _START_OF_SCAN and size is not None:
            # Markers cannot occur inside a scan; pictures within comments may count, too.
            scans = data.count(_SCAN_MARKER)
            if scans > MAX_SCANS:
                raise CodecError(Refusal.DATA, f"jpeg has {scans} scans, must be at most {MAX_SCANS}")
            if scans * size[0] * size[1] > MAX_SCANNED:
                raise CodecError(
                    Refusal.SIZE,
                    f"jpeg of {size[0]} x {size[1]} has {scans} scans, {scans * size[0] * size[1]} pixels to go over, "
                    f"must be at most {MAX_SCANNED}",
                )
            # Nor can the end marker: libjpeg would fill what is missing with grey.
            if data.find(_END_OF_JPEG, position) < 0:
                raise CodecError(
                    Refusal.DATA,
                    f"jpeg is cut off: no end marker in {len(data)} bytes (from a camera that never sends one, "
                    "jpeg_without_end takes them)",
                )
            return size
        if length < 2:
            break
    raise CodecError(Refusal.DATA, f"jpeg of {len(data)} bytes is damaged or cut off before its first scan")
