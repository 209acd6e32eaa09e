# SPDX-License-Identifier: Apache-2.0
"""Image encoder of the base model: the Hiera-tiny trunk and its neck (SPEC 2; Hiera: Ryali et al. 2023).

Works at every image size that is a multiple of 32; the official weights were trained at 1024.
Tokens stay channels-last ([B, H, W, C]) inside the trunk.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robotseg_core.config import HieraConfig

MLP_RATIO = 4
PATCH_STRIDE = 4
MAX_DROP_PATH = 0.1
"""Stochastic depth of the last block in training; it rises linearly from 0 at the first one."""


def to_windows(x: Tensor, window: int) -> Tensor:
    """[B, H, W, C] -> [B * windows, window, window, C]; zeros fill up to a multiple at the bottom and the right."""
    # Plain numbers, here and below: an exported graph has no arithmetic on shapes then.
    height, width, channels = (int(n) for n in x.shape[1:])
    if height % window or width % window:
        x = F.pad(x, (0, 0, 0, -width % window, 0, -height % window))
    rows, columns = -(-height // window), -(-width // window)
    x = x.reshape(-1, rows, window, columns, window, channels)
    return x.transpose(2, 3).reshape(-1, window, window, channels)


def from_windows(x: Tensor, height: int, width: int) -> Tensor:
    """Inverse of :func:`to_windows`; the padding is cropped."""
    window, channels = int(x.shape[1]), int(x.shape[3])
    rows, columns = -(-height // window), -(-width // window)
    x = x.reshape(-1, rows, columns, window, window, channels).transpose(2, 3)
    return x.reshape(-1, rows * window, columns * window, channels)[:, :height, :width]


def max_pool(x: Tensor) -> Tensor:
    """2x2 maximum of a channels-last map."""
    return F.max_pool2d(x.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)


class WindowAttention(nn.Module):
    """Multi-head attention inside each window; where the width grows, queries are pooled 2x2."""

    def __init__(self, *, dim: int, dim_out: int, heads: int, pool: bool) -> None:
        super().__init__()
        self.heads = heads
        self.pool = pool
        # The default, but a constant also in a graph that takes any number of frames.
        self.scale = (dim_out // heads) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim_out)
        self.proj = nn.Linear(dim_out, dim_out)

    def _split(self, x: Tensor) -> Tensor:
        height, width, channels = (int(n) for n in x.shape[1:])
        return x.reshape(-1, height * width, self.heads, channels // self.heads).transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        """[windows, w, w, dim] -> [windows, w or w / 2, same, dim_out].

        Padding is not masked: padded tokens are keys and values equal to the bias of ``qkv``, as in the reference.
        """
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        if self.pool:
            q = max_pool(q)
        out = F.scaled_dot_product_attention(self._split(q), self._split(k), self._split(v), scale=self.scale)
        height, width, channels = (int(n) for n in q.shape[1:])
        projected: Tensor = self.proj(out.transpose(1, 2).reshape(-1, height, width, channels))
        return projected


class BlockMLP(nn.Module):
    """Two linear layers with GELU; keys ``layers.0``, ``layers.1``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(width, MLP_RATIO * width), nn.Linear(MLP_RATIO * width, width)])

    def forward(self, x: Tensor) -> Tensor:
        """[..., width] -> the same shape."""
        out: Tensor = self.layers[1](F.gelu(self.layers[0](x)))
        return out


class HieraBlock(nn.Module):
    """Pre-norm transformer block; one that widens also halves the map."""

    def __init__(self, *, dim: int, dim_out: int, heads: int, window: int, drop_path: float) -> None:
        super().__init__()
        self.window = window
        self.drop_path = drop_path
        widens = dim != dim_out
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = WindowAttention(dim=dim, dim_out=dim_out, heads=heads, pool=widens)
        self.norm2 = nn.LayerNorm(dim_out, eps=1e-6)
        self.mlp = BlockMLP(dim_out)
        self.proj = nn.Linear(dim, dim_out) if widens else None

    def _drop(self, x: Tensor) -> Tensor:
        if not self.training or self.drop_path == 0:
            return x
        keep = 1 - self.drop_path
        return x * x.new_empty(x.shape[0], 1, 1, 1).bernoulli_(keep) / keep

    def forward(self, x: Tensor) -> Tensor:
        """[B, H, W, dim] -> [B, H, W, dim] or [B, H / 2, W / 2, dim_out]."""
        h = self.norm1(x)
        # The shortcut's projection sees the *normalised* tokens (SPEC 2.1).
        shortcut = x if self.proj is None else max_pool(self.proj(h))
        attended = self.attn(to_windows(h, self.window) if self.window else h)
        if self.window:
            attended = from_windows(attended, int(shortcut.shape[1]), int(shortcut.shape[2]))
        x = shortcut + self._drop(attended)
        return x + self._drop(self.mlp(self.norm2(x)))


