# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses

import pytest
import torch
from small_models import SMALL as NANO_LIKE
from small_models import small_model

from robotseg_core.model.robotseg_model import Features, Memory, RobotSegModel

SMALL = dataclasses.replace(NANO_LIKE, memory_pool=1)


def looked_up(model: RobotSegModel, features: torch.Tensor, *, last_gate: bool = True) -> torch.Tensor:
    """A frame's tokens after they have seen two parts' memory of three frames, one of the second part's empty."""
    config, rng = model.config, torch.Generator().manual_seed(1)
    frame = Features(*3 * (torch.randn(1, config.d_model, config.grid, config.grid, generator=rng),))
    memory = Memory(
        features=torch.stack([model.pool_memory(f) for f in features.unbind(1)], 1),
        time_index=torch.tensor([2, 0, 1]),
        pointers=torch.randn(2, 4, config.d_model, generator=rng),
        offsets=torch.tensor([[1.0, 0.3, 0.6, 0.9]]),
        object_tokens=torch.randn(2, 3, config.rpg_regions, config.d_model, generator=rng),
        empty=torch.tensor([[False] * 3, [False, True, False]]),
        empty_pointers=torch.zeros(2, 4, dtype=torch.bool),
    )
    return model.condition(frame, torch.zeros(1, 1, config.grid, config.grid), memory, last_gate=last_gate).image


def test_a_square_of_a_pooled_memory_counts_as_much_as_its_cells():
    weights = small_model(config=SMALL).state_dict()
    features = torch.randn(2, 3, SMALL.grid**2, SMALL.mem_dim, generator=torch.Generator().manual_seed(0))
    # All keys alike: every token of the frame then sees the mean of what is in the memory.
    alike = {k: torch.zeros_like(v) for k, v in weights.items() if ".cross_attn_" in k and "k_proj" in k}
    seen = []
    for config in (SMALL, dataclasses.replace(SMALL, memory_pool=2)):
        model = RobotSegModel(config).eval()
        for state in (weights, weights | alike):
            model.load_state_dict(state)
            with torch.no_grad():
                seen.append(looked_up(model, features))
    assert not torch.allclose(seen[0], seen[2], atol=1e-3)
    torch.testing.assert_close(seen[1], seen[3], atol=1e-5, rtol=1e-5)


def test_the_mean_of_a_square_is_kept():
    model = RobotSegModel(dataclasses.replace(SMALL, memory_pool=2))
    cells = torch.arange(SMALL.grid**2).float()
    kept = model.pool_memory(cells[None, :, None].expand(1, -1, SMALL.mem_dim))
    assert kept.shape == (1, (SMALL.grid // 2) ** 2, SMALL.mem_dim)
    assert kept[0, 0].tolist() == [pytest.approx((0 + 1 + SMALL.grid + SMALL.grid + 1) / 4)] * SMALL.mem_dim


@pytest.mark.parametrize(("size", "square"), [(320, 4), (352, 2), (448, 4)])
def test_of_a_grid_that_the_pool_does_not_divide_smaller_squares_are_kept(size: int, square: int):
    assert dataclasses.replace(SMALL, memory_pool=4, image_size=size).memory_square == square
    with pytest.raises(ValueError, match="memory_pool is 0"):
        dataclasses.replace(SMALL, memory_pool=0)


@pytest.mark.parametrize("layers", [1, 2])
def test_the_last_gate_is_divided_out_by_the_norm_behind_it_and_gates_before_it_are_not(layers: int):
    config = dataclasses.replace(SMALL, memory_layers=layers)
    model = RobotSegModel(config).eval()
    features = torch.randn(2, 3, config.grid**2, config.mem_dim, generator=torch.Generator().manual_seed(0))
    last = model.memory_attention.layers[-1].get_parameter("structure_strength")
    with torch.no_grad():
        for strength in (0.0, 1.0, 30.0):
            last.fill_(strength)
            assert model.memory_attention.last_gate_cancels
            with_gate, without = (looked_up(model, features, last_gate=x) for x in (True, False))
            torch.testing.assert_close(without, with_gate, atol=1e-4, rtol=1e-4)
        last.fill_(-3.0)
        assert not model.memory_attention.last_gate_cancels
        if layers > 1:
            before = looked_up(model, features, last_gate=False)
            model.memory_attention.layers[0].get_parameter("structure_strength").fill_(0.0)
            assert not torch.allclose(looked_up(model, features, last_gate=False), before, atol=1e-3)
