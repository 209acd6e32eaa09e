# SPDX-License-Identifier: Apache-2.0
"""A model of nano's parts at a fraction of its cost, with random weights: where many steps count and masks do not."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from robotseg_core.backends.torch_encoder import TorchEncoder
from robotseg_core.config import NANO, ConvConfig, ConvStage, ModelConfig
from robotseg_core.model.robotseg_model import RobotSegModel
from robotseg_core.stream.robotseg import RobotSeg

SMALL = dataclasses.replace(
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
)


def small_model(*, seed: int = 0, config: ModelConfig = SMALL, object_bias: float = 3.0) -> RobotSegModel:
    """Random weights, in eval mode; ``object_bias`` above 0 makes parts present, far below 0 absent."""
    torch.manual_seed(seed)
    model = RobotSegModel(config)
    decoder: Any = model.sam_mask_decoder
    last = decoder.pred_obj_score_head.layers[2]
    last.bias.data.fill_(object_bias)
    last.weight.data.mul_(0.1)
    for mlp in decoder.output_hypernetworks_mlps:
        mlp.layers[2].weight.data.mul_(4)
    return model.eval().requires_grad_(False)


def small_robotseg(model: RobotSegModel) -> RobotSeg:
    """The same, ready to stream on the CPU."""
    device = torch.device("cpu")
    return RobotSeg(model, TorchEncoder(model, device), device, "random weights")
