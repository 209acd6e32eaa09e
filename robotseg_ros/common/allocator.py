# SPDX-License-Identifier: Apache-2.0
"""Settings of glibc's allocator and of Python's garbage collector for processes that receive images."""

from __future__ import annotations

import ctypes
import gc

# From malloc.h.
M_TRIM_THRESHOLD = -1
M_TOP_PAD = -2
M_MMAP_THRESHOLD = -3
MEGABYTE = 1 << 20


def keep_image_memory() -> None:
    """Keep freed image buffers in the process; call it before rclpy is loaded.

    By default glibc takes every image from the kernel and gives it back; the page faults cost more than half of
    receiving a 720p image.  Does nothing where the C library has no ``mallopt``.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    mallopt(M_MMAP_THRESHOLD, 512 * MEGABYTE)
    mallopt(M_TRIM_THRESHOLD, 512 * MEGABYTE)
    mallopt(M_TOP_PAD, 64 * MEGABYTE)


def keep_out_of_collections() -> None:
    """Leave all objects of now out of Python's garbage collections; call it when the model has been loaded.

    They live as long as the process; what has to be released before its end must be released by hand.  Looking
    through them takes several milliseconds, every second or so, while an image waits.
    """
    gc.collect()
    gc.freeze()
