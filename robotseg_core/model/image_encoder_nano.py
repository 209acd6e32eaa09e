# SPDX-License-Identifier: Apache-2.0
"""Image encoder of nano: the trunk of EfficientNet-Lite2 and a top-down neck.

It stands where Hiera and its neck stand in the base model (SPEC 2) and gives the same three maps.  The trunk is chosen
for two reasons: it is fast on CPUs (no squeeze-and-excitation, ReLU6), and weights learned from photographs exist for
it under Apache-2.0, so that training starts from real pictures though our own are rendered
(:mod:`robotseg_core.train.pretrained`).  Its normalisation layers are folded into the convolutions there, which then
learn on without them: nothing depends on the statistics of a batch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robotseg_core.config import ConvConfig, ConvStage


def conv_bn(in_channels: int, out_channels: int, *, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution without bias and BatchNorm."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(out_channels)
    )


def pad_same(x: Tensor, kernel: int) -> Tensor:
    """Zeros around [B, C, H, W] for a convolution of stride 2 as the trunk learned it: one more below and right."""
    before, after = (kernel - 2) // 2, (kernel - 1) // 2
    return F.pad(x, (before, after, before, after))


class InvertedResidual(nn.Module):
    """1x1 to ``expand`` times the channels, depthwise kernel x kernel, 1x1 back (MobileNetV2), ReLU6 between."""

    def __init__(self, in_channels: int, out_channels: int, *, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        width = in_channels * expand
        self.kernel, self.stride = kernel, stride
        self.expand = nn.Conv2d(in_channels, width, 1) if expand > 1 else None
        self.depthwise = nn.Conv2d(width, width, kernel, stride, 0 if stride == 2 else kernel // 2, groups=width)
        self.project = nn.Conv2d(width, out_channels, 1)
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """[B, in, H, W] -> [B, out, H / stride, W / stride]."""
        y = x if self.expand is None else F.relu6(self.expand(x))
        if self.stride == 2:
            y = pad_same(y, self.kernel)
        y = self.project(F.relu6(self.depthwise(y)))
        return x + y if self.residual else y


class ConvTrunk(nn.Module):
    """Image [B, 3, S, S] -> maps at strides 4, 8, 16, 32 (the last stage at each)."""

    def __init__(self, config: ConvConfig) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, config.stem, 3, 2)
        channels = config.stem
        stages = []
        for stage in config.stages:
            stages.append(self._stage(channels, stage))
            channels = stage.channels
        self.stages = nn.ModuleList(stages)
        self.outputs = config.outputs
        # Without normalisation layers the scale of the maps is the initialisation's.
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    @staticmethod
    def _stage(in_channels: int, stage: ConvStage) -> nn.Sequential:
        blocks = []
        for i in range(stage.blocks):
            source, stride = (in_channels, stage.stride) if i == 0 else (stage.channels, 1)
            blocks.append(
                InvertedResidual(source, stage.channels, kernel=stage.kernel, stride=stride, expand=stage.expand)
            )
        return nn.Sequential(*blocks)

    def forward(self, x: Tensor, frozen: int = 0) -> list[Tensor]:
        """Image [B, 3, S, S] -> four maps, finest first.

        No gradient is kept for the stem and the first ``frozen`` stages, if any: what photographs taught them stays.
        """
        maps = []
        with torch.set_grad_enabled(torch.is_grad_enabled() and frozen == 0):
            x = F.relu6(self.stem(pad_same(x, 3)))
        for i, stage in enumerate(self.stages):
            with torch.set_grad_enabled(torch.is_grad_enabled() and i >= frozen):
                x = stage(x)
            if i in self.outputs:
                maps.append(x)
        return maps


class ResidualBlock(nn.Module):
    """``relu(x + conv(relu(conv(x))))``, both 3x3."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = conv_bn(channels, channels)
        self.conv2 = conv_bn(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Apply to [B, channels, H, W]."""
        return F.relu(x + self.conv2(F.relu(self.conv1(x))))


class ConvNeck(nn.Module):
    """Trunk maps -> F4, F8, F16 with a top-down path through all levels."""

    def __init__(self, config: ConvConfig, fpn_channels: tuple[int, int, int]) -> None:
        super().__init__()
        c4, c8, c16 = fpn_channels
        w4, w8, w16, w32 = config.widths
        # The whole image as one vector: a far context that the trunk's convolutions reach only slowly.
        self.context = nn.Linear(w32, w32)
        self.lateral = nn.ModuleList(
            nn.Conv2d(width, channels, 1) for width, channels in ((w4, c4), (w8, c8), (w16, c16))
        )
        self.top_down = nn.ModuleList(
            nn.Conv2d(above, channels, 1) for above, channels in ((c8, c4), (c16, c8), (w32, c16))
        )
        self.refine = ResidualBlock(c16)
        self.smooth = nn.ModuleList(conv_bn(channels, channels) for channels in (c4, c8, c16))

    def forward(self, maps: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Maps at strides 4, 8, 16, 32 -> (F4, F8, F16)."""
        above = maps[3] + self.context(maps[3].mean(dim=(2, 3)))[:, :, None, None]
        out: list[Tensor] = []
        for level in (2, 1, 0):
            # 1x1 before the enlargement: the same result at a quarter of the cost.
            up = F.interpolate(self.top_down[level](above), scale_factor=2.0, mode="nearest")
            mixed = F.relu(self.lateral[level](maps[level]) + up)
            above = self.smooth[level](self.refine(mixed) if level == 2 else mixed)
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

    def forward(self, image: Tensor, frozen: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        """Normalised image [B, 3, S, S] -> (F4, F8, F16); ``frozen`` as in :class:`ConvTrunk`."""
        f4, f8, f16 = self.neck(self.trunk(image, frozen))
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
