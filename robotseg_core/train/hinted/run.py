# SPDX-License-Identifier: Apache-2.0
"""Train with hints and memory for a given time, from packed pictures, on one device.

    python -m robotseg_core.train.hinted.run --packs out/packs --weights models/nano.safetensors --out out/run \\
        --device cuda --minutes 9

Everything that matters is in ``--out`` at any time: averaged weights, the state to go on from, the curve, a log.  A run
that finds its own state there goes on.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from robotseg_core.config import PRESETS
from robotseg_core.train.hinted.catalogue import Catalogue
from robotseg_core.train.hinted.compose import Pool
from robotseg_core.train.hinted.draw import Clips, Drawer, Program, program
from robotseg_core.train.hinted.learn import Learner
from robotseg_core.train.hinted.packs import PackedVideo, read_index, read_packs
from robotseg_core.train.hinted.probe import Probe
from robotseg_core.train.hinted.settings import NANO, HintedConfig
from robotseg_core.train.hinted.state import load_state, save_state
from robotseg_core.train.pretrained import start_from

LOG_EVERY = 20
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


def split(videos: list[PackedVideo], held: list[PackedVideo]) -> tuple[Catalogue, Catalogue]:
    """What is trained on, and what is measured on: the packs held back, and every tenth photograph."""
    pictures = [v for v in videos if v.source in ("photo", "bare")]
    out = {id(v) for v in pictures[::HELD_OUT]}
    return Catalogue([v for v in videos if id(v) not in out]), Catalogue([*held, *(v for v in videos if id(v) in out)])


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


def choose_format(learner: Learner, *, mixed: bool, size: int = 320, frames: int = 48) -> None:
    """Store the convolutions' data as they run fastest here: on a GPU that is measured, on a CPU known."""
    device = next(learner.parameters()).device
    formats = (torch.channels_last, torch.contiguous_format)
    seconds = dict.fromkeys(formats, 0.0)
    if device.type == "cuda":
        model, x = learner.sized[size], torch.randn(frames, 3, size, size, device=device)
        for form in formats:
            learner.to(memory_format=form)  # type: ignore[call-overload]
            given = x.contiguous(memory_format=form)
            for trial in range(5):
                if trial == 2:
                    torch.cuda.synchronize()
                    seconds[form] -= time.monotonic()
                with torch.autocast(device.type, dtype=torch.bfloat16, enabled=mixed):
                    maps = model.image_encoder(given)
                torch.stack([m.float().mean() for m in maps]).sum().backward()
            torch.cuda.synchronize()
            seconds[form] += time.monotonic()
            learner.zero_grad(set_to_none=True)
        print({str(form): round(value, 3) for form, value in seconds.items()}, flush=True)
    learner.memory_format = min(formats, key=seconds.__getitem__)
    learner.to(memory_format=learner.memory_format)  # type: ignore[call-overload]


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
        losses, frames = learner(clips, what, self.pool, generator, mixed=self.mixed)
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
        save_state(self.out, self.learner, self.average.values, self.optimizer, numbers)

    def resume(self) -> bool:
        """Go on from the state in the folder, if there is one."""
        numbers = load_state(self.out, self.learner, self.average.values, self.optimizer)
        if numbers is None:
            return False
        self.updates, self.seen = int(numbers["updates"]), int(numbers["seen"])
        self.progress = float(numbers["progress"])
        self.say(f"resumed at step {self.updates}, {100 * self.progress:.1f} %")
        return True

    def run(self, *, until: float | None = None, steps: int | None = None) -> None:
        """Train until the clock (``time.monotonic``) says ``until``, or until ``steps`` steps are done in all."""
        began, first = time.monotonic(), self.progress
        saved = probed = logged = began
        self.measure()
        while True:
            now = time.monotonic()
            if steps is not None:
                self.progress = self.updates / steps
            else:
                assert until is not None
                self.progress = first + (1 - first) * min(1.0, (now - began) / max(1e-3, until - began))
            if self.progress >= 1:
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
        self.progress = 1.0
        if self._summed:
            self._log(time.monotonic() - began)
        self.save()
        self.measure()
        draw_curve(self.out)


