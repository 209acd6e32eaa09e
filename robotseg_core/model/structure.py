# SPDX-License-Identifier: Apache-2.0
"""Structure branch of SEMA: edge strength, multi-scale pyramid, gate (SPEC 5.3)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robotseg_core.config import ModelConfig
from robotseg_core.model.positions import channel_constants

IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)
LUMA = (0.299, 0.587, 0.114)


def _gradient(gray: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """5x5 Gaussian blur (sigma 1, reflected border), then 3x3 Sobel (replicated border) -> gx, gy, magnitude."""
    x = torch.arange(-2, 3, dtype=gray.dtype, device=gray.device)
    kernel = torch.exp(-x.square() / 2)
    kernel = kernel / kernel.sum()
    padded = F.pad(gray, (2, 2, 2, 2), mode="reflect")
    blurred = F.conv2d(F.conv2d(padded, kernel.view(1, 1, 1, 5)), kernel.view(1, 1, 5, 1))
    # Sobel as differences of slices: exact, and no 3x3 convolution over the whole image.
    p = F.pad(blurred, (1, 1, 1, 1), mode="replicate")
    across = p[..., 2:] - p[..., :-2]
    gx = across[..., :-2, :] + 2 * across[..., 1:-1, :] + across[..., 2:, :]
    down = p[..., 2:, :] - p[..., :-2, :]
    gy = down[..., :-2] + 2 * down[..., 1:-1] + down[..., 2:]
    return gx, gy, torch.sqrt(gx.square() + gy.square() + 1e-6)


def _thin(gx: Tensor, gy: Tensor, magnitude: Tensor) -> Tensor:
    """Non-maximum suppression along the gradient direction in steps of 45 degrees (SPEC 5.3)."""
    direction = torch.round(torch.atan2(gy, gx) * (4 / math.pi)).long() % 8
    height, width = magnitude.shape[-2:]
    padded = F.pad(magnitude, (1, 1, 1, 1))
    # Offsets (dy, dx) of the neighbour in directions 0..3; the opposite one is its mirror image.
    keep = torch.zeros_like(magnitude, dtype=torch.bool)
    for k, (dy, dx) in enumerate(((0, 1), (1, 1), (1, 0), (1, -1))):
        ahead = padded[..., 1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]
        behind = padded[..., 1 - dy : 1 - dy + height, 1 - dx : 1 - dx + width]
        keep |= (direction % 4 == k) & (magnitude > ahead) & (magnitude > behind)
    return torch.where(keep, magnitude, torch.zeros_like(magnitude))


def centre_sample(x: Tensor, stride: int = 16) -> Tensor:
    """Bilinear reduction by ``stride`` without antialias: the mean of the four central pixels of each cell."""
    a = stride // 2 - 1
    left, right = x[..., a::stride], x[..., a + 1 :: stride]
    across = left + right
    return (across[..., a::stride, :] + across[..., a + 1 :: stride, :]) / 4


def reference_edges(image: Tensor) -> Tensor:
    """Edge strength as the reference computes it, practically zero on daylight frames (SPEC 5.3).

    Args:
        image: [B, 3, S, S] ImageNet-normalised.

    Returns:
        [B, 1, g, g] in [0, 1].
    """
    # A tensor, not an `if`: the frame's way has no host synchronisation.
    scale = torch.where(image.max() > 1.5, 1 / 255, 1.0).to(image.dtype)
    weight = channel_constants(LUMA, image.dtype, image.device)
    gray = ((image * scale) * weight).sum(1, keepdim=True).clamp(0, 1)
    thin = _thin(*_gradient(gray)).clamp(0, 1)
    return centre_sample(thin)


def real_edges(image: Tensor) -> Tensor:
    """Edge strength of the picture itself: the strongest clamped gradient of each cell, [B, 1, g, g] in [0, 1]."""
    mean, std, weight = (
        channel_constants(values, image.dtype, image.device) for values in (IMAGE_MEAN, IMAGE_STD, LUMA)
    )
    gray = ((image * std + mean) * weight).sum(1, keepdim=True).clamp(0, 1)
    _, _, magnitude = _gradient(gray)
    return F.max_pool2d(magnitude.clamp(max=1), 16)


class PyramidConv(nn.Module):
    """Depthwise k x k, GELU, 1x1, GroupNorm, GELU."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.dw = nn.Conv2d(width, width, kernel, padding=kernel // 2, groups=width, bias=False)
        self.pw = nn.Conv2d(width, width, 1)
        self.norm = nn.GroupNorm(32, width)

    def forward(self, x: Tensor) -> Tensor:
        """Apply to [B, d, g, g]."""
        return F.gelu(self.norm(self.pw(F.gelu(self.dw(x)))))


class MultiScalePyramid(nn.Module):
    """Three receptive fields side by side, fused by 1x1 and GELU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv3 = PyramidConv(width, 3)
        self.conv5 = PyramidConv(width, 5)
        self.conv7 = PyramidConv(width, 7)
        self.fuse = nn.Conv2d(3 * width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Apply to [B, d, g, g]."""
        return F.gelu(self.fuse(torch.cat([self.conv3(x), self.conv5(x), self.conv7(x)], 1)))


def structure_gate(logits: Tensor) -> Tensor:
    """Gate of SPEC 5.3 e in closed form at the grid: [B, 1, g, g] logits -> [B, 1, g, g].

    Equal to sigmoid of the logits enlarged 16 times, reduced 16 times without antialias: the four central pixels
    of a cell lie 1/32 of a cell off its centre.
    """
    p = F.pad(logits, (1, 1, 1, 1), mode="replicate")
    total = torch.zeros_like(logits)
    for dy in (-1, 1):
        near = p[..., 1:-1, :] * (31 / 32) + (p[..., :-2, :] if dy < 0 else p[..., 2:, :]) / 32
        for dx in (-1, 1):
            total = total + (near[..., 1:-1] * (31 / 32) + (near[..., :-2] if dx < 0 else near[..., 2:]) / 32).sigmoid()
    return total / 4


def edges(image: Tensor, config: ModelConfig) -> Tensor:
    """Edge strength of a normalised image for this model: [B, 3, S, S] -> [B, 1, g, g]."""
    return real_edges(image) if config.real_edges else reference_edges(image)
