# SPDX-License-Identifier: Apache-2.0
"""Three coloured rectangles, three words, and a perfect segmenter that returns the rectangle under the box."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from robotseg_core.train.language.grpo import Rollout

BINS, TOKENS = 12, 4


@dataclass(frozen=True)
class Scene:
    """``boxes`` [3, 4] x0, y0, x1, y1 in bins, one a colour; ``word``: which is asked for; ``said``: what is heard."""

    boxes: np.ndarray
    word: int
    said: int


def draw_scenes(rng, count, *, shuffled=False):
    scenes = []
    for _ in range(count):
        boxes = np.empty((3, 4))
        for colour, slot in enumerate(rng.permutation(3)):
            x, y = 4 * slot + rng.integers(0, 2), rng.integers(0, 6)
            boxes[colour] = x, y, x + 2, y + rng.integers(3, 6)
        word = int(rng.integers(3))
        scenes.append(Scene(boxes, word, int(rng.integers(3)) if shuffled else word))
    return scenes


def overlap(a, b):
    w, h = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    inter = max(w, 0) * max(h, 0)
    return inter / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - inter)


def rewards(scenes, rollout, group):
    """The rectangle that the box covers best is the mask; it earns 1 if it is the one asked for, times the fit."""
    tokens = rollout.tokens.numpy().reshape(len(scenes), group, TOKENS)
    found = np.zeros((len(scenes), group))
    for i, scene in enumerate(scenes):
        for j, box in enumerate(tokens[i].astype(float)):
            fits = [overlap(box, own) for own in scene.boxes]
            best = int(np.argmax(fits))
            found[i, j] = float(best == scene.word and fits[best] > 0.3)
    return torch.tensor(found, dtype=torch.float32)


class ToyPolicy(nn.Module):
    """Four coordinate tokens, one after the other, the second corner beyond the first."""

    def __init__(self, width=96):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(12 + 3 + TOKENS + TOKENS, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(),
            nn.Linear(width, BINS),
        )  # fmt: skip

    def logits(self, scenes, tokens, step):
        boxes = torch.tensor(np.stack([s.boxes.ravel() for s in scenes]), dtype=torch.float32) / BINS
        word = nn.functional.one_hot(torch.tensor([s.said for s in scenes]), 3).float()
        past = torch.where(torch.arange(TOKENS) < step, tokens / BINS, 0.0)
        at = nn.functional.one_hot(torch.tensor(step), TOKENS).float().expand(len(scenes), -1)
        logits = self.net(torch.cat([boxes, word, past, at], 1))
        bins = torch.arange(BINS)
        allowed = bins[None] > tokens[:, step - 2, None] if step >= 2 else bins[None] < BINS - 1
        return logits.masked_fill(~allowed.expand(len(scenes), -1), -torch.inf)

    def sample(self, scenes, group, temperature):
        many = [s for s in scenes for _ in range(group)]
        tokens, logp = torch.zeros(len(many), TOKENS, dtype=torch.long), torch.zeros(len(many), TOKENS)
        for step in range(TOKENS):
            logs = (self.logits(many, tokens, step) / temperature).log_softmax(1)
            tokens[:, step] = torch.multinomial(logs.exp(), 1)[:, 0]
            logp[:, step] = logs.gather(1, tokens[:, step, None])[:, 0]
        return Rollout(tokens, torch.ones_like(tokens, dtype=torch.bool), logp)

    def log_probs(self, scenes, rollout: Rollout, group, temperature) -> Tensor:
        many = [s for s in scenes for _ in range(group)]
        return torch.stack(
            [
                (self.logits(many, rollout.tokens, step) / temperature)
                .log_softmax(1)
                .gather(1, rollout.tokens[:, step, None])[:, 0]
                for step in range(TOKENS)
            ],
            1,
        )


def half_trained(seed=0, steps=500):
    """A policy that writes boxes of rectangles, but has heard the right word only half of the time."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    policy = ToyPolicy()
    optimizer = torch.optim.Adam(policy.parameters(), 3e-3)
    for _ in range(steps):
        scenes = draw_scenes(rng, 64)
        heard = [Scene(s.boxes, s.word, s.word if rng.random() < 0.5 else int(rng.integers(3))) for s in scenes]
        tokens = torch.tensor(np.stack([s.boxes[s.word] for s in scenes]), dtype=torch.long).clamp(max=BINS - 1)
        rollout = Rollout(tokens, torch.ones_like(tokens, dtype=torch.bool), torch.zeros(len(scenes), TOKENS))
        loss = -policy.log_probs(heard, rollout, 1, 1.0).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return policy