def draw_curve(out: Path) -> None:
    """``log.jsonl`` of a run as ``curve.png``: losses above, measurements below; nothing where matplotlib is absent."""
    try:
        import matplotlib
    except ImportError:
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    figure, axes = plt.subplots(2, 1, figsize=(11, 9), layout="constrained", sharex=True)
    no_figure = {"kind", "stage", "updates", "seen", "progress", "seconds", "skipped", "norm", "cost"}
    for axis, kind in zip(axes, ("losses", "probe"), strict=True):
        own = [row for row in rows if row["kind"] == kind]
        for i, name in enumerate(sorted({key for row in own for key in row} - no_figure)):
            points = [(row["seen"] / 1000, row[name]) for row in own if name in row]
            style = ("-", "--", ":", "-.")[i // 10 % 4]
            axis.plot(*zip(*points, strict=True), style, label=name, color=f"C{i % 10}", linewidth=1.2)
        axis.grid(alpha=0.3)
        axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=7)
    axes[0].set_yscale("log")
    axes[0].set_ylabel("loss")
    axes[1].set_ylabel("percent, pictures not trained on")
    axes[1].set_xlabel("frames seen, thousands")
    figure.savefig(out / "curve.png", dpi=100)
    plt.close(figure)


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
        )
        streams.append(iter(loader))
    return streams


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "--packs",
        type=Path,
        required=True,
        nargs="+",
        help="folders of packs (*.zip); those in their val/ are measured on",
    )
    parser.add_argument("--weights", type=Path, required=True, help="weights to start from")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run; an existing run is gone on with")
    parser.add_argument("--preset", default="nano", choices=sorted(PRESETS))
    parser.add_argument(
        "--memory-pool", type=int, default=None, help="memory_pool of the model (default: the preset's)"
    )
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda or cuda:N")
    parser.add_argument("--minutes", type=float, default=None, help="time in all, from the start of the command on")
    parser.add_argument(
        "--steps", type=int, default=None, help="steps instead of minutes: the same steps give the same run"
    )
    parser.add_argument(
        "--reserve", type=float, default=12.0, help="seconds kept for the last measurement (default 12)"
    )
    parser.add_argument("--lr", type=float, default=None, help="peak learning rate (default: the run's)")
    parser.add_argument("--small", type=int, default=None, metavar="SIZE", help="a run of this size for a CPU")
    parser.add_argument("--seed", type=int, default=0)


def small(config: HintedConfig, size: int) -> HintedConfig:
    """The run at one small size and with few frames a step: for a trial on a CPU."""
    stages = tuple(dataclasses.replace(s, sizes=(size,), frames=max(12, max(s.lengths) * 2)) for s in config.stages)
    return dataclasses.replace(config, stages=stages, store=size if size % 64 == 0 else 448, workers=1, probe_every=900)


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    began = time.monotonic()
    # Steps differ in shape: memory that can grow is not cut into pieces that fit nothing.
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    parser = argparse.ArgumentParser(
        prog="robotseg_core.train.hinted.run", description=(__doc__ or "").split("\n", 1)[0]
    )
    add_arguments(parser)
    arguments = parser.parse_args(argv)
    if (arguments.minutes is None) == (arguments.steps is None):
        parser.error("give either --minutes or --steps")
    arguments.out.mkdir(parents=True, exist_ok=True)
    config = dataclasses.replace(NANO, seed=arguments.seed, lr=arguments.lr or NANO.lr)
    if arguments.small:
        config = small(config, arguments.small)
    train = sorted(path for folder in arguments.packs for path in folder.glob("*.zip"))
    held = sorted(path for folder in arguments.packs for path in (folder / "val").glob("*.zip"))
    videos: list[PackedVideo] = []
    count = 0
    for path in (*train, *held):
        own = read_index(path)
        videos += [dataclasses.replace(v, first=count + v.first) for v in own]
        count += max(v.stop for v in own)
    borders = sum(len(read_index(path)) for path in train)
    catalogue, measured = split(videos[:borders], videos[borders:])
    print(f"{len(train)} packs to learn from, {len(held)} to measure on, {count} frames", flush=True)
    print({k: len(v) for k, v in (catalogue.bases | catalogue.cuts).items()}, flush=True)
    start = 0
    if (arguments.out / "state.json").exists():
        start = int(json.loads((arguments.out / "state.json").read_text())["updates"])
    streams = build_streams(catalogue, config, start)
    device = torch.device(arguments.device)
    cores = len(os.sched_getaffinity(0))
    if device.type == "cpu":
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", cores)))
    else:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    pictures = read_packs([*train, *held], config.store, workers=cores)
    print(f"{time.monotonic() - began:.1f} s: pictures decoded", flush=True)
    torch.manual_seed(config.seed)
    model = PRESETS[arguments.preset]
    if arguments.memory_pool is not None:
        model = dataclasses.replace(model, memory_pool=arguments.memory_pool)
    largest = max(size for stage in config.stages for size in stage.sizes)
    learner = Learner(dataclasses.replace(model, image_size=largest), dense=config.dense, structure=config.structure)
    copied, left = start_from(learner.model, arguments.weights)
    print(f"start: {copied} tensors from {arguments.weights}, {left} from initialisation", flush=True)
    learner = learner.to(device)
    choose_format(learner, mixed=device.type == "cuda")
    print(f"{time.monotonic() - began:.1f} s: convolutions in {learner.memory_format}", flush=True)
    pool = Pool(pictures, device)
    del pictures
    print(f"{time.monotonic() - began:.1f} s: pictures on {device}", flush=True)
    probe = Probe(measured, pool, size=largest, limit=96 if device.type == "cuda" else 24) if measured.videos else None
    run = Run(learner, config, pool, streams, arguments.out, probe)
    run.resume()
    until = None if arguments.minutes is None else began + 60 * arguments.minutes - arguments.reserve
    run.run(until=until, steps=arguments.steps)
    print(
        f"{time.monotonic() - began:.1f} s: done, {run.seen} frames, {run.updates} steps -> {arguments.out}", flush=True
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
