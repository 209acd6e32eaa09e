# SPDX-License-Identifier: Apache-2.0
"""Image encoder of nano: plain residual 3x3 convolutions and a top-down neck.

It stands where Hiera and its neck stand in the base model (SPEC 2) and gives the same three maps.  Plain 3x3
convolutions with BatchNorm (folded at export) are what CPUs run best: depthwise ones are bound by memory.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robotseg_core.config import ConvConfig


def conv_bn(in_channels: int, out_channels: int, *, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution without bias and BatchNorm."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(out_channels)
    )


class ResidualBlock(nn.Module):
    """``relu(x + conv(relu(conv(x))))``, both 3x3."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = conv_bn(channels, channels)
        self.conv2 = conv_bn(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Apply to [B, channels, H, W]."""
        return F.relu(x + self.conv2(F.relu(self.conv1(x))))


class ConvTrunk(nn.Module):
    """Image [B, 3, S, S] -> maps at strides 4, 8, 16, 32."""

    def __init__(self, config: ConvConfig) -> None:
        super().__init__()
        self.stem = conv_bn(3, config.stem, stride=2)
        channels = (config.stem, *config.widths)
        self.down = nn.ModuleList(conv_bn(channels[i], channels[i + 1], stride=2) for i in range(len(config.widths)))
        self.stages = nn.ModuleList(
            nn.Sequential(*(ResidualBlock(width) for _ in range(depth)))
            for width, depth in zip(config.widths, config.depths, strict=True)
        )
        # The whole image as one vector: a far context that 3x3 convolutions reach only slowly.
        self.context = nn.Linear(config.widths[-1], config.widths[-1])

    def forward(self, x: Tensor) -> list[Tensor]:
        """Image [B, 3, S, S] -> four maps, finest first."""
        x = F.relu(self.stem(x))
        maps = []
        for down, stage in zip(self.down, self.stages, strict=True):
            x = stage(F.relu(down(x)))
            maps.append(x)
        maps[-1] = x + self.context(x.mean(dim=(2, 3)))[:, :, None, None]
        return maps


class ConvNeck(nn.Module):
    """Trunk maps -> F4, F8, F16 with a top-down path through all levels."""

    def __init__(self, config: ConvConfig, fpn_channels: tuple[int, int, int]) -> None:
        super().__init__()
        c4, c8, c16 = fpn_channels
        w4, w8, w16, w32 = config.widths
        self.lateral = nn.ModuleList(
            nn.Conv2d(width, channels, 1) for width, channels in ((w4, c4), (w8, c8), (w16, c16))
        )
        self.top_down = nn.ModuleList(
            nn.Conv2d(above, channels, 1) for above, channels in ((c8, c4), (c16, c8), (w32, c16))
        )
        self.smooth = nn.ModuleList(conv_bn(channels, channels) for channels in (c4, c8, c16))

    def forward(self, maps: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Maps at strides 4, 8, 16, 32 -> (F4, F8, F16)."""
        above = maps[3]
        out: list[Tensor] = []
        for level in (2, 1, 0):
            # 1x1 before the enlargement: the same result at a quarter of the cost.
            up = F.interpolate(self.top_down[level](above), scale_factor=2.0, mode="nearest")
            above = self.smooth[level](F.relu(self.lateral[level](maps[level]) + up))
            out.append(above)
            above = F.relu(above)
        f16, f8, f4 = out
        return f4, f8, f16


class ConvEncoder(nn.Module):
    """[B, 3, S, S] float (ImageNet-normalised) -> (F4, F8, F16): the interface of :class:`HieraEncoder`."""

    def __init__(self, config: ConvConfig, fpn_channels: tuple[int, int, int]) -> None:
        super().__init__()
        self.trunk = ConvTrunk(config)
        self.neck = ConvNeck(config, fpn_channels)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Normalised image [B, 3, S, S] -> (F4, F8, F16)."""
        f4, f8, f16 = self.neck(self.trunk(image))
        return f4, f8, f16


def fold_batch_norm(module: nn.Module) -> nn.Module:
    """Fold every Conv2d + BatchNorm2d pair of ``conv_bn`` into one convolution, in place; for inference only."""
    for name, child in module.named_children():
        if (
            isinstance(child, nn.Sequential)
            and len(child) == 2
            and isinstance(child[0], nn.Conv2d)
            and isinstance(child[1], nn.BatchNorm2d)
        ):
            fused = torch.nn.utils.fusion.fuse_conv_bn_eval(child[0].eval(), child[1].eval())
            setattr(module, name, fused)
        else:
            fold_batch_norm(child)
    return module
