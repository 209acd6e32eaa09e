# SPDX-License-Identifier: Apache-2.0
"""Position and time codes without parameters (SPEC 2.4, 7.2)."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor


@functools.lru_cache(64)
def channel_constants(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """One number a channel, [1, C, 1, 1]: copied to the device once, for a copy waits for it."""
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype, device=device).view(1, -1, 1, 1)


def sine_position_map(grid: int, width: int) -> Tensor:
    """Sine code of a square map -> [grid * grid, width]; channels [y values, x values] (SPEC 2.4)."""
    half = width // 2
    frequency = 10000.0 ** (2 * (torch.arange(half) // 2).float() / half)
    p = torch.arange(1, grid + 1, dtype=torch.float32) / (grid + 1e-6) * 2 * math.pi
    angle = p[:, None] / frequency
    code = torch.stack([angle[:, 0::2].sin(), angle[:, 1::2].cos()], -1).flatten(1)
    y = code[:, None].expand(grid, grid, half)
    x = code[None].expand(grid, grid, half)
    return torch.cat([y, x], -1).flatten(0, 1)


def sine_time_code(offset: Tensor, width: int) -> Tensor:
    """Time code of pointers: u [...] -> [..., width], all sines, then all cosines (SPEC 7.2, item 5)."""
    half = width // 2
    frequency = 10000.0 ** (2 * (torch.arange(half, device=offset.device) // 2).float() / half)
    angle = offset[..., None] / frequency
    return torch.cat([angle.sin(), angle.cos()], -1)
