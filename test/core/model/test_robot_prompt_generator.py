# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import torch
from small_models import SMALL

from robotseg_core.model.robot_prompt_generator import RobotPromptGenerator, foreground_cells


def naive_seeds(cells, count):
    """Farthest point sampling over a list of (y, x), starting at the first."""
    seeds = [0]
    for _ in range(1, min(count, len(cells))):
        nearest = [min((y - cells[s][0]) ** 2 + (x - cells[s][1]) ** 2 for s in seeds) for y, x in cells]
        seeds.append(int(np.argmax(nearest)))
    return seeds + [0] * (count - len(seeds))


def naive_clusters(features, cells, count):
    """Seeds and cells of each cluster, as lists of indices into ``cells``."""
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    seeds = naive_seeds(cells, count)
    owner = (1 - unit @ unit[seeds].T).argmin(1)
    return seeds, [np.flatnonzero(owner == i) for i in range(count)]


def naive_tokens(features, foreground, grid, learned):
    """SPEC 6 for one memory frame, in plain loops."""
    index = np.flatnonzero(foreground)
    if len(index) == 0:
        return np.repeat(learned, 3, 0)
    cells = [(int(i) // grid, int(i) % grid) for i in index]
    f = features[index]
    _, clusters = naive_clusters(f, cells, 3)
    tokens = []
    for cluster in clusters:
        members = cluster if len(cluster) else np.arange(len(index))
        seeds, inner = naive_clusters(f[members], [cells[i] for i in members], 4)
        parts = []
        for seed, sub in zip(seeds, inner, strict=True):
            mean = f[members][sub].mean(0) if len(sub) else f[members][seed]
            parts.append(mean / max(np.linalg.norm(mean), 1e-12))
        tokens.append(np.concatenate(parts))
    return np.stack(tokens)


def test_equals_plain_loops_from_no_cell_to_all_cells():
    torch.manual_seed(0)
    generator = RobotPromptGenerator(SMALL)
    grid, cells = SMALL.grid, SMALL.grid**2
    rng = np.random.default_rng(0)
    masks = [np.zeros(cells, bool), np.ones(cells, bool), np.eye(1, cells, 3, dtype=bool)[0]]
    masks += [rng.permutation(cells) < count for count in (2, 3, 5, 9)]
    foreground = np.stack(masks)
    features = rng.normal(size=(len(masks), cells, SMALL.mem_dim)).astype(np.float32)
    with torch.inference_mode():
        tokens = generator(torch.from_numpy(features), torch.from_numpy(foreground)).numpy()
    learned = generator.no_memory_prompt_embeddings_fg.weight.detach().numpy()
    for row in range(len(masks)):
        expected = naive_tokens(features[row], foreground[row], grid, learned)
        np.testing.assert_allclose(tokens[row], expected, atol=1e-5)


def test_foreground_is_the_interpolated_sigmoid_not_the_interpolated_logit():
    logits = torch.full((1, 4 * SMALL.grid, 4 * SMALL.grid), -1.0)
    logits[:, ::2] = 100.0
    # Sigmoid first: (1 + 0.27) / 2 of each cell is above 0.5; of the logits' mean only the sign would count.
    assert bool(foreground_cells(logits, SMALL.grid).all())
    assert not foreground_cells(torch.full_like(logits, -0.01), SMALL.grid).any()
