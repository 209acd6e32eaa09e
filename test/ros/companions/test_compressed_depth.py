# SPDX-License-Identifier: Apache-2.0
"""compressedDepth against depth that was packed as image_transport packs it."""

import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_messages import File

from robotseg_ros.common.image_codec import CodecError, Refusal
from robotseg_ros.companions.compressed_depth import decode_compressed_depth

MILLIMETRES = np.array([[0, 1, 1500], [65535, 800, 801]], np.uint16)
METRES = np.array([[np.nan, 0.5, 1.0], [2.0, 4.0, 9.9]], np.float32)
QUANTIZATION, LARGEST = 100.0, 10.0


def packed(steps, a=0.0, b=0.0):
    return struct.pack("<iff", 0, a, b) + cv2.imencode(".png", steps)[1].tobytes()


PLAIN = packed(MILLIMETRES)
# Behind the header of 12 bytes, the signature and the first chunk: a text that would be unpacked.
TEXT = PLAIN[:45] + struct.pack(">I", 3) + b"zTXt" + b"k\0\0" + struct.pack(">I", zlib.crc32(b"zTXtk\0\0")) + PLAIN[45:]


def inverse(metres):
    """As compressed_depth_image_transport does it."""
    a = QUANTIZATION * (QUANTIZATION + 1)
    b = 1 - a / LARGEST
    steps = np.where(np.isnan(metres), 0, a / np.nan_to_num(metres, nan=1) + b)
    return packed(steps.astype(np.uint16), a, b)


def test_millimetres_are_exact():
    depth = decode_compressed_depth(File(packed(MILLIMETRES), "16UC1; compressedDepth png"))
    assert depth.dtype == np.uint16 and np.array_equal(depth, MILLIMETRES)
    # The older name of the format, without the packing.
    assert np.array_equal(decode_compressed_depth(File(packed(MILLIMETRES), "16UC1; compressedDepth")), MILLIMETRES)


def test_metres_come_back_to_their_steps():
    depth = decode_compressed_depth(File(inverse(METRES), "32FC1; compressedDepth png"))
    assert depth.dtype == np.float32 and np.isnan(depth[0, 0]) and np.isnan(depth).sum() == 1
    # A step of inverse depth is z^2 / a metres.
    step = METRES**2 / (QUANTIZATION * (QUANTIZATION + 1))
    assert np.nanmax(np.abs(depth - METRES) / step) < 1.01


@pytest.mark.parametrize(
    ("data", "said", "reason", "words"),
    [
        (packed(MILLIMETRES), "jpeg", Refusal.FORMAT, "must be '16UC1; compressedDepth'"),
        (packed(MILLIMETRES), "16UC1; compressedDepth rvl", Refusal.FORMAT, "set the publisher's parameter"),
        (packed(MILLIMETRES)[12:], "16UC1; compressedDepth png", Refusal.FORMAT, "only PNG"),
        (packed(MILLIMETRES)[:40], "16UC1; compressedDepth png", Refusal.DATA, "no header chunk"),
        (packed(MILLIMETRES)[:-30], "16UC1; compressedDepth png", Refusal.DATA, "no end chunk"),
        (TEXT, "16UC1; compressedDepth png", Refusal.DATA, "1 packed texts, must have at most 0"),
        (packed(MILLIMETRES.astype(np.uint8)), "16UC1; compressedDepth png", Refusal.DATA, "8 bits"),
        (packed(MILLIMETRES, float("nan"), 0.0), "32FC1; compressedDepth png", Refusal.DATA, "must be finite"),
        (
            packed(MILLIMETRES)[:28] + struct.pack(">II", 30000, 30000) + packed(MILLIMETRES)[36:],
            "16UC1; compressedDepth png",
            Refusal.SIZE,
            "30000 x 30000",
        ),
    ],
)
def test_what_is_no_such_depth_is_refused(data, said, reason, words):
    with pytest.raises(CodecError) as caught:
        decode_compressed_depth(File(data, said))
    assert caught.value.reason is reason and words in str(caught.value)


@given(st.integers(0, 200), st.binary(max_size=6), st.integers(0, 90), st.sampled_from(["16UC1", "32FC1"]))
@settings(deadline=None)
def test_damaged_depth_is_decoded_to_its_kind_or_refused(at, garbage, cut, encoding):
    data = inverse(METRES)
    data = (data[:at] + garbage + data[at + len(garbage) :])[: len(data) - cut]
    try:
        depth = decode_compressed_depth(File(data, f"{encoding}; compressedDepth png"))
    except CodecError:
        return
    assert depth.ndim == 2 and depth.dtype == (np.uint16 if encoding == "16UC1" else np.float32)
    assert encoding == "16UC1" or not np.isinf(depth).any() and not (depth <= 0).any()
