# SPDX-License-Identifier: Apache-2.0
"""Layers of the small policy's network.

Glossary: B requests, L words, C = 144 cells, G answers to a request, T tokens, d width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head attention; keys and values may be made once and used for many queries."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.out = nn.Linear(width, width), nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)

    def keys(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [B, heads, n, e] of x [B, n, d]."""
        k, v = self.kv(x).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return k, v

    def forward(
        self, x: Tensor, keys: tuple[Tensor, Tensor], mask: Tensor | None = None, *, causal: bool = False
    ) -> Tensor:
        """x [B, m, d] looks up keys; ``mask`` [B, 1, 1 or m, n] True where it may look."""
        q = self.q(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k, v = keys
        # Written out: on a CPU this trains twice as fast as the fused kernel, whose backward pass is slow.
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
        if causal:
            mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=x.device).tril()
        if mask is not None:
            scores = scores.masked_fill(~mask, float("-inf"))
        with torch.autocast(x.device.type, enabled=False):
            y = scores.softmax(-1) @ v
        return self.out(y.transpose(1, 2).flatten(2))


def feed_forward(width: int, factor: int = 4) -> nn.Sequential:
    """A norm and two linear layers, the inner one ``factor`` times as wide."""
    inner = factor * width
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width))


class EncoderLayer(nn.Module):
    """Self attention and a feed-forward step, norms first."""

    def __init__(self, width: int, heads: int, drop: nn.Dropout) -> None:
        super().__init__()
        self.drop = drop
        self.norm, self.attention = nn.LayerNorm(width), Attention(width, heads)
        self.feed = feed_forward(width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """x [B, n, d], ``mask`` [B, 1, 1, n] True where there is something."""
        normed = self.norm(x)
        x = x + self.drop(self.attention(normed, self.attention.keys(normed), mask))
        return x + self.drop(self.feed(x))


class JointLayer(nn.Module):
    """Words read the cells and each other, cells read the words.

    Cells do not read each other here: a frame's cells have done so once for all requests, and what several cells must
    know of each other ("the second from the left") goes through the words.
    """

    def __init__(self, width: int, heads: int, drop: nn.Dropout) -> None:
        super().__init__()
        self.drop = drop
        self.word_norm, self.word_self = nn.LayerNorm(width), Attention(width, heads)
        self.look_norm, self.look = nn.LayerNorm(width), Attention(width, heads)
        self.cell_norm, self.told = nn.LayerNorm(width), Attention(width, heads)
        self.word_feed, self.cell_feed = feed_forward(width, 2), feed_forward(width, 2)
        self.turned = nn.Linear(width, 2 * width)
        nn.init.zeros_(self.turned.weight)
        nn.init.zeros_(self.turned.bias)

    def forward(self, words: Tensor, cells: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """words [B, L, d], cells [B, C, d], there [B, 1, 1, L]."""
        normed = self.word_norm(words)
        words = words + self.drop(self.word_self(normed, self.word_self.keys(normed), there))
        normed = self.cell_norm(cells)
        words = words + self.drop(self.look(self.look_norm(words), self.look.keys(normed)))
        words = words + self.drop(self.word_feed(words))
        cells = cells + self.drop(self.told(normed, self.told.keys(words), there))
        # The request turns channels up and down ("left" those of the left): the shortest way from a word to a place.
        said = there[:, 0, 0, :, None].to(words.dtype)
        scale, shift = self.turned((words * said).sum(1, keepdim=True) / said.sum(1, keepdim=True)).chunk(2, -1)
        cells = cells + normed * scale + shift
        return words, cells + self.drop(self.cell_feed(cells))


class DecoderLayer(nn.Module):
    """Self attention over the answer so far, attention to the scene, a feed-forward step."""

    def __init__(self, width: int, heads: int, drop: nn.Dropout) -> None:
        super().__init__()
        self.drop = drop
        self.norm, self.attention = nn.LayerNorm(width), Attention(width, heads)
        self.scene_norm, self.scene = nn.LayerNorm(width), Attention(width, heads)
        self.feed = feed_forward(width)

    def look(self, x: Tensor, scene: tuple[Tensor, Tensor], mask: Tensor) -> Tensor:
        """x [B, G * T, d] looks at the scene [B, ...]."""
        x = x + self.drop(self.scene(self.scene_norm(x), scene, mask))
        return x + self.drop(self.feed(x))
