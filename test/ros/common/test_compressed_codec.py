# SPDX-License-Identifier: Apache-2.0
"""JPEG and PNG, read by their first bytes and headers, and refused before they can do harm."""

import struct
from io import BytesIO

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as PillowImage
from plain_messages import File, scene
from png_bombs import png_chunk, png_that_says

from robotseg_ros.common.compressed_codec import MAX_PIXELS, MAX_SIDE, decode_compressed, encode_jpeg, encode_png
from robotseg_ros.common.image_codec import CodecError, Refusal


def pillow(rgb, kind, **options):
    file = BytesIO()
    PillowImage.fromarray(rgb).save(file, kind, **options)
    return file.getvalue()


JPEG = pillow(scene(), "jpeg", quality=95)
PNG = pillow(scene(), "png")


def webp_that_says(width, height):
    """A lossless WebP of some bytes."""
    chunk = b"VP8L" + struct.pack("<I", 10) + b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14) + bytes(5)
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


def tiff_that_says(width, height):
    fields = struct.pack("<HHII", 256, 4, 1, width) + struct.pack("<HHII", 257, 4, 1, height)
    return b"II*\0" + struct.pack("<IH", 8, 2) + fields + bytes(4)


WEBP = pillow(scene(), "webp", lossless=True)
TIFF = pillow(scene(), "tiff")


def refused(file):
    with pytest.raises(CodecError) as caught:
        decode_compressed(file)
    return caught.value.reason, str(caught.value)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P"])
def test_png_is_exact_whatever_its_format_field_says(mode):
    image = PillowImage.fromarray(scene()).convert(mode)
    rgb = np.asarray(image.convert("RGB"))
    file = BytesIO()
    image.save(file, "png")
    picture = decode_compressed(File(file.getvalue(), "jpeg, really"))
    assert picture.kind == "png" and picture.rgb.flags.c_contiguous
    assert np.array_equal(picture.rgb, rgb)


@pytest.mark.parametrize(
    ("kind", "options"), [("webp", {"lossless": True}), ("tiff", {}), ("tiff", {"compression": "tiff_lzw"})]
)
def test_webp_and_tiff_are_exact(kind, options):
    picture = decode_compressed(File(pillow(scene(), kind, **options), "tiff compressed"))
    assert picture.kind == kind and picture.rgb.flags.c_contiguous and np.array_equal(picture.rgb, scene())


def test_a_webp_with_loss_or_with_more_in_it_is_near():
    assert np.abs(decode_compressed(File(pillow(scene(), "webp", quality=95))).rgb.astype(int) - scene()).mean() < 9
    exif = PillowImage.Exif()
    exif[0x0112] = 6
    extended = pillow(scene(), "webp", lossless=True, exif=exif)
    assert extended[12:16] == b"VP8X" and np.array_equal(decode_compressed(File(extended)).rgb, scene())


def test_an_animation_is_no_picture():
    pages = [PillowImage.fromarray(scene()), PillowImage.fromarray(255 - scene())]
    file = BytesIO()
    pages[0].save(file, "webp", save_all=True, append_images=pages[1:])
    assert refused(File(file.getvalue()))[0] is Refusal.FORMAT


@pytest.mark.parametrize(
    ("data", "said", "words"),
    [
        (b"\0\0\0\1\x67" + bytes(30), "h264", "ffmpeg_image_transport"),
        (b"\0\0\1\x40" + bytes(30), "", "a piece of a video"),
        (bytes(40), "rgb8; hevc", "image_transport republish"),
        (bytes(12) + PNG, "16UC1; compressedDepth png", "depth, not a picture"),
        (b"nothing", "x" * 10**6, f"(format says '{'x' * 40}')"),
    ],
)
def test_what_is_no_picture_is_called_by_its_name(data, said, words):
    reason, text = refused(File(data, said))
    assert reason is Refusal.FORMAT and words in text and len(text) < 400


def test_jpegs_without_an_end_are_taken_where_that_is_asked_for():
    unfinished = File(JPEG[:-2])
    assert "no end marker" in refused(unfinished)[1]
    taken = decode_compressed(unfinished, unfinished_jpeg=True).rgb
    assert np.array_equal(taken, decode_compressed(File(JPEG)).rgb)
    # Before the first scan there is nothing to take.
    with pytest.raises(CodecError, match="before its first scan"):
        decode_compressed(File(JPEG[:40]), unfinished_jpeg=True)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 1}, {"subsampling": 0}])
def test_jpeg_is_near_and_keeps_its_order_of_colours(options):
    picture = decode_compressed(File(pillow(scene(), "jpeg", quality=98, **options), "rgb8; jpeg compressed bgr8"))
    assert picture.kind == "jpeg"
    assert np.abs(picture.rgb.astype(int) - scene()).mean() < 3


def test_grey_jpeg_becomes_rgb():
    grey = scene()[..., 1]
    rgb = decode_compressed(File(pillow(grey, "jpeg", quality=98))).rgb
    assert rgb.shape == (24, 33, 3) and np.array_equal(rgb[..., 0], rgb[..., 2])


def test_jpeg_is_not_turned_by_its_orientation_tag():
    exif = PillowImage.Exif()
    exif[0x0112] = 6
    assert decode_compressed(File(pillow(scene(), "jpeg", exif=exif))).rgb.shape == (24, 33, 3)


