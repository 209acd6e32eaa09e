# SPDX-License-Identifier: Apache-2.0
"""Depth as image_transport's ``compressedDepth`` sends it: a header of 12 bytes, then a PNG of 16 bits.

Format of the package compressed_depth_image_transport: ``16UC1; compressedDepth png`` holds millimetres as they are,
``32FC1; compressedDepth png`` inverse depth in steps: z = a / (step - b) metres, 0 where nothing was measured.
"""

from __future__ import annotations

import math
import struct

import cv2
import numpy as np

from robotseg_core.geometry.depth_filter import Depth
from robotseg_ros.common.compressed_codec import MAX_PIXELS, CompressedLike
from robotseg_ros.common.image_codec import MAX_SIDE, SHOWN, CodecError, Refusal
from robotseg_ros.common.picture_headers import PNG, png_size

HEADER = struct.Struct("<iff")
"""Of the format: its number, and the two parameters a, b of inverse depth."""


def decode_compressed_depth(image: CompressedLike, *, most_pixels: int = MAX_PIXELS) -> Depth:
    """Decode a ``sensor_msgs/CompressedImage`` of a topic ``.../compressedDepth``.

    Args:
        image: the message.
        most_pixels: that it may have; it is not decoded where its header says more.

    Returns:
        [height, width] uint16 (mm) or float32 (m, NaN where nothing was measured).

    Raises:
        CodecError: another format, too large or damaged; the message names the value and the limit.
    """
    said = image.format[:SHOWN]
    encoding, _, packing = said.partition(";")
    if encoding.strip() not in ("16UC1", "32FC1") or "compressedDepth" not in packing:
        raise CodecError(
            Refusal.FORMAT, f"format is {said!r}, must be '16UC1; compressedDepth' or '32FC1; compressedDepth'"
        )
    data = bytes(image.data)
    if "rvl" in packing.lower() or data[HEADER.size : HEADER.size + 8] != PNG:
        raise CodecError(
            Refusal.FORMAT,
            f"format is {said!r}, of which only PNG is read: set the publisher's parameter format to png",
        )
    picture = data[HEADER.size :]
    width, height = png_size(picture, most_texts=0)
    bits, colour = picture[24:26]
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE and width * height <= most_pixels):
        raise CodecError(
            Refusal.SIZE,
            f"depth is {width} x {height}, each side must be 1 to {MAX_SIDE}, at most {most_pixels} pixels",
        )
    if (bits, colour) != (16, 0):
        raise CodecError(Refusal.DATA, f"depth has {bits} bits of colour type {colour}, must be 16 bits of grey")
    try:
        steps = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise CodecError(Refusal.DATA, f"depth of {len(data)} bytes cannot be decoded: {error.err}") from error
    if steps is None or steps.shape != (height, width) or steps.dtype != np.uint16:
        raise CodecError(Refusal.DATA, f"depth of {len(data)} bytes, {width} x {height}, cannot be decoded")
    values = np.asarray(steps, np.uint16)
    if encoding.strip() == "16UC1":
        return values
    _, a, b = HEADER.unpack_from(data)
    if not (math.isfinite(a) and math.isfinite(b) and a > 0):
        raise CodecError(Refusal.DATA, f"parameters of the depth are {a}, {b}, must be finite, the first above 0")
    with np.errstate(divide="ignore"):
        metres = np.float32(a) / (values.astype(np.float32) - np.float32(b))
    metres[(values == 0) | ~(metres > 0) | ~np.isfinite(metres)] = np.nan
    return metres
