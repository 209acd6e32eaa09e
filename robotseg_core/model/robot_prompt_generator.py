# SPDX-License-Identifier: Apache-2.0
"""RPG, the robot prompt generator: memory frames -> object tokens, so that no click is needed (SPEC 6).

Vectorised over frames and parts and without host synchronisation.  The reference starts farthest point sampling
at a random cell; here it starts at the first one in row-major order, so that results repeat.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robotseg_core.config import ModelConfig


def foreground_cells(mask_logits: Tensor, grid: int) -> Tensor:
    """Stored low-res logits [B, h, w] -> foreground cells [B, N] bool: sigmoid, bilinear to the grid, >= 0.5."""
    p = mask_logits.sigmoid()[:, None]
    return F.interpolate(p, (grid, grid), mode="bilinear")[:, 0].flatten(1) >= 0.5


def farthest_points(mask: Tensor, coords: Tensor, count: int) -> Tensor:
    """Farthest point sampling inside ``mask`` [B, N] -> indices [B, count]; missing ones repeat the first.

    ``coords`` [N, 2] are integers held in floats, so squared distances are exact and ties go to the first cell.
    """
    first = mask.float().argmax(1)
    seeds = [first]
    nearest = (coords - coords[first][:, None]).square().sum(-1)
    for i in range(1, count):
        distance = torch.where(mask, nearest, torch.full_like(nearest, -1.0))
        candidate = distance.argmax(1)
        seed = torch.where(mask.sum(1) > i, candidate, first)
        seeds.append(seed)
        nearest = torch.minimum(nearest, (coords - coords[seed][:, None]).square().sum(-1))
    return torch.stack(seeds, 1)


def assign(features: Tensor, mask: Tensor, seeds: Tensor) -> Tensor:
    """Give every cell of ``mask`` [B, N] to the seed of highest cosine similarity -> [B, count, N] bool."""
    unit = F.normalize(features, dim=-1, eps=1e-12)
    centres = unit.gather(1, seeds[..., None].expand(-1, -1, unit.shape[-1]))
    cost = 1 - centres @ unit.transpose(1, 2)
    owner = cost.argmin(1)
    return (owner[:, None] == torch.arange(seeds.shape[1], device=owner.device)[None, :, None]) & mask[:, None]


class RobotPromptGenerator(nn.Module):
    """One memory frame -> R object tokens of width d = sub-regions * m."""

    coords: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.regions, self.subregions = config.rpg_regions, config.rpg_subregions
        self.no_memory_prompt_embeddings_fg = nn.Embedding(1, config.d_model)
        y, x = torch.meshgrid(torch.arange(config.grid), torch.arange(config.grid), indexing="ij")
        self.register_buffer("coords", torch.stack([y, x], -1).flatten(0, 1).float(), persistent=False)

    def no_memory(self, batch: int) -> Tensor:
        """Tokens of a frame without memory: R copies of the learned vector, [B, R, d]."""
        return self.no_memory_prompt_embeddings_fg.weight.expand(batch, self.regions, -1)

    def forward(self, features: Tensor, foreground: Tensor) -> Tensor:
        """features [B, N, m] of one memory frame a row, foreground [B, N] bool -> tokens [B, R, d]."""
        batch, cells, width = features.shape
        with torch.no_grad():
            seeds = farthest_points(foreground, self.coords, self.regions)
            clusters = assign(features, foreground, seeds)
            empty = ~clusters.any(2, keepdim=True)
            clusters = (clusters | (empty & foreground[:, None])).flatten(0, 1)
            repeated = features[:, None].expand(-1, self.regions, -1, -1).flatten(0, 1)
            inner_seeds = farthest_points(clusters, self.coords, self.subregions)
            inner = assign(repeated, clusters, inner_seeds).unflatten(0, (batch, -1)).flatten(1, 2)
            inner_seeds = inner_seeds.view(batch, -1)
        weight = inner.to(features.dtype)
        count = weight.sum(-1, keepdim=True)
        mean = (weight @ features) / count.clamp(min=1)
        seed_features = features.gather(1, inner_seeds[..., None].expand(-1, -1, width))
        prototype = F.normalize(torch.where(count > 0, mean, seed_features), dim=-1, eps=1e-12)
        tokens = prototype.reshape(batch, self.regions, self.subregions * width)
        seen = foreground.any(1)[:, None, None]
        return torch.where(seen, tokens, self.no_memory(batch).to(tokens.dtype))
