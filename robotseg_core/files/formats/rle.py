# SPDX-License-Identifier: Apache-2.0
"""COCO's run-length code of a mask: runs down the columns, five bits a character.

The same strings as ``pycocotools.mask.encode`` gives, byte for byte (tested), without having to install it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FIRST = 48
"""Code of the character for 0."""


def encode(mask: NDArray[np.uint8] | NDArray[np.bool_]) -> str:
    """Mask [H, W], the part where it is not 0 -> COCO's ``counts``.

    Raises:
        ValueError: it has no two dimensions.
    """
    if mask.ndim != 2:
        raise ValueError(f"mask has the shape {mask.shape}, must be [H, W]")
    flat = np.asarray(mask != 0).ravel(order="F")
    ends = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    counts = np.diff(np.concatenate(([0], ends, [flat.size]))).tolist()
    if flat.size and flat[0]:
        # The first run is of what is not the part.
        counts.insert(0, 0)
    code = bytearray()
    for i, count in enumerate(counts):
        value = count - counts[i - 2] if i > 2 else count
        more = True
        while more:
            five, value = value & 31, value >> 5
            # The highest of the five bits says whether what follows is all ones or all zeros.
            more = value != -1 if five & 16 else value != 0
            code.append((five | 32 if more else five) + FIRST)
    return code.decode("ascii")


def decode(counts: str, height: int, width: int) -> NDArray[np.uint8]:
    """COCO's ``counts`` -> mask [H, W] uint8, 0 or 255.

    Raises:
        ValueError: the code is damaged, or of a picture of another size.
    """
    runs: list[int] = []
    value, shift = 0, 0
    for character in counts.encode("ascii", "replace"):
        part = character - FIRST
        if not 0 <= part < 64:
            raise ValueError(f"run-length code has {chr(character)!r}, must be of '0' to 'o'")
        value |= (part & 31) << shift
        shift += 5
        if not part & 32:
            if part & 16:
                value |= -1 << shift
            runs.append(value + runs[-2] if len(runs) > 2 else value)
            if not 0 <= runs[-1] <= height * width:
                raise ValueError(f"run-length code has a run of {runs[-1]} pixels, there are {height * width}")
            value, shift = 0, 0
    if shift or sum(runs) != height * width:
        raise ValueError(f"run-length code is of {sum(runs)} pixels, must be {height} x {width}")
    flat = np.repeat(np.arange(len(runs)) % 2, runs).astype(np.uint8) * np.uint8(255)
    return np.ascontiguousarray(flat.reshape(width, height).T)