def test_bytes_after_the_end_of_a_jpeg_do_no_harm():
    assert decode_compressed(File(JPEG + bytes(64))).rgb.shape == (24, 33, 3)


@pytest.mark.parametrize(
    ("data", "reason", "words"),
    [
        (b"", Refusal.FORMAT, "begins with nothing"),
        (b"GIF89a" + bytes(20), Refusal.FORMAT, "47 49 46 38"),
        (WEBP[:-6], Refusal.DATA, "webp is cut off"),
        (WEBP[:12] + b"ALPH" + WEBP[16:], Refusal.DATA, "begins with a chunk b'ALPH'"),
        (webp_that_says(16384, 16384), Refusal.SIZE, f"must be 1 to {MAX_SIDE}"),
        (TIFF[:-20], Refusal.DATA, "tiff"),
        (b"II*\0\x08\0\0\0" + bytes(8), Refusal.DATA, "width and height"),
        (b"MM\0*\xff\xff\xff\xff", Refusal.DATA, "tiff of 8 bytes is cut off"),
        (tiff_that_says(2**31, 7), Refusal.SIZE, f"width of the tiff is {2**31}"),
        (tiff_that_says(8192, 8192), Refusal.SIZE, "67108864 pixels"),
        (b"RIFF\0\0\0\0WEBPVP8 ", Refusal.FORMAT, "neither JPEG nor PNG"),
        (b"BM" + bytes(60), Refusal.FORMAT, "neither JPEG nor PNG"),
        (bytes(12) + PNG, Refusal.FORMAT, "neither JPEG nor PNG"),
        (JPEG[: len(JPEG) // 2], Refusal.DATA, "damaged or cut off"),
        (JPEG[:-2], Refusal.DATA, "no end marker"),
        (JPEG[:3], Refusal.DATA, "damaged or cut off"),
        (b"\xff\xd8\xff" + bytes(range(256)) * 4, Refusal.DATA, "damaged or cut off"),
        (PNG[:-12], Refusal.DATA, "no end chunk"),
        (PNG[:20], Refusal.DATA, "no header chunk"),
        # A few kilobytes each, which unpack to eight megabytes: milliseconds, a thousand times.
        (PNG[:33] + 17 * png_chunk(b"zTXt", b"k\0\0") + PNG[33:], Refusal.DATA, "png has 17 packed texts, must have"),
        (PNG[:33] + 17 * png_chunk(b"iTXt", b"k\0") + PNG[33:], Refusal.DATA, "png has 17 packed texts, must have"),
        (PNG[:45] + b"garbage" + PNG[52:], Refusal.DATA, "png"),
        (png_that_says(MAX_SIDE + 1, 1), Refusal.SIZE, f"width of the png is {MAX_SIDE + 1}"),
        (png_that_says(2**31 - 1, 2**31 - 1), Refusal.SIZE, "must be 1 to 8192"),
        (png_that_says(8192, 8192), Refusal.SIZE, f"67108864 pixels, must be at most {MAX_PIXELS}"),
        (png_that_says(0, 5), Refusal.SIZE, "width of the png is 0"),
        (png_that_says(64, 64), Refusal.DATA, "png"),
        ("text", Refusal.DATA, "is a str"),
    ],
)
def test_what_is_no_sound_jpeg_or_png_is_refused_with_a_reason(data, reason, words):
    got, said = refused(File(data))
    assert got is reason and words in said


def test_a_jpeg_that_says_it_is_huge_is_refused_before_it_is_decoded(monkeypatch):
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    start = JPEG.index(b"\xff\xc0")
    huge = JPEG[: start + 5] + struct.pack(">HH", 60000, 60000) + JPEG[start + 9 :]
    assert refused(File(huge))[0] is Refusal.SIZE
    assert refused(File(png_that_says(60000, 60000)))[0] is Refusal.SIZE


def test_a_thumbnail_before_it_does_not_hide_that_a_jpeg_is_cut_off():
    # A whole JPEG inside a segment of comments, end marker and all.
    comment = b"\xff\xfe" + struct.pack(">H", len(JPEG) + 2) + JPEG
    whole = JPEG[:2] + comment + JPEG[2:]
    assert decode_compressed(File(whole)).rgb.shape == (24, 33, 3)
    assert "no end marker" in refused(File(whole[:-2]))[1]


def test_compressed_bayer_is_refused():
    assert "debayer" in refused(File(JPEG, "bayer_rggb8; jpeg compressed "))[1]


@given(st.sampled_from([JPEG, PNG, WEBP, TIFF]), st.integers(0, 2000), st.binary(max_size=8), st.integers(0, 2000))
def test_a_damaged_file_is_decoded_to_its_size_or_refused(data, at, garbage, keep):
    at %= len(data)
    damaged = (data[:at] + garbage + data[at + len(garbage) :])[: len(data) - keep % 64]
    try:
        rgb = decode_compressed(File(damaged)).rgb
    except CodecError:
        return
    assert rgb.ndim == 3 and rgb.shape[2] == 3 and rgb.dtype == np.uint8


def test_what_is_encoded_comes_back():
    mask = (scene()[..., 0] > 100).astype(np.uint8) * 255
    assert np.array_equal(cv2.imdecode(np.frombuffer(encode_png(mask), np.uint8), cv2.IMREAD_UNCHANGED), mask)
    picture = decode_compressed(File(encode_jpeg(scene())))
    assert picture.kind == "jpeg" and np.abs(picture.rgb.astype(int) - scene()).mean() < 6
