# SPDX-License-Identifier: Apache-2.0
"""The training loop: phases, resumable to the step, averaged weights, curve in CSV and PNG."""

from __future__ import annotations

import csv
import dataclasses
import math
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from robotseg_core.config import ModelConfig
from robotseg_core.conv_encoder import ConvEncoder
from robotseg_core.train.augment import AugmentConfig
from robotseg_core.train.data import ClipDataset, DataConfig
from robotseg_core.train.objective import Objective
from robotseg_core.train.pretrained import lite0_file, load_lite0, start_from


@dataclass(frozen=True)
class Phase:
    """One stretch of training.

    Attributes:
        kind: ``encoder`` (dense head only), ``frame`` (single frames through the decoder), ``clip`` (memory).
        steps: optimiser steps of the phase.
        lr: peak learning rate; linear warm-up over ``warmup`` steps, then cosine to ``lr * final``.
        frozen: stages of the convolutional trunk that do not learn (0: all learn).
        trunk: learning rate of the trunk as a fraction of ``lr``: what it brought along is to be kept.
    """

    kind: str
    steps: int
    batch: int = 32
    size: int = 256
    length: int = 1
    lr: float = 2e-3
    warmup: int = 200
    final: float = 1.0
    frozen: int = 0
    trunk: float = 1.0

    def rate(self, step: int) -> float:
        """Learning rate at ``step`` of this phase."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.lr * (self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


@dataclass(frozen=True)
class TrainConfig:
    """A whole run.

    Attributes:
        init: safetensors file to start from; what does not fit keeps its initialisation, said aloud.
        pretrained_trunk: True: nano's trunk starts from EfficientNet-Lite0 (:mod:`robotseg_core.train.pretrained`).
    """

    data: DataConfig
    phases: tuple[Phase, ...]
    init: str | None = None
    pretrained_trunk: bool = False
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    seed: int = 0
    weight_decay: float = 0.02
    clip_norm: float = 1.0
    ema: float = 0.999
    workers: int = 1
    save_every: int = 200


class Trainer:
    """Runs the phases of a :class:`TrainConfig`; everything that a resumed run needs is in ``out/state.pt``."""

    def __init__(self, model: ModelConfig, config: TrainConfig, out: Path, device: str = "cpu") -> None:
        self.preset, self.config, self.out, self.device = model, config, out, torch.device(device)
        out.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(config.seed)
        self._build(config.phases[0].size)
        if not (out / "state.pt").exists():
            self._start()
        self.ema = {k: v.clone() for k, v in self.net.state_dict().items()}
        self.phase, self.step, self.seen, self.updates = 0, 0, 0, 0
        if (out / "state.pt").exists():
            self._load()

    def _start(self) -> None:
        """What the first step begins with."""
        model = self.net.model
        if self.config.init is not None:
            copied, left = start_from(model, Path(self.config.init))
            print(f"start: {copied} tensors from {self.config.init}, {left} from initialisation")
        if self.config.pretrained_trunk:
            if not isinstance(model.image_encoder, ConvEncoder):
                raise ValueError(f"pretrained_trunk is true, but preset {self.preset.name} has no convolutional trunk")
            load_lite0(model.image_encoder.trunk, lite0_file())
            print("start: trunk from EfficientNet-Lite0")

    def _build(self, size: int) -> None:
        """Network and optimiser for frames of ``size``: only tables without parameters depend on it."""
        self.size = size
        net = Objective(dataclasses.replace(self.preset, image_size=size))
        self.net: Objective = net.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        groups = []
        for trunk in (False, True):
            own = [p for n, p in self.net.named_parameters() if (".trunk." in n) == trunk]
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
        state = torch.load(self.out / "state.pt", map_location=self.device, weights_only=True)
        self.phase, self.step, self.seen = state["phase"], state["step"], state["seen"]
        self.updates = state["updates"]
        own = self.net.state_dict()
        # A state saved before a module existed lacks its keys: they keep their initialisation, said aloud.
        fresh = [k for k in own if k not in state["net"]]
        if fresh:
            print(f"resume: {len(fresh)} tensors are new and start from initialisation, e.g. {fresh[:3]}")
        self.net.load_state_dict(state["net"], strict=False)
        self.ema.update(state["ema"])
        self.ema = {k: self.ema.get(k, v).clone() for k, v in own.items()}
        if not fresh:
            self.optimizer.load_state_dict(state["optimizer"])
        print(f"resume: phase {self.phase}, step {self.step}, {self.seen} frames seen")

    def save(self) -> None:
        """Write the state atomically: a machine can go away in the middle."""
        state = {
            "phase": self.phase,
            "step": self.step,
            "seen": self.seen,
            "updates": self.updates,
            "net": self.net.state_dict(),
            "ema": self.ema,
            "optimizer": self.optimizer.state_dict(),
        }
        torch.save(state, self.out / "state.tmp")
        (self.out / "state.tmp").replace(self.out / "state.pt")

    # ------------------------------------------------------------------------------------------ loop
    def run(self) -> None:
        """Go through the remaining phases."""
        while self.phase < len(self.config.phases):
            self._run_phase(self.config.phases[self.phase])
            self.phase, self.step = self.phase + 1, 0
            self.save()
            plot_curve(self.out / "curve.csv", self.out / "curve.png")

    def _run_phase(self, phase: Phase) -> None:
        if phase.size != self.size:
            self._resize(phase.size)
        dataset = ClipDataset(
            self.config.data,
            self.config.augment,
            size=phase.size,
            length=phase.length,
            seed=self.config.seed + self.phase,
            start=self.step * phase.batch,
            cache=self.out / "cache",
        )
        loader = torch.utils.data.DataLoader(
            dataset, batch_size=phase.batch, num_workers=self.config.workers, persistent_workers=self.config.workers > 0
        )
        self.net.train()
        self.net.set_phase(phase.kind, phase.frozen)
        bar = tqdm(loader, total=phase.steps, initial=self.step, desc=f"{self.phase}:{phase.kind}", mininterval=10)
        mean: dict[str, float] = {}
        began = time.time()
        for images, labels in bar:
            for i, group in enumerate(self.optimizer.param_groups):
                group["lr"] = phase.rate(self.step) * (phase.trunk if i >= 2 else 1.0)
            # Simulated prompts repeat by the number of the step, so that a resumed run is the run it resumes.
            torch.manual_seed(self.config.seed * 1_000_003 + self.updates)
            losses = self._step(images, labels)
            for name, value in losses.items():
                mean[name] = 0.98 * mean.get(name, value) + 0.02 * value
            self.step += 1
            self.seen += images.shape[0] * images.shape[1]
            if self.step % 20 == 0 or self.step == phase.steps:
                bar.set_postfix({k: f"{v:.3f}" for k, v in mean.items()}, refresh=False)
                self._log(phase, mean, time.time() - began)
            if self.step % self.config.save_every == 0:
                self.save()
            if self.step >= phase.steps:
                break

    def _step(self, images: Tensor, labels: Tensor) -> dict[str, float]:
        images, labels = images.to(self.device), labels.to(self.device)
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            losses = self.net(images, labels)
        total = torch.stack(list(losses.values())).sum()
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        norm = nn.utils.clip_grad_norm_(self.net.parameters(), self.config.clip_norm)
        if torch.isfinite(norm):
            self.optimizer.step()
        self.updates += 1
        # Early on the average forgets fast: the first steps are worth nothing.
        decay = min(self.config.ema, (1 + self.updates) / (10 + self.updates))
        with torch.no_grad():
            for key, value in self.net.state_dict().items():
                if value.dtype.is_floating_point:
                    self.ema[key].lerp_(value, 1 - decay)
                else:
                    self.ema[key].copy_(value)
        return {k: float(v.detach()) for k, v in losses.items()} | {"total": float(total.detach())}

    def _log(self, phase: Phase, mean: dict[str, float], elapsed: float) -> None:
        path = self.out / "curve.csv"
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(["phase", "step", "seen", "seconds", "name", "value"])
            for name, value in mean.items():
                writer.writerow(
                    [f"{self.phase}:{phase.kind}", self.step, self.seen, f"{elapsed:.0f}", name, f"{value:.5f}"]
                )


def plot_curve(source: Path, target: Path) -> None:
    """Draw ``curve.csv`` over the number of frames seen."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    series: dict[str, list[tuple[float, float]]] = {}
    with source.open() as file:
        for row in csv.DictReader(file):
            series.setdefault(f"{row['phase']} {row['name']}", []).append((float(row["seen"]), float(row["value"])))
    figure, axes = plt.subplots(figsize=(9, 5))
    for name, points in series.items():
        x, y = np.array(points).T
        axes.plot(x / 1000, y, label=name, linewidth=1)
    axes.set_xlabel("frames seen, thousands")
    axes.set_ylabel("loss (running mean)")
    axes.set_yscale("log")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(target, dpi=110)
    plt.close(figure)
