# SPDX-License-Identifier: Apache-2.0
"""A model of nano's parts and a tenth of its cost, for tests that need many steps."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import torch
from numpy.typing import NDArray

from robotseg_core.config import NANO, ConvConfig, ConvStage, ModelConfig
from robotseg_core.encoder_backend import TorchEncoder
from robotseg_core.model import RobotSegModel
from robotseg_core.stream import RobotSeg

SMALL: ModelConfig = dataclasses.replace(
    NANO,
    name="small",
    image_size=64,
    encoder=ConvConfig(stem=4, stages=tuple(ConvStage(1, 3, 2, 2, width) for width in (4, 8, 8, 8))),
    fpn_channels=(4, 8, 64),
    d_model=64,
    mem_dim=16,
    attention_dim=16,
    memory_ffn=32,
    decoder_ffn=32,
    head_hidden=16,
    mask_channels=(2, 4, 4, 8),
    memory_frames=3,
    max_pointers=4,
)


@functools.cache
def small_model(*, seed: int = 0, config: ModelConfig = SMALL, object_bias: float = 3.0) -> RobotSegModel:
    """Random weights; ``object_bias`` above 0 makes parts present, far below 0 absent."""
    torch.manual_seed(seed)
    model = RobotSegModel(config)
    last = model.sam_mask_decoder.pred_obj_score_head.layers[2]
    last.bias.data.fill_(object_bias)
    last.weight.data.mul_(0.1)
    for mlp in model.sam_mask_decoder.output_hypernetworks_mlps:
        mlp.layers[2].weight.data.mul_(4)
    return model.eval().requires_grad_(False)


def small_robotseg(**arguments: object) -> RobotSeg:
    """The same, ready to stream."""
    model = small_model(**arguments)  # type: ignore[arg-type]
    device = torch.device("cpu")
    return RobotSeg(model, TorchEncoder(model, device), device, "random")


def moving_frames(count: int, height: int = 60, width: int = 80) -> list[NDArray[np.uint8]]:
    """A textured picture that moves."""
    rng = np.random.default_rng(0)
    wide = np.kron(rng.integers(0, 256, (6, 20, 3)), np.ones((10, 10, 1))).astype(np.uint8)
    return [np.ascontiguousarray(wide[:height, i % 100 : i % 100 + width]) for i in range(count)]
