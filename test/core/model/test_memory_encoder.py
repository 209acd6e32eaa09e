# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses

import pytest
import torch
from small_models import SMALL, small_model

from robotseg_core.model.memory_encoder import MaskDownsampler
from robotseg_core.model.robotseg_model import Features


@pytest.mark.parametrize("stride", [2, 4])
@pytest.mark.parametrize("value", [1.0, -1.0])
def test_a_smaller_mask_goes_through_the_same_weights(stride: int, value: float):
    one, other = (
        MaskDownsampler(dataclasses.replace(SMALL, memory_mask_stride=s, image_size=128)).eval() for s in (1, stride)
    )
    other.load_state_dict(one.state_dict())
    with torch.no_grad():
        full, small = (
            one(torch.full((1, 1, 128, 128), value)),
            other(torch.full((1, 1, 128 // stride, 128 // stride), value)),
        )
    assert small.shape == full.shape == (1, SMALL.d_model, 8, 8)
    # Where no edge is in sight a mask says the same at every size.
    torch.testing.assert_close(small[..., 2:-2, 2:-2], full[..., 2:-2, 2:-2])


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_a_frame_is_remembered_with_any_size_of_its_mask(stride: int):
    config = dataclasses.replace(SMALL, memory_mask_stride=stride)
    model, grid = small_model(config=config), config.grid
    f16, logits = torch.randn(1, config.d_model, grid, grid), torch.randn(3, 4 * grid, 4 * grid)
    with torch.no_grad():
        soft = model.remember(Features(f16, f16, f16), logits, torch.ones(3), torch.zeros(3, dtype=torch.bool))
        hard = model.remember(Features(f16, f16, f16), logits, torch.ones(3), torch.ones(3, dtype=torch.bool))
        sure = model.remember(Features(f16, f16, f16), 1e4 * logits, torch.ones(3), torch.zeros(3, dtype=torch.bool))
    assert soft.shape == (3, grid**2, config.mem_dim)
    assert (soft - hard).abs().max() > 1e-3
    if stride == 4:
        torch.testing.assert_close(sure, hard, atol=1e-3, rtol=1e-3)


def test_a_stride_that_no_convolution_can_take_up_is_refused():
    with pytest.raises(ValueError, match="memory_mask_stride is 3"):
        dataclasses.replace(SMALL, memory_mask_stride=3)
