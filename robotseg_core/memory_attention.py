# SPDX-License-Identifier: Apache-2.0
"""SEMA, the structure-enhanced memory associator: the frame's tokens look up the memory (SPEC 5)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robotseg_core.attention import RoPEAttention, rope_table
from robotseg_core.config import ModelConfig
from robotseg_core.positions import sine_position_map
from robotseg_core.structure import MultiScalePyramid, structure_gate


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
        keys: Tensor,
        values: Tensor,
        edge: Tensor,
        rope: tuple[Tensor, Tensor],
        pointer_tokens: int,
        mask: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Tokens y [B, N, d], keys and values [B, L, m] -> (new tokens, structure logits [B, 1, g, g])."""
        q = self.norm1(y)
        y = y + self.self_attn(q, q, q, rope)
        y2 = y + self.cross_attn_image(self.norm2(y), keys, values, rope, plain=pointer_tokens, mask=mask)
        z = y2 + self.linear2(F.relu(self.linear1(self.norm3(y2))))
        # The structure branch reads the tokens before the MLP and un-normalised (SPEC 5.3, step 4).
        a = y2.transpose(1, 2).unflatten(2, (self.grid, self.grid)) * (1 + edge)
        pyramid = self.ms_pyramid(a).flatten(2).transpose(1, 2)
        d = self.cross_attn_structure(pyramid, keys, values, rope, plain=pointer_tokens, mask=mask)
        structure = self.structure_head(d.transpose(1, 2).unflatten(2, (self.grid, self.grid)))
        gate = structure_gate(structure).flatten(2).transpose(1, 2)
        return z * (1 + self.structure_strength * gate), structure


class MemoryAttention(nn.Module):
    """Frame tokens [B, N, d] and memory [B, L, m] -> memory-conditioned tokens [B, N, d]."""

    cos: Tensor
    sin: Tensor
    position: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(MemoryAttentionLayer(config) for _ in range(config.memory_layers))
        self.norm = nn.LayerNorm(config.d_model)
        cos, sin = rope_table(config.grid, config.attention_dim)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self.register_buffer("position", sine_position_map(config.grid, config.d_model), persistent=False)

    def forward(
        self,
        frame: Tensor,
        memory: Tensor,
        memory_position: Tensor,
        edge: Tensor,
        *,
        pointer_tokens: int,
        mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Look up the memory.

        Args:
            frame: [B, N, d] stride-16 tokens.
            memory: [B, L, m] memory tokens, whole frames first, then ``pointer_tokens`` pointer tokens.
            memory_position: [B or 1, L, m] their position codes, added to the keys only.
            edge: [B or 1, 1, g, g] edge strength.
            mask: [B, 1, L] added to the attention logits (-inf for empty slots), or None.

        Returns:
            tokens [B, N, d] and structure logits [B, layers, g, g] at the grid.
        """
        y = frame + 0.1 * self.position
        keys = memory + memory_position
        structures = []
        for layer in self.layers:
            y, structure = layer(y, keys, memory, edge, (self.cos, self.sin), pointer_tokens, mask)
            structures.append(structure)
        return self.norm(y), torch.cat(structures, 1)
