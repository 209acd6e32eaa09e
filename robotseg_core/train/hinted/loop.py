# SPDX-License-Identifier: Apache-2.0
"""The loop of a training with hints: steps, averaged weights, what is said, measured and saved on the way."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from robotseg_core.train.hinted.clips.compose import Pool
from robotseg_core.train.hinted.clips.draw import Clips, Program
from robotseg_core.train.hinted.learn import Learner
from robotseg_core.train.hinted.probe import Probe
from robotseg_core.train.hinted.settings import HintedConfig
from robotseg_core.train.hinted.state import load_state, save_state
from robotseg_core.train.hinted.steps import Step

LOG_EVERY = 20


class Average:
    """Running average of weights and statistics, by name."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values = {k: v.detach().clone() for k, v in module.state_dict().items()}

    @torch.no_grad()
    def add(self, module: nn.Module, updates: int) -> None:
        """One more step; early on the average forgets fast."""
        decay = min(self.decay, (1 + updates) / (10 + updates))
        own = module.state_dict()
        names = [k for k, v in own.items() if v.is_floating_point()]
        torch._foreach_lerp_([self.values[k] for k in names], [own[k] for k in names], 1 - decay)

    @torch.no_grad()
    def swap(self, module: nn.Module) -> None:
        """Exchange the average and the module's values."""
        for key, value in module.state_dict().items():
            kept = value.clone()
            value.copy_(self.values[key])
            self.values[key].copy_(kept)


def groups(learner: Learner, config: HintedConfig) -> list[dict[str, object]]:
    """Parameters of the optimiser: the trunk apart, vectors without decay."""
    out: list[dict[str, object]] = []
    for trunk in (False, True):
        own = [p for n, p in learner.named_parameters() if (".trunk." in n) == trunk]
        rate = config.trunk if trunk else 1.0
        out.append({"params": [p for p in own if p.ndim > 1], "weight_decay": config.weight_decay, "scale": rate})
        out.append({"params": [p for p in own if p.ndim <= 1], "weight_decay": 0.0, "scale": rate})
    return out


