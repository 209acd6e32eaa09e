# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses

import torch
from small_models import SMALL
from torch.nn import functional as F

from robotseg_core.model.structure import centre_sample, edges, real_edges, structure_gate
from robotseg_core.stream.preprocess import normalise


def test_gate_equals_the_large_map_it_stands_for():
    torch.manual_seed(0)
    logits = 4 * torch.randn(2, 1, 9, 9)
    large = F.interpolate(logits, scale_factor=16.0, mode="bilinear").sigmoid()
    expected = F.interpolate(large, (9, 9), mode="bilinear")
    torch.testing.assert_close(structure_gate(logits), expected, atol=1e-6, rtol=0)


def test_centre_sample_equals_bilinear_reduction_without_antialias():
    x = torch.rand(1, 1, 64, 64)
    torch.testing.assert_close(centre_sample(x), F.interpolate(x, (4, 4), mode="bilinear"), atol=1e-6, rtol=0)


def test_real_edges_see_an_edge_and_nothing_else():
    image = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    image[..., 40:] = 255
    e = real_edges(normalise(image))
    assert e.shape == (1, 1, 4, 4)
    assert bool((e[..., 2] > 0.9).all())
    assert bool((e[..., [0, 1, 3]] < 0.01).all())


def test_reference_edges_are_practically_off_in_daylight_and_on_in_the_dark():
    config = dataclasses.replace(SMALL, real_edges=False)
    image = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    # The strongest gradient at column 23, one of the two central columns of the second cell.
    image[..., 23], image[..., 24:] = 128, 255
    dark = (image.int() * 5 // 7).to(torch.uint8)  # no normalised value above 1.5: no division by 255
    assert float(edges(normalise(image), config).max()) < 0.02
    assert float(edges(normalise(dark), config).max()) > 0.1
