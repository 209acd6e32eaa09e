# SPDX-License-Identifier: Apache-2.0
"""What decides quality: a short training of the encoder for each choice, one thing changed at a time.

    python -m robotseg_core.train.choices config/train_nano.yaml --score VIDEOS --absent PICTURES --out out/choices

Every run starts from photographs (EfficientNet-Lite, which stays as it is), takes the same number of steps of the same
batch under the dense head, with data and augmentation of the YAML file, and is scored on frames it never saw.  Small
scale: it ranks choices, it does not foretell what a long training reaches.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from robotseg_core.config import NANO, ModelConfig
from robotseg_core.stream.preprocess import normalise
from robotseg_core.train.ablation import TRUNK_STAGES, spread
from robotseg_core.train.command import read_config, use_all_cores
from robotseg_core.train.data.augment import AugmentConfig
from robotseg_core.train.data.sources import STORE_SIZE, DataConfig, VideoStore, read_rgb
from robotseg_core.train.losses import part_masks
from robotseg_core.train.objective import Objective
from robotseg_core.train.settings import Phase, TrainConfig
from robotseg_core.train.trainer import Trainer
from robotseg_core.types import PARTS

FALSE_PIXELS = "false pixels"


@dataclass(frozen=True)
class Recipe:
    """What a choice may change: sizes of the model, data, augmentation, input size."""

    model: ModelConfig
    data: DataConfig
    augment: AugmentConfig
    size: int


def width(recipe: Recipe, share: float) -> Recipe:
    """All that follows the trunk, ``share`` times as wide."""
    model = recipe.model
    c4, c8, c16 = (int(share * c) for c in model.fpn_channels)
    return dataclasses.replace(
        recipe,
        model=dataclasses.replace(
            model, fpn_channels=(c4, c8, c16), d_model=int(share * model.d_model), mem_dim=int(share * model.mem_dim)
        ),
    )


def absent(recipe: Recipe, share: float) -> Recipe:
    """``share`` of the pictures are photographs without a robot, taken from the cut-outs' share."""
    data = recipe.data
    rest = data.cutout_share + data.photo_share - share
    return dataclasses.replace(
        recipe,
        data=dataclasses.replace(data, photo_share=share, cutout_share=rest),
        augment=dataclasses.replace(recipe.augment, absent=0.0),
    )


def plain(recipe: Recipe) -> Recipe:
    """Nothing is recoloured, covered, blurred, or put before another background."""
    augment = dataclasses.replace(
        recipe.augment, recolour=0.0, occlude=0.0, background=0.0, blur=0.0, noise=0.0, jpeg=0.0
    )
    return dataclasses.replace(recipe, augment=augment)


def without_cutouts(recipe: Recipe) -> Recipe:
    """Videos and photographs only."""
    return dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, cutouts=None, cutout_share=0.0))


def resized(recipe: Recipe, share: float) -> Recipe:
    """Input of another size, a multiple of 32."""
    return dataclasses.replace(recipe, size=round(share * recipe.size / 32) * 32)


CHOICES: dict[str, Callable[[Recipe], Recipe]] = {
    "as it is": lambda r: r,
    "half the width": lambda r: width(r, 0.5),
    "1.5 times the width": lambda r: width(r, 1.5),
    "input 2/3 as large": lambda r: resized(r, 2 / 3),
    "input 4/3 as large": lambda r: resized(r, 4 / 3),
    "no picture without a robot": lambda r: absent(r, 0.0),
    "a third without a robot": lambda r: absent(r, 0.33),
    "plain augmentation": plain,
    "no cut-outs": without_cutouts,
}


def parts_of(objective: Objective, rgb: NDArray[np.uint8], size: int) -> Tensor:
    """Dense head at stride 4: frames [N, S0, S0, 3] -> bool [N, P, STORE_SIZE, STORE_SIZE]."""
    small = np.stack([cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA) for frame in rgb])
    x = normalise(torch.from_numpy(small).permute(0, 3, 1, 2)).contiguous(memory_format=torch.channels_last)
    maps = objective.model.image_encoder(x)
    logits = objective.dense_head[0](F.relu(maps[0]))
    return F.interpolate(logits, (STORE_SIZE, STORE_SIZE), mode="bilinear") > 0


