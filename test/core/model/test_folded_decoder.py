# SPDX-License-Identifier: Apache-2.0
"""The decoder with its products put together answers what the decoder answers."""

from __future__ import annotations

import pytest
import torch
from small_models import SMALL, small_model

from robotseg_core.model.folded_decoder import FoldedDecoder, ImageToTokens, TokensToImage


@pytest.mark.parametrize("absent", [False, True])
def test_the_chosen_mask_its_scores_and_its_token_are_those_of_the_decoder(absent: bool):
    model, rng = small_model(object_bias=-30.0 if absent else 3.0), torch.Generator().manual_seed(0)
    g, d = SMALL.grid, SMALL.d_model
    image, tokens = torch.randn(3, g * g, d, generator=rng), torch.randn(3, 9, d, generator=rng)
    high_res = torch.randn(1, d // 8, 4 * g, 4 * g, generator=rng), torch.randn(1, d // 4, 2 * g, 2 * g, generator=rng)
    # The first part has all its tokens, the second none of the last six, the third none at all.
    empty = torch.arange(9) >= torch.tensor([9, 3, 0])[:, None]
    part, position = torch.tensor([0, 1, 2]), model.sam_prompt_encoder.dense_pe()
    nothing = model.sam_prompt_encoder.no_points(3)
    candidates = model.sam_mask_decoder(
        image, position, nothing, high_res, part=part, object_tokens=tokens, token_mask=empty
    )
    want = model.choose(candidates)
    found, object_logit = FoldedDecoder(model.sam_mask_decoder)(
        image, position, nothing[:, :1], high_res, part=part, object_tokens=tokens, token_mask=empty
    )
    assert torch.equal(found.index, want.index)
    torch.testing.assert_close(object_logit, candidates.object_logit, atol=1e-5, rtol=1e-5)
    for name in ("logits", "iou", "token"):
        torch.testing.assert_close(getattr(found, name), getattr(want, name), atol=1e-4, rtol=1e-4)
    assert (found.logits < -1000).all() == absent


def test_scores_too_large_for_exp_are_no_matter():
    block = small_model().sam_mask_decoder.transformer.layers[0]
    rng = torch.Generator().manual_seed(0)
    tokens, image = (500 * torch.randn(1, n, SMALL.d_model, generator=rng) for n in (5, 16))
    added = torch.zeros(1, 5, 1)
    for folded, plain, asked in (
        (TokensToImage(block.cross_attn_token_to_image), block.cross_attn_token_to_image, (tokens, image, image)),
        (ImageToTokens(block.cross_attn_image_to_token), block.cross_attn_image_to_token, (image, tokens, tokens)),
    ):
        got = folded(*asked) if isinstance(folded, TokensToImage) else folded(*asked, added)
        want = plain(*asked)
        assert got.isfinite().all()
        torch.testing.assert_close(got, want, atol=1e-2 * float(want.abs().max()), rtol=1e-2)
