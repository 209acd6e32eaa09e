# SPDX-License-Identifier: Apache-2.0
"""Two-way transformer of the mask decoder: tokens and image attend to each other (SPEC 4.2)."""

from __future__ import annotations

from torch import Tensor, nn

from robotseg_core.config import ModelConfig
from robotseg_core.model.attention import MLP, Attention


class TwoWayBlock(nn.Module):
    """Self-attention, token to image, MLP, image to token; all post-norm."""

    def __init__(self, config: ModelConfig, *, first: bool) -> None:
        super().__init__()
        d, heads = config.d_model, config.decoder_heads
        self.first = first
        self.self_attn = Attention(d_model=d, d_internal=d, heads=heads)
        self.norm1 = nn.LayerNorm(d)
        self.cross_attn_token_to_image = Attention(d_model=d, d_internal=d // 2, heads=heads)
        self.norm2 = nn.LayerNorm(d)
        self.mlp = MLP((d, config.decoder_ffn, d))
        self.norm3 = nn.LayerNorm(d)
        self.cross_attn_image_to_token = Attention(d_model=d, d_internal=d // 2, heads=heads)
        self.norm4 = nn.LayerNorm(d)

    def forward(self, t: Tensor, x: Tensor, t0: Tensor, pe: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Tokens t [B, n, d], image x [B, N, d], first tokens t0, position pe [N, d] -> (t, x)."""
        if self.first:
            # The first layer has neither residual nor position in its self-attention (SPEC 4.2, step 1).
            t = self.norm1(self.self_attn(t, t, t, mask))
        else:
            q = t + t0
            t = self.norm1(t + self.self_attn(q, q, t, mask))
        k = x + pe
        t = self.norm2(t + self.cross_attn_token_to_image(t + t0, k, x))
        t = self.norm3(t + self.mlp(t))
        x = self.norm4(x + self.cross_attn_image_to_token(k, t + t0, t, mask))
        return t, x


class TwoWayTransformer(nn.Module):
    """Tokens [B, n, d] and image tokens [B, N, d] -> both, updated."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d = config.d_model
        self.layers = nn.ModuleList(TwoWayBlock(config, first=i == 0) for i in range(config.decoder_layers))
        self.final_attn_token_to_image = Attention(d_model=d, d_internal=d // 2, heads=config.decoder_heads)
        self.norm_final_attn = nn.LayerNorm(d)

    def forward(self, tokens: Tensor, image: Tensor, position: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """``position`` [N, d]; ``mask`` [B, 1, n] is added where tokens are keys (None: all count)."""
        t, x = tokens, image
        for layer in self.layers:
            t, x = layer(t, x, tokens, position, mask)
        t = self.norm_final_attn(t + self.final_attn_token_to_image(t + tokens, x + position, x))
        return t, x
