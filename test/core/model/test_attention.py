# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from robotseg_core.model import attention
from robotseg_core.model.attention import Attention, RoPEAttention, attend, rope_table, rotate


def test_attend_equals_pytorch_also_in_slices(monkeypatch):
    torch.manual_seed(0)
    q, k, v = torch.randn(2, 7, 8), torch.randn(2, 11, 8), torch.randn(2, 11, 5)
    mask = torch.zeros(2, 1, 11).masked_fill(torch.rand(2, 1, 11) < 0.3, float("-inf"))
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    torch.testing.assert_close(attend(q, k, v, mask), expected)
    monkeypatch.setattr(attention, "SCORES_AT_ONCE", 4 * 11 * 3)
    with torch.inference_mode():
        torch.testing.assert_close(attend(q, k, v, mask), expected)
        shared = F.scaled_dot_product_attention(q[:1].expand(2, -1, -1), k, v)
        torch.testing.assert_close(attend(q[:1], k, v, None), shared)


def test_rotation_in_real_numbers_equals_complex_multiplication():
    cos, sin = rope_table(3, 16)
    x = torch.randn(2, 9, 16)
    z = torch.view_as_complex(x.unflatten(-1, (-1, 2))) * torch.complex(cos, sin)
    torch.testing.assert_close(rotate(x, cos, sin), torch.view_as_real(z).flatten(-2))


def test_table_turns_with_x_first_then_y():
    cos, sin = rope_table(4, 16)
    angle = torch.atan2(sin, cos)
    t = 2 * 4 + 3  # y = 2, x = 3
    assert float(angle[t, 0]) == pytest.approx(3.0, abs=1e-5)
    assert float(angle[t, 4]) == pytest.approx(2.0, abs=1e-5)


def test_table_of_squares_is_that_of_their_centres():
    cos, sin = rope_table(4, 16, 2)
    assert cos.shape == (4, 8)
    angle = torch.atan2(sin, cos)
    # The last square holds x and y of 2 and 3.
    assert angle[3, 0].item() == angle[3, 4].item() == pytest.approx(2.5, abs=1e-5)
    assert angle[1, 4].item() == pytest.approx(0.5, abs=1e-5)


def test_values_projected_after_the_attention_give_the_same():
    torch.manual_seed(0)
    layer = RoPEAttention(d_model=16, d_kv=8, d_internal=16)
    rope = rope_table(3, 16)
    q, k, v = torch.randn(1, 9, 16), torch.randn(1, 20, 8), torch.randn(1, 20, 8)
    turned_k = layer.k_proj(k)
    turned_k = torch.cat([rotate(turned_k[:, :9], *rope), rotate(turned_k[:, 9:18], *rope), turned_k[:, 18:]], 1)
    scores = (rotate(layer.q_proj(q), *rope) @ turned_k.transpose(1, 2) / 4).softmax(-1)
    expected = layer.out_proj(scores @ layer.v_proj(v))
    keys = torch.cat([layer.keys(k[:, :18].unflatten(1, (2, 9)), rope).flatten(1, 2), layer.k_proj(k[:, 18:])], 1)
    torch.testing.assert_close(layer(q, keys, v, rope), expected)


def test_heads_that_do_not_divide_the_width_are_refused_with_both_numbers():
    with pytest.raises(ValueError, match="10.*4"):
        Attention(d_model=16, d_internal=10, heads=4)
