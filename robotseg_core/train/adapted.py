# SPDX-License-Identifier: Apache-2.0
"""Training an adapter: the weights stay, small changes of them learn (:mod:`robotseg_core.weights.adapter`).

What changes are the trunk's 1 x 1 convolutions, neck, prompt generator and decoder with the category embeddings.
Without the trunk it learned less (docs/your-robot.md).  The memory knows how to remember, which is about no one robot.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from robotseg_core.model.robotseg_model import RobotSegModel
from robotseg_core.train.objective import Losses, Objective
from robotseg_core.weights.adapter import ADD, DOWN, UP, merged

ADAPTED = ("image_encoder.neck.", "robot_prompt_generator.", "sam_mask_decoder.")
"""Beginnings of the names of the weights that change."""
TRUNK = "image_encoder.trunk."
MOST_SHARE = 0.05
"""An adapter has less than this share of the numbers of its base."""


@dataclass(frozen=True)
class AdapterConfig:
    """Form of an adapter.

    Attributes:
        rank: of the change of a matrix; 0: biases, norms and embeddings alone change.
        trunk: whether the 1 x 1 convolutions of the trunk change, too.
    """

    rank: int = 4
    trunk: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.rank <= 64:
            raise ValueError(f"rank is {self.rank}, must be 0 to 64")


def adapted_weights(model: RobotSegModel, config: AdapterConfig) -> Iterator[tuple[str, nn.Parameter, bool]]:
    """Weights that an adapter changes: name, weight, and whether its change is a product of two thin matrices."""
    tables = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Embedding)}
    for name, weight in model.named_parameters():
        matrix = weight.ndim > 1 and name not in tables
        in_trunk = config.trunk and name.startswith(TRUNK) and weight.shape[2:] == (1, 1)
        if not (name.startswith(ADAPTED) or in_trunk):
            continue
        rows, columns = (weight.shape[0], weight[0].numel()) if matrix else (0, 0)
        if not matrix:
            yield name, weight, False
        elif config.rank and config.rank * (rows + columns) < weight.numel():
            yield name, weight, True
        elif config.rank:
            # As small as its factors would be.
            yield name, weight, False


class AdaptedObjective(nn.Module):
    """An :class:`Objective` whose model is frozen, and the changes of its weights that learn.

    Its statistics of batches stay those of the base, and its dense head, which is of training alone, says nothing.

    Raises:
        ValueError: the adapter would have :data:`MOST_SHARE` of the model's numbers or more.
    """

    def __init__(self, objective: Objective, config: AdapterConfig) -> None:
        super().__init__()
        self.objective = objective.requires_grad_(False)
        self.changes = nn.ParameterDict()
        self._weights: list[str] = []
        for name, weight, thin in adapted_weights(objective.model, config):
            self._weights.append(name)
            if thin:
                down = torch.empty(config.rank, weight[0].numel())
                nn.init.kaiming_uniform_(down, a=math.sqrt(5))
                self._put(name + UP, torch.zeros(weight.shape[0], config.rank))
                self._put(name + DOWN, down)
            else:
                self._put(name + ADD, torch.zeros(weight.shape))
        whole = sum(p.numel() for p in objective.model.parameters())
        self.numbers = sum(p.numel() for p in self.changes.parameters())
        if self.numbers >= MOST_SHARE * whole:
            raise ValueError(
                f"an adapter of rank {config.rank} has {self.numbers} numbers, {100 * self.numbers / whole:.1f} % of "
                f"the model's {whole}; it must have less than {100 * MOST_SHARE:.0f} %: take a smaller rank"
            )

    def _put(self, key: str, value: Tensor) -> None:
        # Names of parameters must not have dots.
        self.changes[key.replace(".", "/")] = nn.Parameter(value)

    @property
    def model(self) -> RobotSegModel:
        """The frozen model."""
        return self.objective.model

    def set_phase(self, kind: str, frozen: int = 0, auto: float = 1.0) -> None:
        """As of :class:`Objective`."""
        self.objective.set_phase(kind, frozen, auto)

    def train(self, mode: bool = True) -> AdaptedObjective:
        """As of every module, but the statistics of batches stay as they are."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def tensors(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The changes as :func:`~robotseg_core.weights.adapter.save_adapter` takes them, out of a state dict.

        Products that are zero, as those of stages that a phase freezes, are left out.
        """
        prefix = "changes."
        found = {k[len(prefix) :].replace("/", "."): v for k, v in state.items() if k.startswith(prefix)}
        nothing = {k.removesuffix(UP) for k, v in found.items() if k.endswith(UP) and not bool(v.any())}
        return {k: v for k, v in found.items() if k.removesuffix(UP).removesuffix(DOWN) not in nothing}

    def forward(self, images: Tensor, labels: Tensor, u: Tensor, rng: np.random.Generator) -> Losses:
        """Losses by name as of :class:`Objective`, with the weights changed."""
        own = dict(self.model.named_parameters())
        changes = {key.replace("/", "."): value for key, value in self.changes.items()}
        with torch.autocast(images.device.type, enabled=False):
            weights = {f"model.{name}": merged(own[name], name, changes, "adapter") for name in self._weights}
        losses: Losses = functional_call(self.objective, weights, (images, labels, u, rng))
        return {name: value for name, value in losses.items() if not name.startswith("dense")}
