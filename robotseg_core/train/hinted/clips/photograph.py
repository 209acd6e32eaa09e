# SPDX-License-Identifier: Apache-2.0
"""What a camera does to a composed frame: light, colour, blur, noise, compression; and frames that show hardly a thing.

Everything happens on the device for all frames at once.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from robotseg_core.train.hinted.clips.compose import to_device
from robotseg_core.train.hinted.clips.draw import TONES, Clips, Program

KERNEL = 9
"""Side of a blur's kernel, pixels."""


def _on(switch: Tensor, i: int, share: float) -> Tensor:
    """Which frames have effect number ``i``, [N, 1, 1, 1]."""
    return (switch[:, i] < share)[:, None, None, None]


def tone_curve(x: Tensor, tone: Tensor, switch: Tensor) -> Tensor:
    """Light and colour: x [N, 3, S, S] in 0 to 1, tone and switch [N, TONES]."""

    def number(i: int, scale: float) -> Tensor:
        return (tone[:, i] * scale).clamp(-2.5 * scale, 2.5 * scale).exp()[:, None, None, None]

    cast = (tone[:, 3:6] * 0.1).exp()[:, :, None, None]
    x = x.clamp(1e-4, 1) ** number(0, 0.25)
    mean = x.mean((1, 2, 3), keepdim=True)
    x = (x - mean) * number(1, 0.22) + mean
    x = x * number(2, 0.25) * cast
    gray = x.mean(1, keepdim=True)
    saturation = torch.where(_on(switch, 6, 0.1), 0.0, number(6, 0.35))
    return gray + (x - gray) * saturation


def blur_kernels(tone: Tensor, largest: float) -> Tensor:
    """Gaussian kernels of any direction [N, KERNEL, KERNEL]: defocus, and motion where they are long."""
    line = torch.arange(KERNEL, device=tone.device) - KERNEL // 2
    y, x = torch.meshgrid(line, line, indexing="ij")
    angle = tone[:, 7, None, None] * math.pi
    along = x * angle.cos() + y * angle.sin()
    across = y * angle.cos() - x * angle.sin()
    wide = (0.4 + largest * torch.sigmoid(tone[:, 8]))[:, None, None]
    narrow = (wide * torch.sigmoid(2 * tone[:, 9])[:, None, None]).clamp(min=0.3)
    kernel = torch.exp(-0.5 * ((along / wide) ** 2 + (across / narrow) ** 2))
    return kernel / kernel.sum((1, 2), keepdim=True)


def blurred(x: Tensor, kernels: Tensor) -> Tensor:
    """Each picture by its own kernel: x [N, C, S, S], kernels [N, K, K]."""
    count, channels = x.shape[:2]
    flat = x.reshape(1, count * channels, *x.shape[2:])
    weight = kernels.repeat_interleave(channels, 0)[:, None]
    pad = KERNEL // 2
    return F.conv2d(F.pad(flat, (pad,) * 4, mode="reflect"), weight, groups=count * channels).view_as(x)


def dct_matrix(device: torch.device) -> Tensor:
    """The 8-point cosine transform of JPEG, [8, 8]."""
    k = torch.arange(8, device=device)
    matrix = torch.cos((2 * k[None] + 1) * k[:, None] * (math.pi / 16)) * 0.5
    return torch.where((k == 0)[:, None], matrix / math.sqrt(2), matrix)


def compressed(x: Tensor, strength: Tensor) -> Tensor:
    """Blocks of 8 x 8 with rounded frequencies, as JPEG leaves them: x [N, 3, S, S], strength [N] about 0.02 to 0.2."""
    matrix = dct_matrix(x.device)
    count, channels, side, _ = x.shape
    blocks = x.view(count, channels, side // 8, 8, side // 8, 8).transpose(3, 4)
    k = torch.arange(8, device=x.device)
    step = strength[:, None, None] * (1 + 0.6 * (k[:, None] + k[None]))
    step = step[:, None, None, None]
    found = torch.round(matrix @ blocks @ matrix.T / step) * step
    return (matrix.T @ found @ matrix).transpose(3, 4).reshape(x.shape)


def photograph(images: Tensor, clips: Clips, what: Program, generator: torch.Generator | None) -> Tensor:
    """Composed frames [B * T, 3, S, S] in 0 to 1 -> as a camera sees them, 0 to 1; ``generator`` is of the noise."""
    device, size = images.device, what.size
    tone, switch = to_device(clips.tone, device).flatten(0, 1).split(TONES, 1)
    bad = to_device(clips.bad, device).flatten()[:, None, None, None]
    jpeg, blur = to_device(clips.jpeg, device), to_device(clips.blur, device)
    x = tone_curve(images, tone, switch).clamp(0, 1)
    if len(blur):
        x = x.index_copy(0, blur, blurred(x[blur], blur_kernels(tone[blur], 2.5 * size / 448)))
    # Coarse sensors; and frames in which hardly anything can be made out.
    low = F.interpolate(F.avg_pool2d(x, 2), (size, size), mode="bilinear")
    x = torch.where(_on(switch, 10, 0.12), low, x)
    smeared = F.interpolate(F.avg_pool2d(x, what.coarse), (size, size), mode="bilinear")
    x = torch.where(bad == 2, smeared, x)
    dim = torch.where(_on(switch, 11, 0.05), 0.25, 1.0) * torch.where(bad == 1, 0.04, 1.0)
    x = x * dim
    noise = torch.randn(x.shape, device=device, generator=generator)
    amount = torch.where(_on(switch, 12, 0.3), 0.05 * torch.sigmoid(tone[:, 12])[:, None, None, None], 0.004)
    x = (x + noise * (amount + torch.where(bad == 1, 0.015, 0.0))).clamp(0, 1)
    if len(jpeg):
        strength = 0.02 + 0.12 * torch.sigmoid(2 * tone[jpeg, 13] - 0.5)
        x = x.index_copy(0, jpeg, compressed(x[jpeg], strength))
    return torch.round(x.clamp(0, 1) * 255) / 255
