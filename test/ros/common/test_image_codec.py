# SPDX-License-Identifier: Apache-2.0
"""The codec against images made by hand, pixel by pixel."""

import array
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plain_messages import PLANES, Raw

from robotseg_ros.common.image_codec import ENCODINGS, MAX_SIDE, CodecError, Refusal, decode_rgb

RGB = np.array([[[1, 2, 3], [40, 50, 60]], [[7, 8, 9], [100, 110, 120]]], np.uint8)
ALPHA = np.full((2, 2, 1), 200, np.uint8)
GREY = np.array([[0, 255], [17, 99]], np.uint8)


def picture(encoding, pixels, padding=0):
    rows = pixels.reshape(pixels.shape[0], -1)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
    return Raw(pixels.shape[0], pixels.shape[1], encoding, rows.shape[1], rows.tobytes())


BY_HAND = {
    "rgb8": (RGB, RGB),
    "bgr8": (RGB[..., ::-1], RGB),
    "rgba8": (np.concatenate([RGB, ALPHA], -1), RGB),
    "bgra8": (np.concatenate([RGB[..., ::-1], ALPHA], -1), RGB),
    "mono8": (GREY, np.stack([GREY] * 3, -1)),
}


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("encoding", BY_HAND)
def test_plain_encodings(encoding, padding):
    pixels, rgb = BY_HAND[encoding]
    decoded = decode_rgb(picture(encoding, np.ascontiguousarray(pixels), padding))
    assert np.array_equal(decoded, rgb)
    assert decoded.dtype == np.uint8 and decoded.flags.c_contiguous


WIDE = np.array([[0, 257, 65535], [128, 129, 30000]], np.uint16)
"""And as bytes, to the nearest; half of 257 is 128.5."""
NARROW = np.array([[0, 1, 255], [0, 1, 117]], np.uint8)


@pytest.mark.parametrize("big", [0, 1])
@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize(
    ("encoding", "order"), [("mono16", ""), ("rgb16", "rgb"), ("bgr16", "bgr"), ("rgba16", "rgba"), ("bgra16", "bgra")]
)
def test_16_bits_are_scaled_to_8_in_either_byte_order(encoding, order, padding, big):
    planes = {"r": WIDE, "g": WIDE[::-1], "b": WIDE[:, ::-1], "a": WIDE * 0 + 999}
    want = {"r": NARROW, "g": NARROW[::-1], "b": NARROW[:, ::-1]}
    pixels = np.stack([planes[c] for c in order], -1) if order else WIDE
    rgb = np.stack([want[c] if order else NARROW for c in "rgb"], -1)
    rows = np.ascontiguousarray(pixels.astype(">u2" if big else "<u2")).reshape(2, -1).view(np.uint8)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
    decoded = decode_rgb(Raw(2, 3, encoding, rows.shape[1], rows.tobytes(), big))
    assert np.array_equal(decoded, rgb) and decoded.dtype == np.uint8 and decoded.flags.c_contiguous


