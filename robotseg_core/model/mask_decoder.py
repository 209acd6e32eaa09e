# SPDX-License-Identifier: Apache-2.0
"""Mask decoder: two-way transformer, upscaling, hypernetworks, scores, choice of the mask (SPEC 4)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robotseg_core.config import ModelConfig
from robotseg_core.model.attention import MLP, LayerNorm2d
from robotseg_core.model.two_way_transformer import TwoWayTransformer

ABSENT_LOGIT = -1024.0
STABILITY_OFFSET, STABILITY_THRESHOLD = 0.05, 0.98


@dataclass(frozen=True)
class Candidates:
    """What the decoder says before a mask is chosen.

    Attributes:
        logits: [B, 4, h, w] at stride 4.
        ious: [B, 4] predicted quality, 0 to 1.
        object_logit: [B], above 0 where the part is in view.
        tokens: [B, 4, d] mask tokens, from which pointers are made.
    """

    logits: Tensor
    ious: Tensor
    object_logit: Tensor
    tokens: Tensor


@dataclass(frozen=True)
class Choice:
    """The chosen mask: logits [B, h, w] (-1024 where absent), iou [B], token [B, d] of the pointer, index [B]."""

    logits: Tensor
    iou: Tensor
    token: Tensor
    index: Tensor


class MaskDecoder(nn.Module):
    """Image tokens, prompts and robot tokens -> four mask candidates."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d, hidden = config.d_model, config.head_hidden
        self.grid = config.grid
        c4, c8, _ = config.fpn_channels
        self.transformer = TwoWayTransformer(config)
        self.obj_score_token = nn.Embedding(1, d)
        self.iou_token = nn.Embedding(1, d)
        self.mask_tokens = nn.Embedding(4, d)
        self.robot_token_embedding = nn.Embedding(3, d)
        self.conv_s0 = nn.Conv2d(c4, d // 8, 1)
        self.conv_s1 = nn.Conv2d(c8, d // 4, 1)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(d, d // 4, 2, 2),
            LayerNorm2d(d // 4),
            nn.GELU(),
            nn.ConvTranspose2d(d // 4, d // 8, 2, 2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(MLP((d, hidden, hidden, d // 8)) for _ in range(4))
        self.iou_prediction_head = MLP((d, hidden, hidden, 4))
        self.pred_obj_score_head = MLP((d, hidden, hidden, 1))

    def forward(
        self,
        image: Tensor,
        position: Tensor,
        sparse: Tensor,
        high_res: tuple[Tensor, Tensor],
        *,
        part: Tensor | None,
        object_tokens: Tensor | None,
        token_mask: Tensor | None = None,
    ) -> Candidates:
        """All candidates for a batch of parts.

        Args:
            image: [B, N, d] memory-conditioned tokens plus the dense prompt.
            position: [N, d] dense position code.
            sparse: [B, n, d] prompt tokens.
            high_res: (H4 [1 or B, d/8, 4g, 4g], H8 [1 or B, d/4, 2g, 2g]).
            part: [B] row of the class token, or None (mask prompts: neither class nor object tokens).
            object_tokens: [B, 3k, d] of the RPG, used only with ``part``.
            token_mask: [B, 3k] True where an object token belongs to an empty memory slot, or None.
        """
        batch = image.shape[0]
        head = torch.cat([self.obj_score_token.weight, self.iou_token.weight, self.mask_tokens.weight])
        tokens = [head.expand(batch, -1, -1)]
        mask = None
        if part is not None:
            if object_tokens is None:
                raise ValueError("object_tokens are required where a part is given")
            tokens += [self.robot_token_embedding(part)[:, None], object_tokens]
            if token_mask is not None:
                before = token_mask.new_zeros(batch, 7)
                after = token_mask.new_zeros(batch, sparse.shape[1])
                dead = torch.cat([before, token_mask, after], 1)
                mask = torch.zeros(dead.shape, device=dead.device, dtype=image.dtype).masked_fill(dead, float("-inf"))
                mask = mask[:, None]
        hidden, image = self.transformer(torch.cat([*tokens, sparse], 1), image, position, mask)

        h4, h8 = high_res
        x = image.transpose(1, 2).unflatten(2, (self.grid, self.grid))
        conv0, norm, _, conv1, _ = self.output_upscaling
        x = F.gelu(norm(conv0(x) + h8))
        x = F.gelu(conv1(x) + h4)
        mask_tokens = hidden[:, 2:6]
        weights = torch.stack([mlp(mask_tokens[:, i]) for i, mlp in enumerate(self.output_hypernetworks_mlps)], 1)
        logits = (weights @ x.flatten(2)).unflatten(2, x.shape[2:])
        return Candidates(
            logits=logits,
            ious=self.iou_prediction_head(hidden[:, 1]).sigmoid(),
            object_logit=self.pred_obj_score_head(hidden[:, 0])[:, 0],
            tokens=mask_tokens,
        )


def choose(candidates: Candidates, *, multimask: bool) -> Choice:
    """Choose one candidate per part without host synchronisation (SPEC 4.4).

    Multimask (0 or 1 user point): the best of masks 1..3 by predicted IoU.  Otherwise mask 0, replaced by the
    best of 1..3 where it is not stable; the pointer's token stays that of mask 0.
    """
    rows = torch.arange(candidates.ious.shape[0], device=candidates.ious.device)
    best = candidates.ious[:, 1:].argmax(1) + 1
    if multimask:
        index, source = best, best
    else:
        first = candidates.logits[:, 0]
        inner = (first > STABILITY_OFFSET).sum((1, 2)).float()
        outer = (first > -STABILITY_OFFSET).sum((1, 2)).float()
        stability = torch.where(outer > 0, inner / outer.clamp(min=1), torch.ones_like(outer))
        index = torch.where(stability < STABILITY_THRESHOLD, best, torch.zeros_like(best))
        source = torch.zeros_like(best)
    present = (candidates.object_logit > 0)[:, None, None]
    logits = torch.where(
        present, candidates.logits[rows, index], torch.full_like(candidates.logits[:, 0], ABSENT_LOGIT)
    )
    return Choice(logits=logits, iou=candidates.ious[rows, index], token=candidates.tokens[rows, source], index=index)
