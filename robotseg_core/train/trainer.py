# SPDX-License-Identifier: Apache-2.0
"""The training loop: phases, on one or several processes, resumable to the step, averaged weights."""

from __future__ import annotations

import dataclasses
import os
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from robotseg_core.config import ConvConfig, ModelConfig
from robotseg_core.lifetime import work_for
from robotseg_core.model.image_encoder_nano import ConvEncoder
from robotseg_core.storage.whole import replacing
from robotseg_core.train.adapted import AdaptedObjective, AdapterConfig
from robotseg_core.train.curves import Curves, plot_curve
from robotseg_core.train.data.batches import Batch, BatchStream, ClipSource
from robotseg_core.train.data.sources import MixedClips
from robotseg_core.train.distributed import World
from robotseg_core.train.label_efficient.first_frames import FirstFrameClips
from robotseg_core.train.label_efficient.frame_features import make_extractor
from robotseg_core.train.objective import Objective
from robotseg_core.train.pretrained import lite_file, load_lite, start_from
from robotseg_core.train.settings import Phase, TrainConfig
from robotseg_core.weights.load import read_pickle

LOG_EVERY = 20


class Trainer:
    """Runs the phases of a :class:`TrainConfig`; everything that a resumed run needs is in ``out/state.pt``.

    Args:
        model: sizes of the model.
        config: the run.
        out: folder of the run.
        world: the processes that take part; default: this one, on the CPU.
        cache: folder for decoded videos, which runs may share; default ``out/cache``.
        adapter: form of the adapter that learns while the model stays as it is; None: the model learns.

    Attributes:
        net: model and training head as they learn.
        ema: their running average by name, what is exported.
        phase, step: where the run stands.
        seen: frames seen so far, over all processes.
        updates: optimiser steps so far.
    """

    def __init__(
        self,
        model: ModelConfig,
        config: TrainConfig,
        out: Path,
        world: World | None = None,
        cache: Path | None = None,
        *,
        adapter: AdapterConfig | None = None,
    ) -> None:
        self.adapter = adapter
        self.preset, self.config, self.out, self.cache = model, config, out, cache or out / "cache"
        self.world = world or World(torch.device("cpu"))
        self.device = self.world.device
        for phase in config.phases:
            if phase.frozen and not isinstance(model.encoder, ConvConfig):
                raise ValueError(f"frozen is {phase.frozen}, but preset {model.name} has no convolutional trunk")
        out.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(config.seed)
        self._build(config.phases[0].size)
        if not (out / "state.pt").exists():
            self._start()
        self.ema = {k: v.clone() for k, v in self.net.state_dict().items()}
        self.phase, self.step, self.seen, self.updates = 0, 0, 0, 0
        if (out / "state.pt").exists():
            self._load()

    def _say(self, text: str) -> None:
        if self.world.leads:
            print(text)

    def _start(self) -> None:
        """What the first step begins with."""
        model = self.net.model
        if self.config.init is not None:
            copied, left = start_from(model, Path(self.config.init))
            self._say(f"start: {copied} tensors from {self.config.init}, {left} from initialisation")
        if self.config.pretrained_trunk:
            if not isinstance(model.image_encoder, ConvEncoder):
                raise ValueError(f"pretrained_trunk is true, but preset {self.preset.name} has no convolutional trunk")
            load_lite(model.image_encoder.trunk, lite_file())
            self._say("start: trunk from EfficientNet-Lite")

    def _build(self, size: int) -> None:
        """Network and optimiser for frames of ``size``: only tables without parameters depend on it."""
        self.size = size
        whole = Objective(dataclasses.replace(self.preset, image_size=size), self.config.let)
        net = whole if self.adapter is None else AdaptedObjective(whole, self.adapter)
        self.net: Objective | AdaptedObjective = net.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        groups = []
        for trunk in (False, True):
            own = [p for n, p in self.net.named_parameters() if (".trunk." in n) == trunk and p.requires_grad]
            groups.append({"params": [p for p in own if p.ndim > 1], "weight_decay": self.config.weight_decay})
            groups.append({"params": [p for p in own if p.ndim <= 1], "weight_decay": 0.0})
        self.optimizer = torch.optim.AdamW(groups, lr=1e-3)

    def _resize(self, size: int) -> None:
        weights, optimizer = self.net.state_dict(), self.optimizer.state_dict()
        self._build(size)
        self.net.load_state_dict(weights)
        self.optimizer.load_state_dict(optimizer)

    # ------------------------------------------------------------------------------------------ state
    def _load(self) -> None:
        state = read_pickle(self.out / "state.pt", self.device)
        self.phase, self.step, self.seen = state["phase"], state["step"], state["seen"]
        self.updates = state["updates"]
        own = self.net.state_dict()
        # A state saved before a module existed lacks its keys: they keep their initialisation, said aloud.
        fresh = [k for k in own if k not in state["net"]]
        if fresh:
            self._say(f"resume: {len(fresh)} tensors are new and start from initialisation, e.g. {fresh[:3]}")
        self.net.load_state_dict(state["net"], strict=False)
        self.ema.update(state["ema"])
        self.ema = {k: self.ema.get(k, v).clone() for k, v in own.items()}
        if not fresh:
            self.optimizer.load_state_dict(state["optimizer"])
        self._say(f"resume: phase {self.phase}, step {self.step}, {self.seen} frames seen")

    def save(self) -> None:
        """Write the state atomically: a machine can go away in the middle."""
        if not self.world.leads:
            return
        state = {
            "phase": self.phase,
            "step": self.step,
            "seen": self.seen,
            "updates": self.updates,
            "net": self.net.state_dict(),
            "ema": self.ema,
            "optimizer": self.optimizer.state_dict(),
        }
        with replacing(self.out / "state.pt") as partial:
            torch.save(state, partial)

    # ------------------------------------------------------------------------------------------ loop
    def run(self) -> None:
        """Go through the remaining phases."""
        while self.phase < len(self.config.phases):
            self._run_phase(self.config.phases[self.phase])
            self.phase, self.step = self.phase + 1, 0
            self.save()
            if self.world.leads:
                plot_curve(self.out / "curve.csv", self.out / "curve.png")

    def _source(self, phase: Phase) -> ClipSource:
        """The clips of a phase.  The first process fills the cache, the others find it full."""
        config, cache = self.config, self.cache
        if not self.world.leads:
            self.world.wait()
        source: ClipSource
        if phase.kind in ("let", "first"):
            extractor = make_extractor(config.features, self.net.model)
            source = FirstFrameClips(
                config.data,
                config.augment,
                extractor,
                kind=phase.kind,
                size=phase.size,
                length=phase.length,
                cache=cache,
            )
        else:
            source = MixedClips(config.data, config.augment, size=phase.size, length=phase.length, cache=cache)
        if self.world.leads:
            self.world.wait()
        return source

    def _run_phase(self, phase: Phase) -> None:
        if phase.size != self.size:
            self._resize(phase.size)
        stream = BatchStream(
            self._source(phase),
            batch=phase.batch,
            seed=self.config.seed + self.phase,
            start=self.step,
            rank=self.world.rank,
            world=self.world.size,
        )
        workers = self.config.workers
        loader = torch.utils.data.DataLoader(
            stream,
            batch_size=None,
            num_workers=workers,
            persistent_workers=workers > 0,
            worker_init_fn=partial(work_for, os.getpid()) if workers else None,
        )
        self.net.train()
        self.net.set_phase(phase.kind, phase.frozen, phase.auto)
        shared = self.world.share(self.net)
        name = f"{self.phase}:{phase.kind}"
        curves = Curves(self.out, name) if self.world.leads else None
        bar = tqdm(
            loader,
            total=phase.steps,
            initial=self.step,
            desc=f"{name} (of {len(self.config.phases)})",
            mininterval=10,
            disable=not self.world.leads,
        )
        began = time.time()
        for batch in bar:
            for i, group in enumerate(self.optimizer.param_groups):
                group["lr"] = phase.rate(self.step) * (phase.trunk if i >= 2 else 1.0)
            losses = self._step(shared, batch)
            self.step += 1
            self.seen += phase.batch * batch[1].shape[1]
            if curves is not None:
                curves.add(losses)
                if self.step % LOG_EVERY == 0 or self.step == phase.steps:
                    bar.set_postfix({k: f"{v:.3f}" for k, v in curves.mean.items()}, refresh=False)
                    curves.write(
                        step=self.step,
                        seen=self.seen,
                        updates=self.updates,
                        seconds=time.time() - began,
                        rate=phase.rate(self.step),
                    )
            if self.step % self.config.save_every == 0:
                self.save()
            if self.step >= phase.steps:
                break
        bar.close()
        if curves is not None:
            curves.close()

    def _step(self, shared: nn.Module, batch: Batch) -> dict[str, float]:
        """One step of the optimiser; ``shared`` is the net, with gradients averaged over the processes."""
        # What is drawn in a step repeats by its number, so that a resumed run is the run that it resumes.
        torch.manual_seed((self.config.seed * 1_000_003 + self.updates) * self.world.size + self.world.rank)
        rng = np.random.default_rng((self.config.seed, self.updates))
        images, labels, numbers = (x.to(self.device, non_blocking=True) for x in batch)
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            losses: dict[str, Tensor] = shared(images, labels, numbers, rng)
        total = torch.stack(list(losses.values())).sum()
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        norm = nn.utils.clip_grad_norm_(self.net.parameters(), self.config.clip_norm)
        if torch.isfinite(norm):
            self.optimizer.step()
        self.updates += 1
        self._average()
        return {k: float(v.detach()) for k, v in losses.items()} | {"total": float(total.detach())}

    def _average(self) -> None:
        # Early on the average forgets fast: the first steps are worth nothing.
        decay = min(self.config.ema, (1 + self.updates) / (10 + self.updates))
        with torch.no_grad():
            for key, value in self.net.state_dict().items():
                if value.dtype.is_floating_point:
                    self.ema[key].lerp_(value, 1 - decay)
                else:
                    self.ema[key].copy_(value)