class PatchEmbed(nn.Module):
    """Overlapping 7x7 patches at stride 4: image -> channels-last tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, kernel_size=7, stride=PATCH_STRIDE, padding=3)

    def forward(self, image: Tensor) -> Tensor:
        """[B, 3, S, S] -> [B, S / 4, S / 4, width]."""
        tokens: Tensor = self.proj(image)
        return tokens.permute(0, 2, 3, 1)


def _forget_positions(trunk: nn.Module, _: object) -> None:
    assert isinstance(trunk, HieraTrunk)
    trunk._positions.clear()


class HieraTrunk(nn.Module):
    """Image [B, 3, S, S] -> maps [B, C, H, W] at strides 4, 8, 16, 32."""

    def __init__(self, config: HieraConfig) -> None:
        super().__init__()
        width, heads = config.embed_dim, config.num_heads
        self.patch_embed = PatchEmbed(width)
        self.pos_embed = nn.Parameter(torch.zeros(1, width, config.pos_embed_size, config.pos_embed_size))
        self.pos_embed_window = nn.Parameter(torch.zeros(1, width, config.windows[0], config.windows[0]))
        depth = sum(config.stages)
        blocks: list[nn.Module] = []
        self.stage_ends: list[int] = []
        for stage, (count, window) in enumerate(zip(config.stages, config.windows, strict=True)):
            for block in range(count):
                i = len(blocks)
                widens = stage > 0 and block == 0
                # The block that halves the map still works in the windows of the stage before.
                size = config.windows[stage - 1] if widens else window
                dim = width
                if widens:
                    width, heads = 2 * width, 2 * heads
                blocks.append(
                    HieraBlock(
                        dim=dim,
                        dim_out=width,
                        heads=heads,
                        window=0 if i in config.global_blocks else size,
                        drop_path=MAX_DROP_PATH * i / (depth - 1),
                    )
                )
            self.stage_ends.append(len(blocks) - 1)
        self.blocks = nn.ModuleList(blocks)
        self._positions: dict[tuple[int, int, torch.device, torch.dtype], Tensor] = {}
        self.register_load_state_dict_post_hook(_forget_positions)

    def train(self, mode: bool = True) -> HieraTrunk:
        """Also forgets cached position codes: training changes what they are made of."""
        self._positions.clear()
        super().train(mode)
        return self

    def _position(self, height: int, width: int) -> Tensor:
        """Position code [1, H, W, C]: the coarse table enlarged plus the window's table repeated."""
        coarse = F.interpolate(self.pos_embed, (height, width), mode="bicubic")
        side = self.pos_embed_window.shape[-1]
        fine = self.pos_embed_window.repeat(1, 1, height // side, width // side)
        return (coarse + fine).permute(0, 2, 3, 1)

    def position(self, height: int, width: int) -> Tensor:
        """Position code [1, H, W, C], computed once per size outside of training."""
        if self.training or (torch.is_grad_enabled() and self.pos_embed.requires_grad):
            return self._position(height, width)
        key = (height, width, self.pos_embed.device, self.pos_embed.dtype)
        if key not in self._positions:
            self._positions[key] = self._position(height, width).contiguous()
        return self._positions[key]

    def forward(self, image: Tensor) -> list[Tensor]:
        """[B, 3, S, S] -> four NCHW maps, finest first."""
        x = self.patch_embed(image)
        x = x + self.position(int(x.shape[1]), int(x.shape[2]))
        maps = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self.stage_ends:
                maps.append(x.permute(0, 3, 1, 2))
        return maps


class Lateral(nn.Module):
    """1x1 convolution; key ``conv``."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """NCHW in and out."""
        out: Tensor = self.conv(x)
        return out


class HieraNeck(nn.Module):
    """Trunk maps -> F4, F8, F16; only the stride-16 map has a top-down term (SPEC 2.2)."""

    def __init__(self, config: HieraConfig, fpn_channels: tuple[int, int, int]) -> None:
        super().__init__()
        c4, c8, c16 = fpn_channels
        w4, w8, w16, w32 = (config.embed_dim * 2**stage for stage in range(4))
        self.convs = nn.ModuleList([Lateral(w32, c16), Lateral(w16, c16), Lateral(w8, c8), Lateral(w4, c4)])

    def forward(self, maps: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Four NCHW maps, finest first -> (F4, F8, F16)."""
        x4, x8, x16, x32 = maps
        top, lateral16, lateral8, lateral4 = self.convs
        f16 = lateral16(x16) + F.interpolate(top(x32), scale_factor=2.0, mode="nearest")
        return lateral4(x4), lateral8(x8), f16


class HieraEncoder(nn.Module):
    """[B, 3, S, S] float (ImageNet-normalised), S a multiple of 32 -> (F4, F8, F16) (SPEC 2).

    Raises:
        ValueError: the image's sides are not multiples of 32.
    """

    def __init__(self, config: HieraConfig, fpn_channels: tuple[int, int, int]) -> None:
        super().__init__()
        self.trunk = HieraTrunk(config)
        self.neck = HieraNeck(config, fpn_channels)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See the class."""
        height, width = int(image.shape[2]), int(image.shape[3])
        if height % 32 or width % 32:
            raise ValueError(f"image is {width} x {height}, both must be multiples of 32")
        f4, f8, f16 = self.neck(self.trunk(image))
        return f4, f8, f16
