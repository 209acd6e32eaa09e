# SPDX-License-Identifier: Apache-2.0
"""A PNG of some bytes that says it is huge: what would be unpacked must be refused by its header."""

import struct
import zlib


def png_that_says(width, height):
    """8 bits of RGB by its header; what follows are a few bytes."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"0")) + chunk(b"IEND", b"")
