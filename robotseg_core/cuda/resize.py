# SPDX-License-Identifier: Apache-2.0
"""Camera frames resized on the device to the bytes that Pillow gives.

Pillow takes milliseconds to enlarge a frame to 1024 x 1024 on one core, and the normalised frame is fourteen times the
bytes of a 640 x 480 one.  The bicubic filter here gives Pillow's bytes exactly: the same whole-number weights, summed
in whole numbers, rounded between the two passes.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BITS = 22
"""Fraction bits of Pillow's weights for 8-bit images: 32 - 8 - 2."""
SUPPORT, A = 2.0, -0.5
"""Half width of the bicubic filter, and its parameter."""


def _bicubic(x: float) -> float:
    x = abs(x)
    if x < 1:
        return ((A + 2) * x - (A + 3)) * x * x + 1
    return (((x - 5) * x + 8) * x - 4) * A if x < 2 else 0.0


def weights(source: int, target: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """For each of ``target`` pixels of a line of ``source``: where its taps lie and their weights, [target, taps]."""
    scale = source / target
    stretch = max(scale, 1.0)
    support = SUPPORT * stretch
    taps = math.ceil(support) * 2 + 1
    where, share = np.zeros((target, taps), np.int64), np.zeros((target, taps), np.int32)
    for i in range(target):
        centre = (i + 0.5) * scale
        first, last = max(0, int(centre - support + 0.5)), min(source, int(centre + support + 0.5))
        raw = [_bicubic((x - centre + 0.5) / stretch) for x in range(first, last)]
        total = sum(raw)
        for tap, value in enumerate(raw):
            part = value / total * (1 << BITS)
            where[i, tap], share[i, tap] = first + tap, int(part - 0.5 if part < 0 else part + 0.5)
    return where, share


@functools.lru_cache(32)
def _taps(source: int, target: int, device: torch.device) -> tuple[tuple[Tensor, Tensor], ...]:
    """The same on a device, tap by tap: positions [target], weights [target]."""
    where, share = weights(source, target)
    with torch.inference_mode(False):
        used = [tap for tap in range(where.shape[1]) if share[:, tap].any()]
        return tuple(
            (torch.from_numpy(where[:, tap].copy()).to(device), torch.from_numpy(share[:, tap].copy()).to(device))
            for tap in used
        )


def _along(x: Tensor, axis: int, target: int) -> Tensor:
    """One pass of the filter over ``axis`` of int32 ``x``; rounded and clipped to bytes."""
    if x.shape[axis] == target:
        return x
    shape = [1] * x.dim()
    shape[axis] = target
    out = None
    for where, share in _taps(x.shape[axis], target, x.device):
        part = x.index_select(axis, where) * share.view(shape)
        out = part + (1 << (BITS - 1)) if out is None else out.add_(part)
    assert out is not None
    return (out >> BITS).clamp_(0, 255)


def resize_exactly(frame: Tensor, size: int) -> Tensor:
    """uint8 [H, W, 3] -> uint8 [size, size, 3] on the same device, the bytes that Pillow's bicubic filter gives."""
    if frame.shape[:2] == (size, size):
        return frame
    return _along(_along(frame.int(), 1, size), 0, size).to(torch.uint8)
