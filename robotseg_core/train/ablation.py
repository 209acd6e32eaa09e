# SPDX-License-Identifier: Apache-2.0
"""``robotseg ablate``: what label-efficient training is worth, and what each of its terms.

The first half of a set of videos is trained on with the labels of their first frames alone, the other half is
streamed and scored.  Every variant starts from the same weights and takes the same number of steps with the same
samples; small scale, several seeds, since the differences are small too.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from robotseg_core.backends.torch_encoder import TorchEncoder
from robotseg_core.config import NANO, ConvConfig, ModelConfig
from robotseg_core.evaluation.dataset import Video, choose, read_root
from robotseg_core.evaluation.runner import Plan, run_video
from robotseg_core.evaluation.scores import summarise
from robotseg_core.model.robotseg_model import RobotSegModel
from robotseg_core.stream.robotseg import RobotSeg
from robotseg_core.train.data.augment import AugmentConfig
from robotseg_core.train.data.sources import DataConfig
from robotseg_core.train.pretrained import start_from
from robotseg_core.train.settings import LetWeights, Phase, TrainConfig
from robotseg_core.train.trainer import Trainer
from robotseg_core.types import PARTS
from robotseg_core.weights.files import find_weights

TRUNK_STAGES = len(NANO.encoder.stages) if isinstance(NANO.encoder, ConvConfig) else 0

Change = Callable[[RobotSegModel], None]
"""Something done to a model before it is trained and before it is scored."""


def unchanged(model: RobotSegModel) -> None:
    """Leave the model as it is."""


def without_gate(model: RobotSegModel) -> None:
    """SEMA without its structure term: the gate's strength is 0 and stays so (SPEC 5.3)."""
    for layer in model.memory_attention.layers:
        strength = layer.get_parameter("structure_strength")
        strength.requires_grad_(False).zero_()


def with_noise_tokens(model: RobotSegModel) -> None:
    """RPG tokens replaced by noise of their length: sub-regions of unit length each (SPEC 6)."""
    config = model.config

    def noise(memory: Tensor, logits: Tensor) -> Tensor:
        shape = (len(memory), config.rpg_regions, config.rpg_subregions, config.mem_dim)
        return F.normalize(torch.randn(shape, device=memory.device), dim=-1).flatten(2).to(memory.dtype)

    model.object_tokens = noise  # type: ignore[method-assign]


@dataclass(frozen=True)
class Variant:
    """One way of training: kind of phase, weights of the terms, what is done to the model, frames of a clip."""

    title: str
    kind: str = "let"
    let: LetWeights = LetWeights()
    change: Change = unchanged
    length: int | None = None


