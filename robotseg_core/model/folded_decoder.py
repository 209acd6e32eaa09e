# SPDX-License-Identifier: Apache-2.0
"""The mask decoder as graphs compute it on a CPU: the same function of the same weights, its products put together.

Heads of the two-way transformer are 8 channels wide over thousands of image tokens.  Head by head the products are too
thin for a processor, and most of the time goes into changing the places of axes.  Here a prompt token brings its query
already multiplied by the head's key weights, (Q_h K_h) x = Q_h (K_h x), so that image tokens are multiplied as they
are, all heads in one product; likewise values and output (SPEC 4.2).  What all keys of a softmax share cancels.
The upscaling's convolutions, whose squares do not overlap, are products as well (SPEC 4.3), and of the four masks only
the chosen one is made.

Shape glossary: B parts, n prompt tokens, N = g * g image tokens, H heads, d model width, e width of the attention.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robotseg_core.model.attention import NO_WEIGHT, Attention, LayerNorm2d
from robotseg_core.model.mask_decoder import ABSENT_LOGIT, Choice, MaskDecoder
from robotseg_core.model.two_way_transformer import TwoWayBlock


class FoldedAttention(nn.Module):
    """What both directions share: an attention whose prompt tokens are spread out, one row for each head."""

    heads: Tensor

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.attention = attention
        width = attention.q_proj.out_features
        # Channels of each head, [H, e].
        heads = torch.eye(attention.heads).repeat_interleave(width // attention.heads, 1)
        self.register_buffer("heads", heads, persistent=False)
        self.scale = (width // attention.heads) ** -0.5

    def spread(self, x: Tensor) -> Tensor:
        """[B, n, e] -> [B, n H, e]: a row for each head, with the channels of that head alone."""
        return (x[:, :, None] * self.heads).flatten(1, 2)

    def gathered(self, x: Tensor) -> Tensor:
        """The way back, [B, n H, e] -> [B, n, e]."""
        return (x.unflatten(1, (-1, len(self.heads))) * self.heads).sum(2)


class TokensToImage(FoldedAttention):
    """Prompt tokens attend to the image."""

    def forward(self, tokens: Tensor, keys: Tensor, image: Tensor) -> Tensor:
        """Tokens with their codes [B, n, d], image tokens with theirs and without [B, N, d] -> [B, n, d]."""
        own = self.attention
        # The keys' bias adds the same to all scores of a token.
        queries = self.spread(own.q_proj(tokens) * self.scale) @ own.k_proj.weight
        weights = (queries @ keys.transpose(1, 2)).softmax(-1)
        out: Tensor = own.out_proj(self.gathered(own.v_proj(weights @ image)))
        return out


class ImageToTokens(FoldedAttention):
    """The image attends to prompt tokens."""

    def forward(self, image: Tensor, tokens: Tensor, values: Tensor, added: Tensor) -> Tensor:
        """Image tokens with their codes [B, N, d], tokens with theirs and without [B, n, d] -> [B, N, d].

        ``added`` [B, n, 1] to the scores of each token.
        """
        own, count = self.attention, tokens.shape[1]
        spread = self.spread(own.k_proj(tokens) * self.scale)
        shared = (spread @ own.q_proj.bias).unflatten(1, (count, -1)) + added
        scores = (spread @ own.q_proj.weight) @ image.transpose(1, 2) + shared.flatten(1, 2)[..., None]
        scores = scores.unflatten(1, (count, -1)).flatten(2)
        # Softmax over the tokens, written out: runtimes are slow at rows of so few numbers.
        weights = (scores - scores.amax(1, keepdim=True)).exp()
        weights = weights / weights.sum(1, keepdim=True)
        weights = weights.unflatten(2, (len(self.heads), -1)).flatten(1, 2)
        # Weights of a head add up to 1: each head brings its share of the output's bias.
        brought = self.spread(own.v_proj(values)) @ own.out_proj.weight.T + own.out_proj.bias / len(self.heads)
        return weights.transpose(1, 2) @ brought


class FoldedBlock(nn.Module):
    """A block of the two-way transformer."""

    def __init__(self, block: TwoWayBlock) -> None:
        super().__init__()
        self.block = block
        self.to_image = TokensToImage(block.cross_attn_token_to_image)
        self.to_tokens = ImageToTokens(block.cross_attn_image_to_token)

    def forward(self, t: Tensor, x: Tensor, t0: Tensor, pe: Tensor, added: Tensor) -> tuple[Tensor, Tensor]:
        """As :class:`TwoWayBlock`; ``added`` [B, n, 1] to the scores of each token where it is a key."""
        block, mask = self.block, added.transpose(1, 2)
        if block.first:
            t = block.norm1(block.self_attn(t, t, t, mask))
        else:
            q = t + t0
            t = block.norm1(t + block.self_attn(q, q, t, mask))
        k = x + pe
        t = block.norm2(t + self.to_image(t + t0, k, x))
        t = block.norm3(t + block.mlp(t))
        x = block.norm4(x + self.to_tokens(k, t + t0, t, added))
        return t, x


class FoldedDecoder(nn.Module):
    """Image tokens and robot tokens -> the chosen mask of each part, of frames without prompts of a user."""

    def __init__(self, decoder: MaskDecoder) -> None:
        super().__init__()
        self.decoder, self.grid = decoder, decoder.grid
        transformer = decoder.transformer
        self.blocks = nn.ModuleList(FoldedBlock(cast("TwoWayBlock", block)) for block in transformer.layers)
        self.final = TokensToImage(transformer.final_attn_token_to_image)
        first, norm, _, second, _ = decoder.output_upscaling
        assert isinstance(first, nn.ConvTranspose2d) and isinstance(second, nn.ConvTranspose2d)
        assert isinstance(norm, LayerNorm2d) and first.bias is not None and second.bias is not None
        self.norm = norm
        # Output channels of the four cells of a square side by side: [d, 2 2 c] and [c' 2 2, c].
        self.first = nn.Parameter(first.weight.permute(0, 2, 3, 1).flatten(1), requires_grad=False)
        self.first_bias = nn.Parameter(first.bias.detach(), requires_grad=False)
        self.second = nn.Parameter(second.weight.permute(1, 2, 3, 0).flatten(0, 2), requires_grad=False)
        self.second_bias = nn.Parameter(second.bias.repeat_interleave(4)[:, None], requires_grad=False)

    def forward(
        self,
        image: Tensor,
        position: Tensor,
        no_point: Tensor,
        high_res: tuple[Tensor, Tensor],
        *,
        part: Tensor,
        object_tokens: Tensor,
        token_mask: Tensor,
    ) -> tuple[Choice, Tensor]:
        """The mask that :func:`~robotseg_core.model.mask_decoder.choose` takes of three, and object logits [B].

        Arguments as of :class:`MaskDecoder`, but for ``no_point`` [B, 1, d]: one of the two equal tokens that stand in
        the place of points.
        """
        own, batch = self.decoder, image.shape[0]
        head = torch.cat([own.obj_score_token.weight, own.iou_token.weight, own.mask_tokens.weight])
        tokens = torch.cat(
            [head.expand(batch, -1, -1), own.robot_token_embedding(part)[:, None], object_tokens, no_point], 1
        )
        # Two equal tokens are one that counts twice.
        added = F.pad(token_mask.to(image.dtype) * NO_WEIGHT, (len(head) + 1, 0))
        added = F.pad(added, (0, 1), value=math.log(2))[..., None]
        t, x = tokens, image
        for block in self.blocks:
            t, x = block(t, x, tokens, position, added)
        # Nothing is read of the other tokens any more.
        t, tokens = t[:, : len(head)], tokens[:, : len(head)]
        t = own.transformer.norm_final_attn(t + self.final(t + tokens, x + position, x))

        object_logit = own.pred_obj_score_head(t[:, 0])[:, 0]
        ious = own.iou_prediction_head(t[:, 1]).sigmoid()
        index = ious[:, 1:].argmax(1) + 1
        mask_tokens, rows = t[:, 2:], torch.arange(batch, device=image.device)
        heads = own.output_hypernetworks_mlps
        weights = torch.stack([mlp(mask_tokens[:, i]) for i, mlp in enumerate(heads)], 1)[rows, index]
        logits = self._logits(x, high_res, weights)
        present = (object_logit > 0)[:, None, None]
        logits = torch.where(present, logits, torch.full_like(logits[:1, :1, :1], ABSENT_LOGIT))
        return Choice(logits=logits, iou=ious[rows, index], token=mask_tokens[rows, index], index=index), object_logit

    def _logits(self, x: Tensor, high_res: tuple[Tensor, Tensor], weights: Tensor) -> Tensor:
        """Image tokens [B, N, d] and weights [B, d/8] of one mask -> logits [B, 4g, 4g]."""
        g, batch, norm = self.grid, len(x), self.norm
        h4, h8 = high_res
        # [B, (g g), (2 2 c)] -> [B, (g 2) (g 2), c]
        y = (x @ self.first).reshape(batch, g, g, 2, -1).permute(0, 1, 3, 2, 4).reshape(batch, 4 * g * g, -1)
        y = y + (h8.flatten(2).transpose(1, 2) + self.first_bias)
        y = F.gelu(F.layer_norm(y, norm.weight.shape, norm.weight, norm.bias, 1e-6))
        # [B, c, (2g 2), (2g 2)] -> [B, (c 2 2), 2g 2g], the rows first: whole rows are quickly moved.
        rows = h4.reshape(len(h4), -1, 2 * g, 2, 4 * g).transpose(2, 3).reshape(len(h4), -1, 4 * g * g, 2)
        beside = rows.transpose(2, 3).reshape(len(h4), -1, 4 * g * g)
        y = F.gelu(self.second @ y.transpose(1, 2) + (beside + self.second_bias))
        logits = weights[:, None] @ y.reshape(batch, weights.shape[1], -1)
        return F.pixel_shuffle(logits.reshape(batch, 4, 2 * g, 2 * g), 2)[:, 0]
