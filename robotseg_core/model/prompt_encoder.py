# SPDX-License-Identifier: Apache-2.0
"""Prompt encoder: points, boxes and mask logits -> sparse tokens and a dense map (SPEC 3)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robotseg_core.config import ModelConfig
from robotseg_core.model.attention import LayerNorm2d


class RandomPositionEncoding(nn.Module):
    """``[sin(2 pi z), cos(2 pi z)]`` with ``z = (2 [u, v] - 1) G`` and a stored random G."""

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, width // 2))

    def forward(self, uv: Tensor) -> Tensor:
        """uv [..., 2] in [0, 1], u to the right -> [..., width]."""
        z = (2 * uv - 1) @ self.positional_encoding_gaussian_matrix
        z = 2 * math.pi * z
        return torch.cat([z.sin(), z.cos()], -1)


def _forget_codes(encoder: nn.Module, _: object) -> None:
    assert isinstance(encoder, PromptEncoder)
    encoder._codes.clear()


class PromptEncoder(nn.Module):
    """Prompts of a batch of parts -> decoder inputs."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d, c = config.d_model, config.mask_embed_channels
        self.image_size, self.grid = config.image_size, config.grid
        self.pe_layer = RandomPositionEncoding(d)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, d) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, d)
        self.no_mask_embed = nn.Embedding(1, d)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, c // 4, 2, 2),
            LayerNorm2d(c // 4),
            nn.GELU(),
            nn.Conv2d(c // 4, c, 2, 2),
            LayerNorm2d(c),
            nn.GELU(),
            nn.Conv2d(c, d, 1),
        )
        self._codes: dict[torch.device, Tensor] = {}
        self.register_load_state_dict_post_hook(_forget_codes)

    def dense_pe(self) -> Tensor:
        """Position code of the grid's cell centres, [N, d]; made once in inference mode."""
        if torch.compiler.is_compiling() or not torch.is_inference_mode_enabled():
            return self._dense_pe()
        device = self.no_mask_embed.weight.device
        if device not in self._codes:
            self._codes[device] = self._dense_pe()
        return self._codes[device]

    def no_points(self, batch: int) -> Tensor:
        """What :meth:`points` gives where there are none, [B, 2, d]."""
        return self.not_a_point_embed.weight.expand(batch, 2, -1)

    def _dense_pe(self) -> Tensor:
        matrix = self.pe_layer.positional_encoding_gaussian_matrix
        centre = (torch.arange(self.grid, device=matrix.device, dtype=matrix.dtype) + 0.5) / self.grid
        v, u = torch.meshgrid(centre, centre, indexing="ij")
        code: Tensor = self.pe_layer(torch.stack([u, v], -1))
        return code.flatten(0, 1)

    def points(self, coords: Tensor, labels: Tensor) -> Tensor:
        """coords [B, n, 2] in pixels of the model's image, labels [B, n] -> sparse tokens [B, n + 1, d].

        Labels: 0 not the part, 1 the part, 2 and 3 the box corners, -1 no point.  A padding point is appended;
        with n = 0 there are two of them, as in the reference.
        """
        batch, n = labels.shape
        pad = 1 if n else 2
        coords = F.pad(coords, (0, 0, 0, pad))
        labels = F.pad(labels, (0, pad), value=-1)
        code = self.pe_layer((coords + 0.5) / self.image_size)
        table = torch.cat([embedding.get_parameter("weight") for embedding in self.point_embeddings])
        code = code + table[labels.clamp(min=0)]
        return torch.where((labels == -1)[..., None], self.not_a_point_embed.weight, code)

    def dense(self, batch: int, mask_logits: Tensor | None) -> Tensor:
        """Mask logits [B, 1, 4 g, 4 g] or None -> dense tokens [B, N, d] (broadcast where None)."""
        if mask_logits is None:
            return self.no_mask_embed.weight.expand(batch, self.grid**2, -1)
        if mask_logits.shape[-1] != 4 * self.grid:
            size = (4 * self.grid, 4 * self.grid)
            mask_logits = F.interpolate(mask_logits, size, mode="bilinear", antialias=True)
        dense: Tensor = self.mask_downscaling(mask_logits)
        return dense.flatten(2).transpose(1, 2)