VARIANTS: dict[str, Variant] = {
    "single": Variant("first frames alone, one by one", kind="first", length=1),
    "first": Variant("first frames alone, as still clips", kind="first"),
    "let": Variant("LET"),
    "no_cycle": Variant("LET without cycle", let=LetWeights(cycle=0)),
    "no_semantic": Variant("LET without semantic", let=LetWeights(semantic=0)),
    "no_patch": Variant("LET without patch", let=LetWeights(patch=0)),
    "no_structure": Variant("LET without structure", let=LetWeights(structure=0)),
    "no_gate": Variant("LET, SEMA without structure term", let=LetWeights(structure=0), change=without_gate),
    "noise_tokens": Variant("LET, RPG tokens are noise", change=with_noise_tokens),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``robotseg ablate``."""
    parser.add_argument("data", type=Path, help="videos with masks in VRS layout, e.g. of `robotseg synth`")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results; what it has is not done again")
    parser.add_argument(
        "--from", dest="start", default="nano", help="weights to start from (default: the shipped ones)"
    )
    parser.add_argument("--seeds", type=int, default=3, help="runs of each variant (default 3)")
    parser.add_argument("--steps", type=int, default=100, help="of each run (default 100)")
    parser.add_argument("--batch", type=int, default=2, help="palindromes of a step (default 2)")
    parser.add_argument("--length", type=int, default=7, help="frames of a palindrome (default 7)")
    parser.add_argument("--image-size", type=int, default=128, help="side of the input, pixels (default 128)")
    parser.add_argument("--lr", type=float, default=3e-4, help="learning rate (default 0.0003)")
    parser.add_argument("--score", type=int, default=8, help="videos of the other half that are scored (default 8)")
    parser.add_argument(
        "--variants",
        nargs="+",
        default=list(VARIANTS),
        choices=list(VARIANTS),
        metavar="NAME",
        help=f"of {', '.join(VARIANTS)} (default: all)",
    )


def split(data: Path, out: Path) -> tuple[Path, list[Video]]:
    """The first half of the videos as a root of links, and the other half.

    Raises:
        ValueError: fewer than two videos.
    """
    videos = read_root(data)
    half = len(videos) // 2
    if not half:
        raise ValueError(f"{data} has {len(videos)} videos, at least 2 are needed: one to train on, one to score")
    train = out / "train"
    for kind in ("image", "mask_gt"):
        (train / kind).mkdir(parents=True, exist_ok=True)
        for video in videos[:half]:
            link = train / kind / video.name
            if not link.is_symlink():
                link.symlink_to((data / kind / video.name).resolve())
    return train, videos[half:]


def score(state: dict[str, Tensor], config: ModelConfig, change: Change, videos: Sequence[Video]) -> dict[str, float]:
    """J&F of each part and of all, percent: videos streamed without a prompt."""
    # The policy of the stream goes by the preset's name.
    model = RobotSegModel(config)
    model.load_state_dict(state)
    change(model)
    model.eval().requires_grad_(False)
    device = torch.device("cpu")
    robotseg = RobotSeg(model, TorchEncoder(model, device), device, "ablation")
    torch.manual_seed(0)
    plan = Plan(protocols=("stream",), parts=PARTS)
    objects = [o for video in videos for o in run_video(robotseg, video, plan).objects]
    parts = {part: summarise(o for o in objects if o.part == part).jf for part in PARTS}
    return parts | {"mean": float(np.mean(list(parts.values())))}


def run(arguments: argparse.Namespace) -> int:
    """Train and score every variant with every seed, write ``ablation.json`` and ``ablation.md``."""
    out: Path = arguments.out
    (out / "results").mkdir(parents=True, exist_ok=True)
    train, others = split(arguments.data, out)
    videos = choose(others, arguments.score)
    start = find_weights(arguments.start)
    config = dataclasses.replace(NANO, image_size=arguments.image_size)
    untrained = out / "results" / "start.json"
    if not untrained.exists():
        model = RobotSegModel(config)
        start_from(model, start)
        untrained.write_text(json.dumps(score(model.state_dict(), config, unchanged, videos)))
    # Seed by seed, so that an unfinished table compares like with like.
    tasks = [(seed, name) for seed in range(arguments.seeds) for name in arguments.variants]
    for seed, name in tqdm(tasks, unit="run"):
        result = out / "results" / f"{name}_{seed}.json"
        if not result.exists():
            result.write_text(json.dumps(_train(arguments, name, seed, train, start, config, videos)))
        write_table(out, arguments)
    print((out / "ablation.md").read_text())
    return 0


def _train(
    arguments: argparse.Namespace,
    name: str,
    seed: int,
    train: Path,
    start: Path,
    config: ModelConfig,
    videos: Sequence[Video],
) -> dict[str, float]:
    variant, folder = VARIANTS[name], arguments.out / f"run_{name}_{seed}"
    phase = Phase(
        variant.kind,
        steps=arguments.steps,
        batch=arguments.batch,
        size=arguments.image_size,
        length=variant.length or arguments.length,
        lr=arguments.lr,
        warmup=max(1, arguments.steps // 10),
        final=0.1,
        # What photographs taught the trunk stays, which halves the cost of a step.
        frozen=TRUNK_STAGES,
    )
    training = TrainConfig(
        data=DataConfig(videos=(str(train),), photo_share=0),
        phases=(phase,),
        init=str(start),
        augment=AugmentConfig(scale=(0.9, 1.4), rotation_deg=10, stretch=1.1, occlude=0.3),
        let=variant.let,
        seed=seed,
        # A few steps: the average over the last tenth of them.
        ema=1 - 10 / arguments.steps if arguments.steps > 20 else 0.5,
        workers=0,
        save_every=50,
    )
    trainer = Trainer(config, training, folder, cache=arguments.out / "cache")
    variant.change(trainer.net.model)
    trainer.run()
    prefix = "model."
    state = {k[len(prefix) :]: v for k, v in trainer.ema.items() if k.startswith(prefix)}
    scores = score(state, config, variant.change, videos)
    shutil.rmtree(folder)
    return scores


def write_table(out: Path, arguments: argparse.Namespace) -> None:
    """Mean and spread (standard deviation over seeds) of what has been measured so far.

    ``against LET`` is the mean of the differences seed by seed: the runs of a seed see the same samples.
    """
    keys = (*PARTS, "mean")

    def measured(name: str) -> dict[int, dict[str, float]]:
        paths = {seed: out / "results" / f"{name}_{seed}.json" for seed in range(arguments.seeds)}
        return {seed: json.loads(path.read_text()) for seed, path in paths.items() if path.exists()}

    start = {0: json.loads((out / "results" / "start.json").read_text())}
    runs = {"no training": start} | {VARIANTS[name].title: measured(name) for name in arguments.variants}
    let = measured("let")
    lines = [f"| training | runs | {' | '.join(keys)} | against LET |", "|---|---|" + "---|" * (len(keys) + 1)]
    rows: list[dict[str, Any]] = []
    for title, found in runs.items():
        if not found:
            continue
        values = {key: [run[key] for run in found.values()] for key in keys}
        pairs = (
            [] if found is start else [run["mean"] - let[seed]["mean"] for seed, run in found.items() if seed in let]
        )
        cells = [*(spread(values[key]) for key in keys), spread(pairs, sign="+") if pairs else ""]
        lines.append(f"| {title} | {len(found)} | {' | '.join(cells)} |")
        rows.append({"title": title, "runs": found, "against_let": pairs})
    settings = {
        key: getattr(arguments, key) for key in ("seeds", "steps", "batch", "length", "image_size", "lr", "score")
    }
    (out / "ablation.json").write_text(json.dumps({"settings": settings, "rows": rows}, indent=1))
    (out / "ablation.md").write_text("\n".join(lines) + "\n")


def spread(values: Sequence[float], sign: str = "") -> str:
    """Mean, and standard deviation where there are several."""
    mean = f"{float(np.mean(values)):{sign}.1f}"
    return mean if len(values) < 2 else f"{mean} ± {float(np.std(values, ddof=1)):.1f}"