@torch.inference_mode()
def score(objective: Objective, videos: VideoStore, pictures: list[Path], size: int) -> dict[str, float]:
    """Percent: mean IoU of each part over the frames that show it (every third one), and false robot pixels."""
    objective.eval()
    ious: dict[str, list[float]] = {part: [] for part in PARTS}
    index = np.arange(0, len(videos.rgb), 3)
    for chunk in np.array_split(index, max(1, len(index) // 8)):
        found = parts_of(objective, np.asarray(videos.rgb[chunk]), size)
        truth = part_masks(torch.from_numpy(np.asarray(videos.label[chunk]))) > 0.5
        both, either = (found & truth).sum((2, 3)), (found | truth).sum((2, 3))
        shown = truth.any(3).any(2)
        for p, part in enumerate(PARTS):
            ious[part] += (both[:, p] / either[:, p].clamp(min=1))[shown[:, p]].tolist()
    result = {part: 100 * float(np.mean(values)) for part, values in ious.items()}
    if pictures:
        robot = PARTS.index("robot")
        whole = [cv2.resize(read_rgb(path), (STORE_SIZE, STORE_SIZE)) for path in pictures]
        false = [parts_of(objective, np.asarray(p, np.uint8)[None], size)[:, robot].float().mean() for p in whole]
        result[FALSE_PIXELS] = 100 * float(torch.stack(false).mean())
    return result


def train(config: TrainConfig, recipe: Recipe, arguments: argparse.Namespace, seed: int, out: Path) -> Objective:
    """One short run; the averaged weights."""
    phase = Phase(
        "encoder",
        steps=arguments.steps,
        batch=arguments.batch,
        size=recipe.size,
        lr=arguments.lr,
        warmup=max(1, arguments.steps // 10),
        final=0.05,
        frozen=TRUNK_STAGES,
    )
    config = dataclasses.replace(
        config, data=recipe.data, augment=recipe.augment, phases=(phase,), seed=seed, init=None, pretrained_trunk=True
    )
    config = dataclasses.replace(config, ema=1 - 10 / arguments.steps if arguments.steps > 20 else 0.5)
    trainer = Trainer(recipe.model, config, out, cache=arguments.out / "cache")
    trainer.run()
    trainer.net.load_state_dict(trainer.ema)
    shutil.rmtree(out)
    assert isinstance(trainer.net, Objective)
    return trainer.net


def write_table(out: Path, seeds: int) -> None:
    """Mean and standard deviation over the seeds of what has been measured so far."""
    lines: list[str] = []
    for name in CHOICES:
        paths = [path for seed in range(seeds) if (path := result_file(out, name, seed)).exists()]
        runs = [json.loads(path.read_text()) for path in paths]
        if not runs:
            continue
        if not lines:
            lines = [f"| choice | runs | {' | '.join(runs[0])} |", "|---|---|" + "---|" * len(runs[0])]
        lines.append(f"| {name} | {len(runs)} | {' | '.join(spread([run[key] for run in runs]) for key in runs[0])} |")
    (out / "choices.md").write_text("\n".join(lines) + "\n")


def result_file(out: Path, name: str, seed: int) -> Path:
    """Where the scores of a run are kept."""
    return out / "results" / f"{name.replace(' ', '_').replace('/', '_')}_{seed}.json"


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="robotseg_core.train.choices", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("config", type=Path, help="YAML of a training: its data and augmentation are used")
    parser.add_argument("--score", type=Path, required=True, help="videos with masks that are scored, VRS layout")
    parser.add_argument("--absent", type=Path, default=None, help="folder with pictures (*.jpg) that show no robot")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results; what it has is not done again")
    parser.add_argument("--steps", type=int, default=300, help="of each run (default 300)")
    parser.add_argument("--batch", type=int, default=16, help="frames of a step (default 16)")
    parser.add_argument("--image-size", type=int, default=192, help="side of the input, pixels (default 192)")
    parser.add_argument("--lr", type=float, default=2e-3, help="peak learning rate (default 0.002)")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each choice (default 1)")
    arguments = parser.parse_args(argv)
    _, config = read_config(arguments.config)
    use_all_cores()
    (arguments.out / "results").mkdir(parents=True, exist_ok=True)
    videos = VideoStore(arguments.score, arguments.out / "cache")
    pictures = sorted(arguments.absent.rglob("*.jpg")) if arguments.absent else []
    recipe = Recipe(NANO, config.data, config.augment, arguments.image_size)
    for seed, name in tqdm([(seed, name) for seed in range(arguments.seeds) for name in CHOICES], unit="run"):
        path = result_file(arguments.out, name, seed)
        if not path.exists():
            changed = CHOICES[name](recipe)
            net = train(config, changed, arguments, seed, arguments.out / "run")
            path.write_text(json.dumps(score(net, videos, pictures, changed.size)))
        write_table(arguments.out, arguments.seeds)
    print((arguments.out / "choices.md").read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
