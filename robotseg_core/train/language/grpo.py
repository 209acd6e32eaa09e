# SPDX-License-Identifier: Apache-2.0
"""GRPO in plain PyTorch (SEGR1 4.1): groups of answers to one request, their rewards, one advantage an answer.

Glossary: B requests, G answers to each, T tokens at most; row ``b * G + g`` of [B * G, T] is answer g to request b.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Rollout:
    """Answers drawn from a policy.

    Attributes:
        tokens: [B * G, T] int64.
        mask: [B * G, T] bool: up to the end token, that included.
        logp: [B * G, T] log-probability of each token when it was drawn, 0 outside ``mask``.
    """

    tokens: Tensor
    mask: Tensor
    logp: Tensor


class TokenPolicy(Protocol):
    """A policy that writes tokens; a ``torch.nn.Module`` too.  Constraints hold in drawing and in scoring alike."""

    def sample(self, requests: Sequence[Any], group: int, temperature: float) -> Rollout:
        """Draw ``group`` answers to each request, without gradients."""
        ...

    def log_probs(self, requests: Sequence[Any], rollout: Rollout, group: int, temperature: float) -> Tensor:
        """[B * G, T] log-probabilities of the drawn tokens, with gradients, 0 outside the mask."""
        ...


Reward = Callable[[Sequence[Any], Rollout, int], Tensor]
"""Requests, rollout and group size to rewards [B, G]."""


@dataclass(frozen=True)
class GrpoSettings:
    """How a step is taken; starting values of SEGR1 10.5.

    Attributes:
        group: answers to a request.
        temperature: of drawing.
        beta: weight of the divergence from the reference; 0: none.
        clip: the ratio is clipped at 1 - clip and 1 + clip where answers are used again.
        reuse: gradient steps a batch.
        min_spread: groups whose rewards differ by less are left out: dividing would turn noise into full steps.
        divide: whether advantages are divided by the group's standard deviation.
        clip_norm: largest norm of the gradient.
    """

    group: int = 8
    temperature: float = 1.0
    beta: float = 0.02
    clip: float = 0.2
    reuse: int = 1
    min_spread: float = 0.02
    divide: bool = True
    clip_norm: float = 1.0

    def __post_init__(self) -> None:
        if self.group < 2:
            raise ValueError(f"group is {self.group}, must be at least 2: an answer is compared with its group")
        if self.reuse < 1:
            raise ValueError(f"reuse is {self.reuse}, must be at least 1")
        if self.temperature <= 0:
            raise ValueError(f"temperature is {self.temperature}, must be above 0")


def advantages(rewards: Tensor, *, divide: bool = True) -> Tensor:
    """Rewards [..., G] minus their group's mean, over its unbiased standard deviation + 1e-4."""
    centred = rewards - rewards.mean(-1, keepdim=True)
    return centred / (rewards.std(-1, keepdim=True) + 1e-4) if divide else centred


def leave_one_out(rewards: Tensor) -> Tensor:
    """Rewards [..., G] minus the mean of the others of the group."""
    return (rewards - rewards.mean(-1, keepdim=True)) * rewards.shape[-1] / (rewards.shape[-1] - 1)


def useful(rewards: Tensor, min_spread: float) -> Tensor:
    """Which groups [B] of rewards [B, G] teach something."""
    return rewards.amax(-1) - rewards.amin(-1) >= max(min_spread, 1e-12)


def low_variance_kl(logp: Tensor, reference: Tensor) -> Tensor:
    """u - ln u - 1 with u = reference / policy, for each token: never below 0."""
    log_u = reference - logp
    return torch.expm1(log_u) - log_u


