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
import os
import sys
import time
from pathlib import Path

import torch

from robotseg_core.config import PRESETS
from robotseg_core.model.image_encoder_nano import ConvEncoder
from robotseg_core.train.hinted.clips.compose import Pool
from robotseg_core.train.hinted.curve import draw_curve
from robotseg_core.train.hinted.learn import Learner
from robotseg_core.train.hinted.loop import Run
from robotseg_core.train.hinted.packs.files import PackedVideo, read_index, read_packs
from robotseg_core.train.hinted.probe import Probe
from robotseg_core.train.hinted.settings import SCHEDULES, HintedConfig
from robotseg_core.train.hinted.state import start_heads
from robotseg_core.train.hinted.steps import build_streams, split
from robotseg_core.train.pretrained import encoder_of, load_lite, start_from


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
    parser.add_argument(
        "--schedule",
        default="gpu",
        choices=sorted(SCHEDULES),
        help="gpu (default), larger: for a GPU; clicks, real, finish: for a CPU",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the run; an existing run goes on")
    parser.add_argument("--preset", default="nano", choices=sorted(PRESETS), help="nano (default) or base")
    parser.add_argument(
        "--trunk", type=Path, default=None, help="EfficientNet-Lite's weights: the trunk starts anew from them"
    )
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
    parser.add_argument(
        "--stop-at", type=float, default=1.0, help="share of the run after which to stop, to go on later (default 1)"
    )
    parser.add_argument("--probe-every", type=float, default=None, help="seconds between measurements (default 90)")
    parser.add_argument("--no-first-probe", action="store_true", help="do not measure what the run starts from")
    parser.add_argument("--lr", type=float, default=None, help="peak learning rate (default: the run's)")
    parser.add_argument("--small", type=int, default=None, metavar="SIZE", help="a run of this size for a CPU")
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn (default 0)")


def small(config: HintedConfig, size: int) -> HintedConfig:
    """The run at one small size and with few frames a step: for a trial on a CPU."""
    stages = tuple(dataclasses.replace(s, sizes=(size,), frames=max(12, max(s.lengths) * 2)) for s in config.stages)
    return dataclasses.replace(config, stages=stages, store=size if size % 64 == 0 else 448, workers=1, probe_every=900)


def run(arguments: argparse.Namespace) -> int:
    """Train.

    Raises:
        ValueError: neither or both of minutes and steps, or there is nothing to learn from.
    """
    began = time.monotonic()
    # Steps differ in shape: memory that can grow is not cut into pieces that fit nothing.
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    if (arguments.minutes is None) == (arguments.steps is None):
        raise ValueError(f"minutes are {arguments.minutes} and steps {arguments.steps}: give one of them")
    arguments.out.mkdir(parents=True, exist_ok=True)
    chosen = SCHEDULES[arguments.schedule]
    config = dataclasses.replace(
        chosen,
        seed=arguments.seed,
        lr=arguments.lr or chosen.lr,
        probe_every=arguments.probe_every or chosen.probe_every,
    )
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
    if start_heads(learner, arguments.weights):
        print(f"start: the dense head of {arguments.weights.parent}", flush=True)
    if arguments.trunk is not None:
        encoder = learner.model.image_encoder
        if not isinstance(encoder, ConvEncoder):
            raise ValueError(f"trunk is {arguments.trunk}, but preset {arguments.preset} has no convolutional trunk")
        load_lite(encoder.trunk, arguments.trunk)
        print(f"start: trunk from {arguments.trunk}", flush=True)
    if any(stage.match for stage in config.stages):
        learner.examples = (encoder_of(learner.model.config, arguments.weights).to(device),)
    # Half the time of the other format on a GPU (measured), and no more on a CPU.
    learner = learner.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if device.type == "cpu" and learner.sized.use_fast_depthwise():
        # With them the encoder costs half as much in bfloat16; all else is faster in float32.
        learner.mixed_encoder = True
        print("encoder in bfloat16 with depthwise convolutions of our own", flush=True)
    pool = Pool(pictures, device)
    del pictures
    print(f"{time.monotonic() - began:.1f} s: pictures on {device}", flush=True)
    probe = Probe(measured, pool, size=largest, limit=96 if device.type == "cuda" else 24) if measured.videos else None
    loop = Run(learner, config, pool, streams, arguments.out, probe)
    loop.resume()
    until = None if arguments.minutes is None else began + 60 * arguments.minutes - arguments.reserve
    try:
        loop.run(
            until=until, steps=arguments.steps, stop_at=arguments.stop_at, first_probe=not arguments.no_first_probe
        )
    finally:
        # Their processes end here: ended at the interpreter's exit they would be reported as killed.
        streams.clear()
    draw_curve(arguments.out)
    print(
        f"{time.monotonic() - began:.1f} s: done, {loop.seen} frames, {loop.updates} steps -> {arguments.out}",
        flush=True,
    )
    return 0


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="robotseg_core.train.hinted.run", description=(__doc__ or "").split("\n", 1)[0]
    )
    add_arguments(parser)
    return run(parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
