# SPDX-License-Identifier: Apache-2.0
"""The steps of a run, drawn by processes of their own, the same ones whatever their number."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import torch

from robotseg_core.lifetime import work_for
from robotseg_core.train.hinted.clips.draw import Clips, Drawer, Program, program
from robotseg_core.train.hinted.packs.catalogue import Catalogue
from robotseg_core.train.hinted.packs.files import PackedVideo
from robotseg_core.train.hinted.settings import HintedConfig

HELD_OUT = 10
"""Every tenth photograph is measured on, not trained on."""

Step = tuple[Program, Clips]


class Steps(torch.utils.data.IterableDataset[Step]):
    """Endless stream of what each step of a stage shows; step n is drawn by the seed (seed, stage, n)."""

    def __init__(self, catalogue: Catalogue, config: HintedConfig, stage: int, start: int) -> None:
        self.config, self.number, self.start = config, stage, start
        self.drawer = Drawer(catalogue, config.stages[stage].shares)

    def __iter__(self) -> Iterator[Step]:
        info = torch.utils.data.get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        step = self.start + worker
        while True:
            rng = np.random.default_rng((self.config.seed, self.number, step))
            what, count, length = program(self.config.stages[self.number], rng)
            yield what, self.drawer.draw(what, count, length, rng)
            step += workers


def _as_it_is(step: Step) -> Step:
    """Numpy stays numpy: it goes through a pipe, and needs no shared memory."""
    return step


def split(videos: Sequence[PackedVideo], held: Sequence[PackedVideo]) -> tuple[Catalogue, Catalogue]:
    """What is trained on, and what is measured on: the packs held back, and every tenth photograph."""
    pictures = [v for v in videos if v.source in ("photo", "bare")]
    out = {id(v) for v in pictures[::HELD_OUT]}
    return Catalogue([v for v in videos if id(v) not in out]), Catalogue([*held, *(v for v in videos if id(v) in out)])


def build_streams(catalogue: Catalogue, config: HintedConfig, start: int) -> list[Iterator[Step]]:
    """Steps of every stage, drawn by processes that are started here: before this process holds a device."""
    streams: list[Iterator[Step]] = []
    for stage in range(len(config.stages)):
        loader = torch.utils.data.DataLoader(
            Steps(catalogue, config, stage, start),
            batch_size=None,
            num_workers=config.workers,
            collate_fn=_as_it_is,  # type: ignore[arg-type]
            prefetch_factor=3 if config.workers else None,
            worker_init_fn=partial(work_for, os.getpid()) if config.workers else None,
        )
        streams.append(iter(loader))
    return streams
