# SPDX-License-Identifier: Apache-2.0
"""The small policy as GRPO wants it: drawing and scoring of tokens about the frames of a pool."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robotseg_core.instruct.small.network import Scene, SmallNetwork
from robotseg_core.train.language.grpo import Rollout
from robotseg_core.train.language.pool import Example, Pool
from robotseg_core.train.language.supervised import make_batch, scene_of


class PoolPolicy(nn.Module):
    """A network with the pool that its requests are about."""

    def __init__(self, network: SmallNetwork, pool: Pool, vocabulary: dict[str, int]) -> None:
        super().__init__()
        self.network = network
        self._pool, self._vocabulary = pool, vocabulary

    def scene(self, requests: Sequence[Example]) -> Scene:
        """What the decoder reads of requests."""
        return scene_of(self.network, make_batch(self._pool, requests), requests, self._vocabulary)[0]

    def sample(self, requests: Sequence[Example], group: int, temperature: float) -> Rollout:
        """Draw ``group`` answers to each request."""
        with torch.no_grad():
            return Rollout(*self.network.generate(self.scene(requests), group, temperature=temperature))

    def log_probs(self, requests: Sequence[Example], rollout: Rollout, group: int, temperature: float) -> Tensor:
        """[B * G, T] log-probabilities of drawn tokens, with gradients."""
        logits = self.network(self.scene(requests), rollout.tokens, group)
        logp = F.log_softmax(logits / temperature, -1).gather(2, rollout.tokens[..., None])[..., 0]
        return torch.where(rollout.mask, logp, torch.zeros_like(logp))