@pytest.mark.parametrize(
    ("largest", "bits"), [(255, 8), (256, 10), (1023, 10), (1024, 12), (16383, 14), (16384, 16), (65535, 16)]
)
def test_infrared_of_fewer_bits_is_not_black(largest, bits):
    pixels = np.array([[0, largest // 2, largest]], "<u2")
    decoded = decode_rgb(Raw(1, 3, "16UC1", 6, pixels.tobytes()))
    assert np.abs(decoded[0, :, 0].astype(float) - pixels[0] * 255.0 / (2**bits - 1)).max() <= 0.5
    # As mono16 it is what ROS says: of 16 bits.
    assert decode_rgb(Raw(1, 3, "mono16", 6, pixels.tobytes()))[0, 2, 0] == round(largest / 257)


@pytest.mark.parametrize(("encoding", "order"), [("8UC1", ""), ("8UC3", "bgr"), ("8UC4", "bgra")])
def test_opencvs_names_mean_its_order_of_colours(encoding, order):
    """As cv_bridge sends a picture of cv2 without being told what it is."""
    planes = {"r": RGB[..., 0], "g": RGB[..., 1], "b": RGB[..., 2], "a": ALPHA[..., 0]}
    pixels = np.stack([planes[c] for c in order], -1) if order else GREY
    decoded = decode_rgb(picture(encoding, np.ascontiguousarray(pixels)))
    assert np.array_equal(decoded, RGB if order else np.stack([GREY] * 3, -1))


PATTERNS = {"rggb": ("rg", "gb"), "bggr": ("bg", "gr"), "gbrg": ("gb", "rg"), "grbg": ("gr", "bg")}


@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_bayer(pattern, padding):
    """A scene of one colour, seen through the colour filter that the name spells out row by row."""
    scene = {"r": 200, "g": 100, "b": 30}
    tile = np.array([[scene[c] for c in row] for row in PATTERNS[pattern]], np.uint8)
    decoded = decode_rgb(picture(f"bayer_{pattern}8", np.tile(tile, (4, 5)), padding))
    assert decoded.shape == (8, 10, 3)
    assert np.array_equal(decoded, np.full((8, 10, 3), (200, 100, 30)))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_bayer_of_16_bits(pattern):
    scene = {"r": 200 * 257, "g": 100 * 257, "b": 30 * 257}
    tile = np.array([[scene[c] for c in row] for row in PATTERNS[pattern]], "<u2")
    decoded = decode_rgb(Raw(8, 10, f"bayer_{pattern}16", 20, np.tile(tile, (4, 5)).tobytes()))
    assert np.array_equal(decoded, np.full((8, 10, 3), (200, 100, 30)))


RED, BLUE = (81, 90, 240), (41, 240, 110)
"""Y, U, V by BT.601, limited range."""


@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize(("encoding", "first"), [("yuv422_yuy2", "y"), ("yuyv", "y"), ("yuv422", "u"), ("uyvy", "u")])
def test_yuv422(encoding, first, padding):
    """Y0 U Y1 V, or U Y0 V Y1: the two pixels of a pair share their colour."""
    red, blue = RED, BLUE
    pair = np.array([[red[0], red[1]], [red[0], red[2]], [blue[0], blue[1]], [blue[0], blue[2]]], np.uint8)
    if first == "u":
        pair = np.ascontiguousarray(pair[:, ::-1])
    decoded = decode_rgb(picture(encoding, np.stack([pair] * 3), padding)).astype(int)
    assert decoded.shape == (3, 4, 3)
    assert np.abs(decoded[:, :2] - (255, 0, 0)).max() <= 3
    assert np.abs(decoded[:, 2:] - (0, 0, 255)).max() <= 3


@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize("encoding", ["nv12", "nv21", "nv24"])
def test_planes_of_brightness_and_colour(encoding, padding):
    """Left half red, right half blue; NV21 has V before U, NV24 a colour for every pixel."""
    bright = np.repeat([[RED[0], BLUE[0]]], 4, 0).repeat(4, 1)
    pairs = [colour[:0:-1] if encoding == "nv21" else colour[1:] for colour in (RED, BLUE)]
    each = 4 if encoding == "nv24" else 2
    colours = np.concatenate([np.tile(pair, each) for pair in pairs])[None].repeat(each, 0)
    factor = 2 if encoding == "nv24" else 1
    planes = [np.pad(bright, ((0, 0), (0, padding))), np.pad(colours, ((0, 0), (0, factor * padding)))]
    data = b"".join(plane.astype(np.uint8).tobytes() for plane in planes)
    image = Raw(4, 8, encoding, 8 + padding, data)
    decoded = decode_rgb(image).astype(int)
    assert decoded.shape == (4, 8, 3)
    assert np.abs(decoded[:, :4] - (255, 0, 0)).max() <= 3 and np.abs(decoded[:, 4:] - (0, 0, 255)).max() <= 3
    with pytest.raises(CodecError, match=rf"data has {len(data) - 1} bytes, must be {len(data)} .* for its planes"):
        decode_rgb(replace(image, data=data[:-1]))


def test_data_of_a_ros_message_is_read_without_a_copy():
    data = array.array("B", RGB.tobytes())
    decoded = decode_rgb(Raw(2, 2, "rgb8", 6, data))
    data[0] = 250
    assert decoded[0, 0, 0] == 250


GOOD = Raw(2, 2, "rgb8", 6, RGB.tobytes())


@pytest.mark.parametrize(
    ("fields", "reason", "words"),
    [
        ({"encoding": "32FC1"}, Refusal.ENCODING, "'32FC1' is not one of rgb8"),
        ({"encoding": ""}, Refusal.ENCODING, "'' is not"),
        ({"encoding": "x" * 10**6}, Refusal.ENCODING, f"encoding '{'x' * 40}' is not"),
        ({"encoding": "mono16", "step": 3, "data": bytes(6)}, Refusal.STEP, "at least 4 for width 2 in mono16"),
        ({"encoding": "nv12", "height": 3}, Refusal.SIZE, "height is 3, must be even in nv12"),
        ({"encoding": "RGB8"}, Refusal.ENCODING, "'RGB8' is not"),
        ({"is_bigendian": 2}, Refusal.ENDIANNESS, "is 2, must be 0 or 1"),
        ({"width": 0}, Refusal.SIZE, "width is 0, must be 1 to"),
        ({"height": 0, "data": b""}, Refusal.SIZE, "height is 0"),
        ({"width": MAX_SIDE + 1}, Refusal.SIZE, f"width is {MAX_SIDE + 1}"),
        ({"height": 2**32 - 1}, Refusal.SIZE, "height is 4294967295"),
        ({"step": 5}, Refusal.STEP, "step is 5, must be at least 6 for width 2 in rgb8"),
        ({"step": 0, "data": b""}, Refusal.STEP, "step is 0"),
        ({"data": RGB.tobytes()[:-1]}, Refusal.DATA, "data has 11 bytes, must be 12"),
        ({"data": RGB.tobytes() + b"x"}, Refusal.DATA, "data has 13 bytes, must be 12"),
        ({"data": b""}, Refusal.DATA, "data has 0 bytes"),
        ({"data": "twelve chars"}, Refusal.DATA, "data is a str"),
        ({"encoding": "yuv422_yuy2", "width": 3}, Refusal.SIZE, "width is 3, must be even in yuv422_yuy2"),
        ({"encoding": "bayer_rggb8", "width": 3}, Refusal.SIZE, "width is 3, must be even"),
        ({"encoding": "bayer_rggb8", "height": 3}, Refusal.SIZE, "height is 3, must be even"),
    ],
)
def test_malformed_images_are_refused_with_value_and_limit(fields, reason, words):
    with pytest.raises(CodecError) as caught:
        decode_rgb(replace(GOOD, **fields))
    assert caught.value.reason is reason
    assert words in str(caught.value)


@given(
    height=st.integers(0, 9),
    width=st.integers(0, 9),
    encoding=st.sampled_from([*ENCODINGS, "32FC1", "nonsense"]),
    step=st.integers(0, 40),
    size=st.integers(0, 200),
    is_bigendian=st.integers(0, 2),
)
def test_anything_is_decoded_to_its_size_or_refused(height, width, encoding, step, size, is_bigendian):
    image = Raw(height, width, encoding, step, bytes(size), is_bigendian)
    try:
        decoded = decode_rgb(image)
    except CodecError:
        return
    assert decoded.shape == (height, width, 3) and decoded.dtype == np.uint8
    assert size == step * height * PLANES.get(encoding, 1) and step >= width


@pytest.mark.parametrize("encoding", [e for e in ENCODINGS if e.endswith("8")])
def test_agrees_with_cv_bridge_where_it_is_installed(encoding):
    cv_bridge = pytest.importorskip("cv_bridge", reason="cv_bridge is in no Python registry; a ROS workspace has it")
    messages = pytest.importorskip("sensor_msgs.msg")
    channels = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4}.get(encoding, 1)
    pixels = np.random.default_rng(1).integers(0, 256, (8, 10, channels), np.uint8)
    message = messages.Image(height=8, width=10, encoding=encoding, step=10 * channels)
    message.data.frombytes(pixels.tobytes())
    theirs = cv_bridge.CvBridge().imgmsg_to_cv2(message, "rgb8")
    assert np.array_equal(decode_rgb(message), theirs)
