# SPDX-License-Identifier: Apache-2.0
"""Sizes of PNG, WebP and TIFF pictures from their headers, and what else comes as a compressed image and is none."""

from __future__ import annotations

import struct

from robotseg_ros.common.image_codec import SHOWN, CodecError, Refusal

MAX_FIELDS = 4096
"""Fields of a TIFF's directory that are walked through."""
MAX_SEGMENTS = 65536
"""Segments of a file that are walked through: above it a file is taken for garbage."""
MAX_TEXTS = 16
"""Packed texts and profiles of a PNG: each may unpack to 8 MB, for nothing."""
PNG = b"\x89PNG\r\n\x1a\n"
_PACKED = frozenset({b"zTXt", b"iTXt", b"iCCP"})
_ANIMATION = 0x02
_VIDEO = ("h264", "avc", "h265", "hevc", "av1", "vp8", "vp9")
_SHORT, _LONG = 3, 4


def png_size(data: bytes, most_texts: int = MAX_TEXTS) -> tuple[int, int]:
    """(width, height) of a PNG that goes on to its end chunk (ISO 15948, clause 5).

    Args:
        data: of the file.
        most_texts: chunks with packed texts that it may have.

    Raises:
        CodecError: damaged, cut off, or with more of them.
    """
    if data[8:16] != b"\x00\x00\x00\rIHDR" or len(data) < 33:
        raise CodecError(Refusal.DATA, f"png of {len(data)} bytes has no header chunk")
    width, height = struct.unpack_from(">II", data, 16)
    position, texts = len(PNG), 0
    for _ in range(MAX_SEGMENTS):
        if position + 12 > len(data):
            break
        (length,) = struct.unpack_from(">I", data, position)
        kind = data[position + 4 : position + 8]
        texts += kind in _PACKED
        if kind == b"IEND":
            if texts > most_texts:
                raise CodecError(Refusal.DATA, f"png has {texts} packed texts, must have at most {most_texts}")
            return int(width), int(height)
        position += 12 + length
    raise CodecError(Refusal.DATA, f"png is cut off: no end chunk in {len(data)} bytes")


def webp_size(data: bytes) -> tuple[int, int]:
    """(width, height) of a still WebP that goes on to its end (RFC 9649).

    Raises:
        CodecError: cut off, animated, or of no known kind.
    """
    (size,) = struct.unpack_from("<I", data, 4)
    if len(data) < size + 8:
        raise CodecError(Refusal.DATA, f"webp is cut off: {len(data)} bytes, its header says {size + 8}")
    chunk = data[12:16]
    if chunk == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    if chunk == b"VP8L" and data[20] == 0x2F:
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if chunk == b"VP8X":
        if data[20] & _ANIMATION:
            raise CodecError(Refusal.FORMAT, "webp is an animation: a message must be one picture")
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    raise CodecError(Refusal.DATA, f"webp begins with a chunk {chunk!r}")


def tiff_size(data: bytes) -> tuple[int, int]:
    """(width, height) of the first picture of a TIFF (revision 6.0).

    Raises:
        CodecError: damaged or cut off.
    """
    order = "<" if data[:2] == b"II" else ">"
    found = {}
    try:
        (at,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, at)
        for i in range(min(count, MAX_FIELDS)):
            tag, kind, _ = struct.unpack_from(f"{order}HHI", data, at + 2 + 12 * i)
            if tag in (256, 257) and kind in (_SHORT, _LONG):
                (found[tag],) = struct.unpack_from(f"{order}{'H' if kind == _SHORT else 'I'}", data, at + 10 + 12 * i)
    except struct.error as error:
        raise CodecError(Refusal.DATA, f"tiff of {len(data)} bytes is cut off: {error}") from error
    if len(found) < 2:
        raise CodecError(Refusal.DATA, f"tiff of {len(data)} bytes does not say its width and height")
    return found[256], found[257]


def refuse_unknown(data: bytes, said: str) -> CodecError:
    """The error for what is none of the kinds that are read; ``said`` is the message's format."""
    shown, lower = repr(said[:SHOWN]), said[:SHOWN].lower()
    if any(name in lower for name in _VIDEO) or data.startswith((b"\0\0\0\1", b"\0\0\1")):
        return CodecError(
            Refusal.FORMAT,
            f"format is {shown}, a piece of a video: one message is no picture. Republish it as pictures: `ros2 run "
            "image_transport republish --ros-args -p in_transport:=ffmpeg -p out_transport:=raw` (package "
            "ffmpeg_image_transport)",
        )
    if "compresseddepth" in lower:
        return CodecError(Refusal.FORMAT, f"format is {shown}: depth, not a picture")
    start = data[:8].hex(" ") or "nothing"
    return CodecError(
        Refusal.FORMAT, f"neither JPEG nor PNG, WebP, TIFF: data begins with {start} (format says {shown})"
    )
