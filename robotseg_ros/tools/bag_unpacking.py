# SPDX-License-Identifier: Apache-2.0
"""Packed chunks and messages of bags: they unpack to no more than they may, and to what they say."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import lz4.frame

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAX_UNPACKED = 256 * 2**20
"""Largest message or chunk that is unpacked, bytes: an image of 8192 x 8192 has 192 MiB."""


def unpacked(data: bytes, compression: str, size: int | None, limit: int = MAX_UNPACKED) -> bytes:
    """Unpack ``lz4``, ``zstd`` or nothing.

    Args:
        data: packed.
        compression: its name; empty: as it is.
        size: bytes that must come out; None: any number up to the limit.
        limit: largest number of bytes that may come out.

    Raises:
        ValueError: unknown compression, damaged, too large, or of another size.
    """
    if size is not None and size > limit:
        raise ValueError(f"it unpacks to {size} bytes, at most {limit} are taken")
    most = limit if size is None else size
    try:
        if compression == "":
            raw = data
        elif compression == "zstd":
            said = zstd.get_frame_info(data).decompressed_size
            if said is not None and said > most:
                raise ValueError(f"it unpacks to {said} bytes, at most {most} are taken")
            raw = _whole(zstd.ZstdDecompressor, data, most)
        elif compression == "lz4":
            raw = _whole(lz4.frame.LZ4FrameDecompressor, data, most)
        else:
            raise ValueError(f"its compression is {compression!r}, must be lz4, zstd or none")
    except (zstd.ZstdError, RuntimeError, EOFError) as error:
        raise ValueError(f"it cannot be unpacked: {error}") from error
    if len(raw) > most:
        raise ValueError(f"it unpacks to more than {most} bytes")
    if size is not None and len(raw) != size:
        raise ValueError(f"it unpacks to {len(raw)} bytes, must be {size}")
    return bytes(raw)


def _whole(decompressor: Callable[[], Any], data: bytes, most: int) -> bytes:
    """All frames of packed data, up to one byte more than ``most``.

    Raises:
        ValueError: the last one has no end.
    """
    pieces, size = [], 0
    while True:
        reader = decompressor()
        pieces.append(reader.decompress(data, max_length=most + 1 - size))
        size += len(pieces[-1])
        if size > most:
            return b"".join(pieces)
        if not reader.eof:
            raise ValueError("it is cut off")
        if not reader.unused_data:
            return b"".join(pieces)
        data = reader.unused_data
