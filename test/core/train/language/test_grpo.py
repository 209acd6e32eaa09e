# SPDX-License-Identifier: Apache-2.0
"""GRPO: worked numbers, gradients against finite differences, and a toy world in which it has to learn."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_world import ToyPolicy, draw_scenes, half_trained, rewards

from robotseg_core.train.language.grpo import (
    GrpoSettings,
    advantages,
    grpo_loss,
    grpo_step,
    leave_one_out,
    low_variance_kl,
    useful,
)

FILE = Path(__file__).resolve().parents[5] / "shared" / "reference" / "segr1_metrics.json"
DATA = json.loads(FILE.read_text())["grpo"] if FILE.is_file() else None
needs_file = pytest.mark.skipif(DATA is None, reason="../shared/reference is not beside this checkout")


def test_advantages_of_the_specification():
    found = advantages(torch.tensor([1.62, 1.30, 0, 1.71], dtype=torch.float64))
    want = [0.584281758714, 0.180021947280, -1.462283536670, 0.697979830680]
    np.testing.assert_allclose(found, want, atol=1e-11)


@needs_file
@pytest.mark.parametrize("which", range(4))
def test_worked_groups(which):
    group = DATA["groups"][which]
    found = torch.tensor(group["rewards"], dtype=torch.float64)
    np.testing.assert_allclose(advantages(found), group["advantages"], atol=1e-9)
    np.testing.assert_allclose(advantages(found, divide=False), group["advantages_without_std"], atol=1e-9)
    np.testing.assert_allclose(leave_one_out(found), group["leave_one_out"], atol=1e-9)


def padded(rows):
    return torch.tensor([row + [0.0] * (3 - len(row)) for row in rows], dtype=torch.float64)


@needs_file
@pytest.mark.parametrize("kind", ["on_policy", "with_clip"])
def test_worked_loss_and_gradients(kind):
    case = DATA["loss_example"]
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]], dtype=torch.bool)
    logp = padded(case["logp"]).requires_grad_()
    reference = padded(case["logp_reference"])
    np.testing.assert_allclose(low_variance_kl(logp, reference).detach(), padded(case["kl_per_token"]), atol=1e-10)
    advantage = advantages(torch.tensor(case["rewards"], dtype=torch.float64))
    old = padded(case["logp_old"]) if kind == "with_clip" else None
    loss = grpo_loss(logp, mask, advantage, old=old, reference=reference, beta=case["beta"], clip=case["clip"])
    loss.backward()
    assert loss.item() == pytest.approx(case[kind]["loss"], abs=1e-9)
    np.testing.assert_allclose(logp.grad, padded(case[kind]["grad_wrt_logp"]), atol=1e-9)


def test_gradients_against_finite_differences():
    generator = torch.Generator().manual_seed(3)
    logp, old, reference = -torch.rand(3, 5, 7, generator=generator, dtype=torch.float64) * 2
    mask = torch.arange(7)[None] < torch.tensor([7, 3, 1, 5, 2])[:, None]
    advantage = torch.randn(5, generator=generator, dtype=torch.float64)

    def loss(x):
        return grpo_loss(x, mask, advantage, old=old, reference=reference, beta=0.04, clip=0.2)

    assert torch.autograd.gradcheck(loss, (logp.requires_grad_(),))


def test_the_divergence_is_never_negative_and_0_for_equals():
    logp, reference = -5 * torch.rand(2, 1000, generator=torch.Generator().manual_seed(0))
    assert bool((low_variance_kl(logp, reference) >= 0).all())
    assert float(low_variance_kl(logp, logp).abs().max()) == 0


def test_groups_of_equal_rewards_teach_nothing():
    found = torch.tensor([[0.3, 0.3, 0.3], [0.3, 0.31, 0.3], [0.0, 1.0, 0.0]])
    assert useful(found, 0.02).tolist() == [False, False, True]
    assert useful(found, 0.0).tolist() == [False, True, True]
    policy = ToyPolicy()
    before = copy.deepcopy(policy.state_dict())
    scenes = draw_scenes(np.random.default_rng(0), 4)
    optimizer = torch.optim.SGD(policy.parameters(), 1.0)
    log = grpo_step(policy, None, optimizer, scenes, lambda s, r, g: torch.full((4, g), 0.5), GrpoSettings())
    assert log.used == 0
    assert all(torch.equal(before[name], value) for name, value in policy.state_dict().items())


def test_what_is_scored_is_what_was_drawn():
    policy = ToyPolicy()
    scenes = draw_scenes(np.random.default_rng(0), 6)
    rollout = policy.sample(scenes, 3, 0.7)
    scored = policy.log_probs(scenes, rollout, 3, 0.7)
    assert torch.equal((scored - rollout.logp).exp(), torch.ones_like(scored))
    for step in range(4):
        many = [s for s in scenes for _ in range(3)]
        total = policy.logits(many, rollout.tokens, step).softmax(1).sum(1)
        torch.testing.assert_close(total, torch.ones_like(total))


def test_rewards_must_be_finite():
    policy, scenes = ToyPolicy(), draw_scenes(np.random.default_rng(0), 2)
    optimizer = torch.optim.SGD(policy.parameters(), 1.0)
    with pytest.raises(ValueError, match=r"must be finite \[2, 8\]"):
        grpo_step(policy, None, optimizer, scenes, lambda s, r, g: torch.full((2, g), torch.nan), GrpoSettings())


@pytest.fixture(scope="module")
def start():
    return half_trained()


def mean_reward(policy):
    scenes = draw_scenes(np.random.default_rng(99), 300)
    torch.manual_seed(5)
    with torch.no_grad():
        return float(rewards(scenes, policy.sample(scenes, 4, 1.0), 4).mean())


def learn(start, *, shuffled, reuse=1, steps=120):
    policy, reference = copy.deepcopy(start), copy.deepcopy(start)
    rng = np.random.default_rng(1)
    torch.manual_seed(1)
    optimizer = torch.optim.AdamW(policy.parameters(), 2e-3)
    settings = GrpoSettings(beta=0.01, reuse=reuse)
    logs = []
    for _ in range(steps):
        scenes = draw_scenes(rng, 32, shuffled=shuffled)
        logs.append(grpo_step(policy, reference, optimizer, scenes, rewards, settings))
    return policy, logs


@pytest.mark.parametrize("reuse", [1, 2])
def test_the_toy_world_is_learned(start, reuse):
    before = mean_reward(start)
    policy, logs = learn(start, shuffled=False, reuse=reuse)
    assert before < 0.7
    assert mean_reward(policy) > before + 0.15
    assert logs[0].ratio < 1e-6 and logs[0].kl < 1e-6
    assert logs[-1].kl > 0.001


def test_shuffled_requests_teach_no_words(start):
    policy, _ = learn(start, shuffled=True)
    assert mean_reward(policy) < mean_reward(start) + 0.05
