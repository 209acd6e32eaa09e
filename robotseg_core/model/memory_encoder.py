# SPDX-License-Identifier: Apache-2.0
"""Memory encoder: a frame's features and its mask -> memory features (SPEC 7.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robotseg_core.config import ModelConfig
from robotseg_core.model.attention import LayerNorm2d, linear

MASK_SCALE, MASK_BIAS = 20.0, -10.0


class MaskDownsampler(nn.Module):
    """Mask [B, 1, s, s] -> [B, d, g, g]: four convolutions and a 1x1.

    Those of stride 2 halve the map, all four at s = S; the first ones do not where the mask is read smaller than the
    image (``memory_mask_stride``).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before, halved = 1, config.memory_mask_stride
        for channels in config.mask_channels:
            layers += [nn.Conv2d(before, channels, 3, 1 if halved > 1 else 2, 1), LayerNorm2d(channels), nn.GELU()]
            before, halved = channels, halved // 2
        self.encoder = nn.Sequential(*layers, nn.Conv2d(before, config.d_model, 1))

    def forward(self, mask: Tensor) -> Tensor:
        """Mask [B, 1, s, s], scaled and biased -> [B, d, g, g]."""
        out: Tensor = self.encoder(mask)
        return out


class FuserBlock(nn.Module):
    """ConvNeXt block: depthwise 7x7, norm, widen, GELU, narrow, scale, add."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(width, width, kernel, padding=kernel // 2, groups=width)
        self.norm = LayerNorm2d(width)
        self.pwconv1 = nn.Linear(width, 4 * width)
        self.pwconv2 = nn.Linear(4 * width, width)
        # SAM 2 starts this scale at 1e-6; a trained checkpoint overwrites it.
        self.gamma = nn.Parameter(torch.full((width,), 1e-1))

    def forward(self, v: Tensor) -> Tensor:
        """Apply to [B, d, g, g]."""
        x = self.norm(self.dwconv(v)).permute(0, 2, 3, 1)
        x = self.gamma * linear(self.pwconv2, F.gelu(linear(self.pwconv1, x)))
        return v + x.permute(0, 3, 1, 2)


class Fuser(nn.Module):
    """Blocks one after the other; keys ``layers.N``."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(FuserBlock(config.d_model, config.fuser_kernel) for _ in range(config.fuser_layers))

    def forward(self, v: Tensor) -> Tensor:
        """Apply to [B, d, g, g]."""
        for layer in self.layers:
            v = layer(v)
        return v


class MemoryEncoder(nn.Module):
    """F16 and mask -> [B, N, m] memory tokens, before the absent-object term."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.mask_downsampler = MaskDownsampler(config)
        self.pix_feat_proj = nn.Conv2d(config.d_model, config.d_model, 1)
        self.fuser = Fuser(config)
        self.out_proj = nn.Conv2d(config.d_model, config.mem_dim, 1)

    def forward(self, f16: Tensor, mask: Tensor) -> Tensor:
        """f16 [1 or B, d, g, g] raw features, mask [B, 1, s, s] in [0, 1] -> [B, N, m]."""
        v = self.pix_feat_proj(f16) + self.mask_downsampler(mask * MASK_SCALE + MASK_BIAS)
        out: Tensor = self.out_proj(self.fuser(v))
        return out.flatten(2).transpose(1, 2)
