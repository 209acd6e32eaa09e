# SPDX-License-Identifier: Apache-2.0
"""From clips to the batches of a step, the same ones whatever the number of workers, processes and interruptions."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Protocol

import cv2
import numpy as np
import torch
from torch import Tensor

from robotseg_core.train.data.prompts import NUMBERS
from robotseg_core.train.data.sources import Clip
from robotseg_core.train.losses import PARTS

Batch = tuple[Tensor, Tensor, Tensor]
"""images uint8 [B, T, 3, S, S], labels uint8 [B, T, S, S], uniform numbers of the prompts float32 [B, 3, NUMBERS]."""


class ClipSource(Protocol):
    """Where clips come from."""

    def draw(self, rng: np.random.Generator) -> Clip:
        """One augmented clip: RGB uint8 [T, S, S, 3] and labels uint8 [T, S, S]."""
        ...


class BatchStream(torch.utils.data.IterableDataset[Batch]):
    """Endless stream of whole batches.

    Sample i of step s has the number ``s * batch + i`` and is drawn from a generator seeded by (seed, number).
    Process ``rank`` of ``world`` gets its share of every step; workers take whole steps in turn.
    """

    def __init__(
        self, source: ClipSource, *, batch: int, seed: int, start: int = 0, rank: int = 0, world: int = 1
    ) -> None:
        if batch % world:
            raise ValueError(f"batch is {batch}, must be a multiple of the number of processes, {world}")
        # Before any worker is forked: OpenCV's thread pool does not survive a fork.
        cv2.setNumThreads(0)
        self.source, self.batch, self.seed, self.start = source, batch, seed, start
        self.rank, self.world = rank, world

    def __iter__(self) -> Iterator[Batch]:
        info = torch.utils.data.get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        share = self.batch // self.world
        for step in itertools.count(self.start + worker, workers):
            first = step * self.batch + self.rank * share
            samples = [self.sample(n) for n in range(first, first + share)]
            yield tuple(torch.from_numpy(np.stack(x)) for x in zip(*samples, strict=True))  # type: ignore[misc]

    def sample(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Images [T, 3, S, S], labels [T, S, S] and uniform numbers [3, NUMBERS] of one sample."""
        rng = np.random.default_rng((self.seed, number))
        rgb, label = self.source.draw(rng)
        return rgb.transpose(0, 3, 1, 2), label, rng.random((PARTS, NUMBERS), np.float32)
