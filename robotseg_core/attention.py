# SPDX-License-Identifier: Apache-2.0
"""Attention of RobotSeg: the decoder's multi-head form and the memory's rotary form; small layers they share."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class MLP(nn.Module):
    """Linear layers with ReLU between them; keys ``layers.N``."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths[:-1], widths[1:], strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """Apply: [..., widths[0]] -> [..., widths[-1]]."""
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        out: Tensor = self.layers[-1](x)
        return out


class LayerNorm2d(nn.Module):
    """LayerNorm over the channels of [B, C, H, W], eps 1e-6 (SPEC, notation)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise [B, C, H, W] over C."""
        mean = x.mean(1, keepdim=True)
        var = (x - mean).square().mean(1, keepdim=True)
        x = (x - mean) * torch.rsqrt(var + 1e-6)
        return x * self.weight[:, None, None] + self.bias[:, None, None]


SCORES_AT_ONCE = 1 << 24
"""Attention scores held at once, numbers; longer products go in slices of queries."""


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """``softmax(q k^T / sqrt(width) + mask) v``: q [B, N, e], k [B, L, e], v [B, L, m] -> [B, N, m].

    Written out, because PyTorch's fused kernels want values as wide as keys, and its fallback holds all scores and
    looks for empty rows, which costs more than the products at these sizes.
    """
    q, k_t = q * q.shape[-1] ** -0.5, k.transpose(1, 2)
    rows = max(1, SCORES_AT_ONCE // (k.shape[0] * k.shape[1]))
    out = []
    for part in q.split(rows, 1):
        scores = torch.bmm(part, k_t)
        out.append(torch.bmm((scores if mask is None else scores + mask).softmax(-1).to(v.dtype), v))
    return torch.cat(out, 1) if len(out) > 1 else out[0]


class Attention(nn.Module):
    """Multi-head attention of the two-way transformer (SPEC 4.2): projections to ``d_internal`` and back."""

    def __init__(self, *, d_model: int, d_internal: int, heads: int) -> None:
        super().__init__()
        if d_internal % heads:
            raise ValueError(f"d_internal is {d_internal}, must be a multiple of heads {heads}")
        self.heads = heads
        self.q_proj = nn.Linear(d_model, d_internal)
        self.k_proj = nn.Linear(d_model, d_internal)
        self.v_proj = nn.Linear(d_model, d_internal)
        self.out_proj = nn.Linear(d_internal, d_model)

    def _split(self, x: Tensor) -> Tensor:
        """[B, n, d_internal] -> [B * heads, n, d_internal / heads]."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2).flatten(0, 1)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend: q [B, n, d], k and v [B, l, d] -> [B, n, d]; ``mask`` [B, 1, l] is added to the logits."""
        if mask is not None:
            mask = mask.repeat_interleave(self.heads, 0)
        out = attend(self._split(self.q_proj(q)), self._split(self.k_proj(k)), self._split(self.v_proj(v)), mask)
        out = out.unflatten(0, (-1, self.heads)).transpose(1, 2).flatten(2)
        projected: Tensor = self.out_proj(out)
        return projected


def rope_table(grid: int, width: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the axial rotary code, each [grid * grid, width / 2] (SPEC 5.2).

    Channels 0..width/4-1 turn with x, the rest with y; frequencies ``10000 ** (-4 k / width)``.
    """
    frequency = 10000.0 ** (-4 * torch.arange(width // 4, dtype=torch.float32) / width)
    t = torch.arange(grid * grid)
    angle = torch.cat([(t % grid)[:, None] * frequency, (t // grid)[:, None] * frequency], 1)
    return angle.cos(), angle.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs (2c, 2c + 1) of x [B, n, width] by the table [n, width / 2], in real numbers."""
    re, im = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([re * cos - im * sin, re * sin + im * cos], -1).flatten(-2)


class RoPEAttention(nn.Module):
    """One-head attention with axial rotary code (SPEC 5.2), over the frame itself or over the memory.

    Values stay ``d_kv`` wide in the attention and are projected after it: rows of the softmax sum to one, so
    ``A (M W + b) = (A M) W + b`` exactly, and memory values are narrower than the model.
    """

    def __init__(self, *, d_model: int, d_kv: int, d_internal: int) -> None:
        super().__init__()
        self.q_proj = nn.Linear(d_model, d_internal)
        self.k_proj = nn.Linear(d_kv, d_internal)
        self.v_proj = nn.Linear(d_kv, d_internal)
        self.out_proj = nn.Linear(d_internal, d_model)

    def forward(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        rope: tuple[Tensor, Tensor],
        *,
        plain: int = 0,
        mask: Tensor | None = None,
    ) -> Tensor:
        """q [B, N, d], k and v [B, L, d_kv]; the last ``plain`` keys (object pointers) are not rotated.

        The rotation of the keys repeats for every memory frame of N tokens.  ``mask`` [B, 1, L] is added.
        """
        cos, sin = rope
        q = rotate(self.q_proj(q), cos, sin)
        k = self.k_proj(k)
        spatial = k.shape[1] - plain
        frames = spatial // cos.shape[0]
        rotated = rotate(k[:, :spatial].unflatten(1, (frames, -1)), cos, sin).flatten(1, 2)
        k = torch.cat([rotated, k[:, spatial:]], 1) if plain else rotated
        projected: Tensor = self.out_proj(self.v_proj(attend(q, k, v, mask)))
        return projected
