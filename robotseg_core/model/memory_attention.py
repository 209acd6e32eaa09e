# SPDX-License-Identifier: Apache-2.0
"""SEMA, the structure-enhanced memory associator: the frame's tokens look up the memory (SPEC 5)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robotseg_core.config import ModelConfig
from robotseg_core.model.attention import RoPEAttention, linear, rope_table, rotate
from robotseg_core.model.positions import sine_position_map
from robotseg_core.model.structure import MultiScalePyramid, structure_gate

Keys = Callable[[], Tensor]
"""Gives the keys [B, L, e] of one cross attention, when it needs them: they are too large to hold for all."""


class MemoryAttentionLayer(nn.Module):
    """Self-attention, cross attention, MLP, and the structure branch that gates their result."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d, m, width = config.d_model, config.mem_dim, config.attention_dim
        self.grid = config.grid
        self.self_attn = RoPEAttention(d_model=d, d_kv=d, d_internal=width)
        self.cross_attn_image = RoPEAttention(d_model=d, d_kv=m, d_internal=width)
        self.linear1 = nn.Linear(d, config.memory_ffn)
        self.linear2 = nn.Linear(config.memory_ffn, d)
        self.norm1 = nn.LayerNorm(d)
        self.norm2 = nn.LayerNorm(d)
        self.norm3 = nn.LayerNorm(d)
        self.ms_pyramid = MultiScalePyramid(d)
        self.cross_attn_structure = RoPEAttention(d_model=d, d_kv=m, d_internal=width)
        self.structure_head = nn.Conv2d(d, 1, 3, padding=1)
        self.structure_strength = nn.Parameter(torch.tensor(1.0))

    def forward(
        self,
        y: Tensor,
        keys: tuple[Keys, Keys],
        values: Tensor,
        edge: Tensor,
        rope: tuple[Tensor, Tensor],
        mask: Tensor | None,
        *,
        gated: bool = True,
    ) -> tuple[Tensor, Tensor | None]:
        """Tokens y [1 or B, N, d], keys of the two cross attentions, values [B, L, m]
        -> (new tokens [B, N, d], structure logits [B, 1, g, g]).

        While all parts have the same tokens (first layer), what can be computed once is computed once.  Without
        ``gated`` the structure branch is left out, and None takes the place of its logits.
        """
        q = self.norm1(y)
        y = y + self.self_attn(q, self.self_attn.keys(q, rope), q, rope)
        y2 = y + self.cross_attn_image(self.norm2(y), keys[0](), values, rope, mask)
        z = y2 + linear(self.linear2, linear(self.linear1, self.norm3(y2), relu=True))
        if not gated:
            return z, None
        # The structure branch reads the tokens before the MLP and un-normalised (SPEC 5.3, step 4).
        a = y2.transpose(1, 2).unflatten(2, (self.grid, self.grid)) * (1 + edge)
        pyramid = self.ms_pyramid(a).flatten(2).transpose(1, 2)
        d = self.cross_attn_structure(pyramid, keys[1](), values, rope, mask)
        structure = self._structure(d)
        gate = structure_gate(structure).flatten(2).transpose(1, 2)
        return z * (1 + self.structure_strength * gate), structure

    def _structure(self, d: Tensor) -> Tensor:
        """``structure_head`` of tokens [B, N, d] -> [B, 1, g, g].

        In a graph as nine products a token and their sums: convolutions to a single channel are slow on CPUs, and all
        channels would have to change places first.
        """
        if not torch.onnx.is_in_onnx_export():
            out: Tensor = self.structure_head(d.transpose(1, 2).unflatten(2, (self.grid, self.grid)))
            return out
        weight, bias = self.structure_head.weight, self.structure_head.bias
        taps = (d @ weight[0].flatten(1).to(d.dtype)).transpose(1, 2).unflatten(2, (self.grid, self.grid))
        shifts = torch.eye(9, dtype=d.dtype, device=d.device).view(1, 9, 3, 3)
        return F.conv2d(taps, shifts, bias, padding=1)


class MemoryAttention(nn.Module):
    """Frame tokens [B, N, d] and memory [B, L, m] -> memory-conditioned tokens [B, N, d]."""

    cos: Tensor
    sin: Tensor
    memory_cos: Tensor
    memory_sin: Tensor
    position: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(MemoryAttentionLayer(config) for _ in range(config.memory_layers))
        self.norm = nn.LayerNorm(config.d_model)
        cos, sin = rope_table(config.grid, config.attention_dim)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        cos, sin = rope_table(config.grid, config.attention_dim, config.memory_square)
        self.register_buffer("memory_cos", cos, persistent=False)
        self.register_buffer("memory_sin", sin, persistent=False)
        self.register_buffer("position", sine_position_map(config.grid, config.d_model), persistent=False)

    @property
    def lookups(self) -> list[RoPEAttention]:
        """The cross attentions in their order: image and structure of the first layer, of the second, ..."""
        layers = cast("list[MemoryAttentionLayer]", list(self.layers))
        return [a for layer in layers for a in (layer.cross_attn_image, layer.cross_attn_structure)]

    def frame_keys(self, tokens: Tensor) -> Tensor:
        """Keys of memory frames for every cross attention: tokens with their codes [..., M, m] -> [A, ..., M, e]."""
        return torch.stack([lookup.keys(tokens, (self.memory_cos, self.memory_sin)) for lookup in self.lookups])

    def time_keys(self, codes: Tensor) -> Tensor:
        """What time codes [T, m] add to the keys of a whole frame, [A, T, M, e].

        Keys are linear in their codes, so a frame's keys are made once and only this changes as it grows older.
        """
        cells = self.memory_cos.shape[0]
        shares = [F.linear(codes, lookup.k_proj.weight)[:, None].expand(-1, cells, -1) for lookup in self.lookups]
        return rotate(torch.stack(shares), self.memory_cos, self.memory_sin)

    @property
    def last_gate_cancels(self) -> bool:
        """Whether the last layer's gate changes nothing but its own logits.

        It multiplies each token by a number, which the norm behind it divides out again where it is positive: the
        structure branch works through the layers that follow, and none follows.  Reads a weight, and so waits for
        it; False where there is none to read (device "meta").
        """
        strength = self.layers[-1].get_parameter("structure_strength")
        return not strength.is_meta and float(strength) > -1

    def forward(
        self,
        frame: Tensor,
        values: Tensor,
        keys: Sequence[Keys],
        edge: Tensor,
        mask: Tensor | None = None,
        *,
        last_gate: bool = True,
    ) -> tuple[Tensor, Tensor | None]:
        """Look up the memory.

        Args:
            frame: [1 or B, N, d] stride-16 tokens.
            values: [B, L, m] memory tokens, whole frames first, then object pointers.
            keys: of each of :attr:`lookups`, [B, L, e].
            edge: [B or 1, 1, g, g] edge strength.
            mask: [B, 1, L] added to the attention logits (-inf for empty slots), or None.
            last_gate: False leaves the last layer's structure branch out, see :attr:`last_gate_cancels`.

        Returns:
            tokens [B, N, d] and structure logits [B, layers, g, g] at the grid of those layers that made
            them, None where none did.
        """
        y = frame + 0.1 * self.position
        structures = []
        for i, layer in enumerate(self.layers):
            gated = last_gate or i + 1 < len(self.layers)
            rope, own = (self.cos, self.sin), (keys[2 * i], keys[2 * i + 1])
            y, structure = layer(y, own, values, edge, rope, mask, gated=gated)
            if structure is not None:
                structures.append(structure)
        return self.norm(y), torch.cat(structures, 1) if structures else None