def grpo_loss(
    logp: Tensor,
    mask: Tensor,
    advantage: Tensor,
    *,
    old: Tensor | None = None,
    reference: Tensor | None = None,
    beta: float = 0.0,
    clip: float = 0.2,
) -> Tensor:
    """Mean over the tokens of an answer, then over answers.

    Args:
        logp: [N, T] of the policy, with gradients.
        mask: [N, T] bool.
        advantage: [N].
        old: [N, T] of the policy that has drawn; None: this one, so the ratio is 1 and only carries the gradient.
        reference: [N, T] of the policy at the start of the stage; None: no divergence is charged.
        beta: weight of the divergence.
        clip: of the ratio.
    """
    ratio = torch.exp(logp - (logp.detach() if old is None else old.detach()))
    gain = advantage[:, None] * ratio
    clipped = advantage[:, None] * ratio.clamp(1 - clip, 1 + clip)
    token = torch.minimum(gain, clipped)
    if reference is not None and beta:
        token = token - beta * low_variance_kl(logp, reference.detach())
    length = mask.sum(1).clamp(min=1)
    return -((token * mask).sum(1) / length).mean()


@dataclass(frozen=True)
class StepLog:
    """What a step did.

    Attributes:
        reward: mean over all answers.
        kl: mean divergence from the reference a token; 0 without one.
        entropy: mean surprise of the drawn tokens, nats.
        length: mean tokens of an answer.
        used: share of the groups that taught something.
        loss: of the last gradient step; 0 where no group was used.
        ratio: largest difference from 1 of the ratio at the first gradient step: what is scored is what was drawn.
    """

    reward: float
    kl: float
    entropy: float
    length: float
    used: float
    loss: float
    ratio: float


def grpo_step(
    policy: TokenPolicy,
    reference: TokenPolicy | None,
    optimizer: torch.optim.Optimizer,
    requests: Sequence[Any],
    reward: Reward,
    settings: GrpoSettings,
) -> StepLog:
    """Draw, reward, learn.  ``reference`` has the weights of the start of the stage.

    Raises:
        ValueError: a reward is not finite, or of the wrong shape.
    """
    s = settings
    with torch.no_grad():
        rollout = policy.sample(requests, s.group, s.temperature)
    rewards = reward(requests, rollout, s.group)
    if rewards.shape != (len(requests), s.group) or not bool(torch.isfinite(rewards).all()):
        raise ValueError(f"rewards are {tuple(rewards.shape)}, must be finite [{len(requests)}, {s.group}]")
    keep = useful(rewards, s.min_spread)
    mask = rollout.mask
    surprise = float(-(rollout.logp * mask).sum() / mask.sum().clamp(min=1))
    length = float(mask.sum(1).float().mean())
    if not bool(keep.any()):
        return StepLog(float(rewards.mean()), 0.0, surprise, length, 0.0, 0.0, 0.0)
    kept = [request for request, good in zip(requests, keep.tolist(), strict=True) if good]
    rows = keep.repeat_interleave(s.group)
    used = Rollout(rollout.tokens[rows], mask[rows], rollout.logp[rows])
    advantage = advantages(rewards[keep], divide=s.divide).flatten()
    fixed = None
    if reference is not None and s.beta:
        with torch.no_grad():
            fixed = reference.log_probs(kept, used, s.group, s.temperature)
    off, kl, loss = 0.0, 0.0, torch.zeros(())
    for again in range(s.reuse):
        logp = policy.log_probs(kept, used, s.group, s.temperature)
        if again == 0:
            off = float(((logp.detach() - used.logp).exp() - 1)[used.mask].abs().max())
            if fixed is not None:
                kl = float(low_variance_kl(logp.detach(), fixed)[used.mask].mean())
        old = used.logp if s.reuse > 1 else None
        loss = grpo_loss(logp, used.mask, advantage, old=old, reference=fixed, beta=s.beta, clip=s.clip)
        optimizer.zero_grad()
        loss.backward()
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        nn.utils.clip_grad_norm_(parameters, s.clip_norm)
        optimizer.step()
    share = float(keep.float().mean())
    return StepLog(float(rewards.mean()), kl, surprise, length, share, float(loss.detach()), off)
