# SPDX-License-Identifier: Apache-2.0
"""The model without one of its boxes: what each of them is worth in weights that are trained."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest import mock

import torch
from torch import Tensor

from robotseg_core.model.memory_attention import MemoryAttentionLayer
from robotseg_core.model.robotseg_model import Conditioned, Features, Memory, RobotSegModel

BOXES = ("memory", "structure", "rpg", "rpg-noise", "prompts")
"""What can be left out: the memory as a whole (every frame is decoded as a first one), SEMA's structure term, RPG's
object tokens (none, or noise in their place), the prompt encoder's points."""


@contextlib.contextmanager
def without(model: RobotSegModel, box: str) -> Iterator[None]:
    """Within it the model runs in PyTorch without ``box``; the weights are as before afterwards.

    Raises:
        ValueError: the box is none of :data:`BOXES`.
    """
    if box not in BOXES:
        raise ValueError(f"box is {box!r}, must be one of {', '.join(BOXES)}")
    with contextlib.ExitStack() as stack:
        if box == "memory":

            def first(features: Features, edge: Tensor, memory: Memory, *, last_gate: bool = True) -> Conditioned:
                return model.initial(features, memory.features.shape[0])

            stack.enter_context(mock.patch.object(model, "condition", first))
        elif box == "structure":
            for layer in model.memory_attention.layers:
                assert isinstance(layer, MemoryAttentionLayer)
                strength = layer.structure_strength
                stack.callback(strength.data.copy_, strength.detach().clone())
                strength.data.zero_()
        elif box == "prompts":
            encoder = model.sam_prompt_encoder

            def nothing(coords: Tensor, labels: Tensor) -> Tensor:
                return encoder.not_a_point_embed.weight.expand(labels.shape[0], max(2, labels.shape[1] + 1), -1)

            stack.enter_context(mock.patch.object(encoder, "points", nothing))
        else:
            generator = model.robot_prompt_generator

            def tokens(features: Tensor, foreground: Tensor) -> Tensor:
                batch = features.shape[0]
                if box == "rpg":
                    return generator.no_memory(batch).to(features.dtype)
                noise = torch.Generator(device="cpu").manual_seed(0)
                shape = (batch, generator.regions, generator.subregions, features.shape[-1])
                drawn = torch.randn(shape, generator=noise).to(features)
                return torch.nn.functional.normalize(drawn, dim=-1).flatten(2)

            stack.enter_context(mock.patch.object(generator, "forward", tokens))
        yield
