# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robotseg_core.model.image_encoder_nano import InvertedResidual
from robotseg_core.train.fast import depthwise
from robotseg_core.train.fast.depthwise import Depthwise, use_fast_depthwise

pytestmark = pytest.mark.skipif(depthwise.library() is None, reason="no C++ compiler")

SIDES = [(3, 1, 1, 1), (5, 1, 2, 2), (3, 2, 0, 1), (5, 2, 1, 2)]
"""kernel, stride, cells before, cells after: all that the trunk has."""


def reference(x: Tensor, weight: Tensor, bias: Tensor, stride: int, before: int, after: int) -> Tensor:
    padded = F.pad(F.relu6(x), (before, after, before, after))
    return F.relu6(F.conv2d(padded, weight, bias, stride, groups=len(weight)))


@pytest.mark.parametrize(("kernel", "stride", "before", "after"), SIDES)
@pytest.mark.parametrize("size", [(2, 2), (4, 7), (9, 6)])
def test_it_is_the_convolution_with_both_activations(
    kernel: int, stride: int, before: int, after: int, size: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    x = 3 * torch.randn(3, 32, *size) + 1
    weight, bias = 0.4 * torch.randn(32, 1, kernel, kernel), torch.randn(32)
    inputs = [t.clone().requires_grad_() for t in (x, weight, bias)]
    exact = [t.double().requires_grad_() for t in (x, weight, bias)]
    found = Depthwise.apply(*inputs, stride, before, after)
    want = reference(*exact, stride, before, after)
    assert found.shape == want.shape
    assert torch.allclose(found.double(), want, atol=1e-5)
    slope = torch.randn(want.shape)
    found.backward(slope)
    want.backward(slope.double())
    for own, true in zip(inputs, exact, strict=True):
        assert own.grad is not None and true.grad is not None
        assert torch.allclose(own.grad.double(), true.grad, atol=1e-4), own.shape


def test_in_bfloat16_the_sums_are_exact_to_its_rounding() -> None:
    torch.manual_seed(1)
    x = (2 * torch.randn(2, 16, 8, 8)).bfloat16()
    weight, bias = 0.3 * torch.randn(16, 1, 5, 5), torch.randn(16)
    own = x.clone().requires_grad_()
    found = Depthwise.apply(own, weight, bias, 1, 2, 2)
    true = x.double().requires_grad_()
    want = reference(true, weight.double(), bias.double(), 1, 2, 2)
    assert found.dtype == torch.bfloat16
    assert torch.allclose(found.double(), want, atol=0.02)
    found.sum().backward()
    want.sum().backward()
    assert own.grad is not None and true.grad is not None
    assert (own.grad.double() - true.grad).norm() < 0.02 * true.grad.norm()


def test_blocks_answer_and_learn_as_before() -> None:
    torch.manual_seed(2)
    model = nn.Sequential(
        InvertedResidual(16, 16, kernel=3, stride=1, expand=1),
        InvertedResidual(16, 24, kernel=5, stride=2, expand=6),
        InvertedResidual(24, 24, kernel=5, stride=1, expand=6),
    )
    fast = copy.deepcopy(model)
    assert use_fast_depthwise(fast) == 3
    x = torch.randn(2, 16, 12, 12)
    # The first block has no expansion: what it is given has its own ReLU6 behind it.
    x = F.relu6(x)
    found, want = fast(x), model(x)
    assert torch.allclose(found, want, atol=1e-4)
    found.square().mean().backward()
    want.square().mean().backward()
    for (name, own), true in zip(fast.named_parameters(), model.parameters(), strict=True):
        assert own.grad is not None and true.grad is not None
        assert (own.grad - true.grad).norm() <= 1e-3 * true.grad.norm() + 1e-6, name


def test_channels_that_do_not_come_in_sixteens_stay_as_they_are() -> None:
    block = InvertedResidual(12, 12, kernel=3, stride=1, expand=2)
    assert use_fast_depthwise(block) == 0
    assert block(torch.randn(1, 12, 4, 4)).shape == (1, 12, 4, 4)