class Run:
    """The loop.

    Args:
        learner: model and head, on its device.
        config: the run.
        pool: all pictures, on the device.
        streams: of each stage, its steps.
        out: folder of the run.
        probe: measures now and then; None: never.
    """

    def __init__(
        self,
        learner: Learner,
        config: HintedConfig,
        pool: Pool,
        streams: list[Iterator[Step]],
        out: Path,
        probe: Probe | None,
    ) -> None:
        self.learner, self.config, self.pool, self.streams, self.out = learner, config, pool, streams, out
        self.probe, self.device = probe, pool.device
        fused = self.device.type == "cuda"
        self.optimizer = torch.optim.AdamW(groups(learner, config), lr=config.lr, betas=(0.9, 0.98), fused=fused)
        self.average = Average(learner, config.ema)
        self.parameters = [p for p in learner.parameters() if p.requires_grad]
        self.updates, self.seen, self.skipped, self.progress = 0, 0, 0, 0.0
        # On a CPU float32 is faster.
        self.mixed = fused
        self.stage = -1
        self.shrink = [1.0] * len(config.stages)
        self._sums: dict[str, Tensor] = {}
        self._summed = 0
        self._bad = torch.zeros((), device=self.device)

    # ------------------------------------------------------------------------------------ a step
    def _enter(self, stage: int) -> None:
        self.stage = stage
        self.learner.sized.train(batch_norm=self.config.stages[stage].batch_norm)
        self.say(f"stage {stage + 1} of {len(self.config.stages)}: {self.config.stages[stage]}")

    def step(self, progress: float) -> None:
        """One step of the optimiser."""
        stage = self.config.stage(progress)
        if stage != self.stage:
            self._enter(stage)
        what, clips = next(self.streams[stage])
        while True:
            count = max(1, int(len(clips.frames) * self.shrink[stage]))
            try:
                self._try(what, clips if count == len(clips.frames) else clips.first(count), progress)
                return
            except torch.cuda.OutOfMemoryError:
                self.optimizer.zero_grad(set_to_none=True)
                if count == 1:
                    raise
                self.shrink[stage] *= 0.8
            torch.cuda.empty_cache()
            self.say(f"out of memory with {count} clips of {what}: now {self.shrink[stage]:.2f} of what is planned")

    def _try(self, what: Program, clips: Clips, progress: float) -> None:
        config, learner = self.config, self.learner
        rate = config.rate(progress) * config.stages[self.stage].lr
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        generator = torch.Generator(self.device).manual_seed(int(clips.seed[0]))
        stage = config.stages[self.stage]
        losses, frames = learner(
            clips,
            what,
            self.pool,
            generator,
            mixed=self.mixed,
            frozen=stage.frozen,
            answered=stage.answered,
            match=stage.match,
        )
        total = torch.stack(list(losses.values())).sum()
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        norm = nn.utils.clip_grad_norm_(self.parameters, config.clip_norm)
        broken = (~torch.isfinite(norm)).float()
        if self.device.type == "cuda":
            # The fused step leaves everything as it is where this is 1, without waiting for the device.
            self.optimizer.found_inf = broken  # type: ignore[attr-defined]
            self.optimizer.grad_scale = None  # type: ignore[attr-defined]
            self.optimizer.step()
        elif not bool(broken):
            self.optimizer.step()
        self._bad += broken
        self.updates += 1
        self.seen += frames
        self.average.add(learner, self.updates)
        good = 1 - broken
        for name, value in (losses | {"total": total, "norm": norm}).items():
            value = torch.where(good > 0, value.detach(), 0.0)
            self._sums[name] = self._sums.get(name, torch.zeros((), device=self.device)) + value
        self._summed += 1

    # ------------------------------------------------------------------------------------ the run
    def say(self, text: str) -> None:
        """To the terminal and to the log."""
        print(text, flush=True)
        with (self.out / "log.txt").open("a") as file:
            file.write(text + "\n")

    def _note(self, kind: str, values: dict[str, float]) -> None:
        row = {"kind": kind, "stage": self.stage, "updates": self.updates, "seen": self.seen, **values}
        with (self.out / "log.jsonl").open("a") as file:
            file.write(json.dumps({k: round(v, 5) if isinstance(v, float) else v for k, v in row.items()}) + "\n")

    def _log(self, seconds: float) -> None:
        names = list(self._sums)
        values = torch.stack([self._sums[n] for n in names] + [self._bad]).tolist()
        self.skipped = int(values.pop())
        means = {n: v / self._summed for n, v in zip(names, values, strict=True)}
        self._sums, frames, self._summed = {}, self.seen, 0
        self._note("losses", {"progress": self.progress, "seconds": seconds, "skipped": self.skipped, **means})
        text = " ".join(f"{n} {v:.3f}" for n, v in means.items())
        self.say(f"{seconds:5.0f} s {100 * self.progress:5.1f} %  step {self.updates}  frames {frames}  {text}")
        if self.skipped > 200 or not math.isfinite(means["total"]):
            raise FloatingPointError(
                f"{self.skipped} steps were not finite; the state of the last save is in {self.out}"
            )

    def measure(self) -> None:
        """Probe the averaged weights."""
        if self.probe is None:
            return
        began = time.monotonic()
        self.average.swap(self.learner)
        self.learner.sized.eval()
        try:
            figures = self.probe.measure(self.learner)
        except (RuntimeError, ValueError) as error:
            # Whatever a measurement runs into, what was learned goes on.
            self.say(f"probe failed: {error!r}")
            return
        finally:
            self.average.swap(self.learner)
            self.learner.sized.train(batch_norm=self.config.stages[max(0, self.stage)].batch_norm)
        self._note("probe", {**figures, "cost": time.monotonic() - began})
        self.say(f"probe at step {self.updates}: " + " ".join(f"{n} {v:.1f}" for n, v in figures.items()))

    def save(self) -> None:
        """Averaged weights and the state to go on from."""
        numbers = {"updates": self.updates, "seen": self.seen, "progress": self.progress}
        try:
            save_state(self.out, self.learner, self.average.values, self.optimizer, numbers)
        except ValueError as error:
            self.say(f"not saved, the last state stays: {error}")

    def resume(self) -> bool:
        """Go on from the state in the folder, if there is one."""
        numbers = load_state(self.out, self.learner, self.average.values, self.optimizer)
        if numbers is None:
            return False
        self.updates, self.seen = int(numbers["updates"]), int(numbers["seen"])
        self.progress = float(numbers["progress"])
        self.say(f"resumed at step {self.updates}, {100 * self.progress:.1f} %")
        return True

    def run(
        self, *, until: float | None = None, steps: int | None = None, stop_at: float = 1.0, first_probe: bool = True
    ) -> None:
        """Train until the clock (``time.monotonic``) says ``until``, or until ``steps`` steps are done in all.

        ``stop_at``: share of the run after which it stops, to go on later; ``first_probe``: what the run starts from is
        measured, too.
        """
        began, first = time.monotonic(), self.progress
        saved = probed = logged = began
        if first_probe:
            self.measure()
        while True:
            now = time.monotonic()
            if steps is not None:
                self.progress = self.updates / steps
            else:
                assert until is not None
                self.progress = first + (1 - first) * min(1.0, (now - began) / max(1e-3, until - began))
            if self.progress >= stop_at:
                break
            self.step(min(self.progress, 0.999999))
            if self.updates % LOG_EVERY == 0 or time.monotonic() - logged > 20:
                self._log(time.monotonic() - began)
                logged = time.monotonic()
            if time.monotonic() - saved > self.config.save_every:
                self.save()
                saved = time.monotonic()
            if time.monotonic() - probed > self.config.probe_every:
                self.measure()
                probed = time.monotonic()
        self.progress = min(self.progress, stop_at)
        if self._summed:
            self._log(time.monotonic() - began)
        self.save()
        if stop_at >= 1:
            self.measure()
