# SPDX-License-Identifier: Apache-2.0
"""``robotseg finetune``: adapt shipped or own weights to videos of one's own robot.

Where every frame has its masks, single frames are learned first and then clips through the memory.  Where only the
first frame of a video has them, the rest is label-efficient training.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from robotseg_core.config import PRESETS
from robotseg_core.files.mask_files import FOLDERS
from robotseg_core.files.natural import in_order
from robotseg_core.train.command import export, use_all_cores
from robotseg_core.train.data.augment import AugmentConfig
from robotseg_core.train.data.sources import DataConfig
from robotseg_core.train.distributed import World
from robotseg_core.train.settings import Phase, TrainConfig
from robotseg_core.train.trainer import Trainer
from robotseg_core.weights.files import find_weights
from robotseg_core.weights.load import read_state_dict

PARTS_NEEDED = ("arm", "gripper")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``robotseg finetune``."""
    parser.add_argument(
        "--data", type=Path, required=True, help="videos of the robot: image/ and mask_gt/ (VRS layout)"
    )
    parser.add_argument("--from", dest="start", default="nano", help="weights to start from: nano (default) or a file")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run; an existing run is resumed")
    parser.add_argument("--steps", type=int, default=300, help="steps in all (default 300)")
    parser.add_argument("--batch", type=int, default=12, help="frames of a step (default 12)")
    parser.add_argument("--size", type=int, default=256, help="side of the model's input, pixels (default 256)")
    parser.add_argument("--lr", type=float, default=3e-4, help="peak learning rate (default 0.0003)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda or cuda:N")


def labelled_throughout(data: Path) -> bool:
    """Whether every frame of every video has its masks; False: the first ones at least have.

    Raises:
        ValueError: not the layout, or a first frame without masks; says which file is missing.
    """
    for folder in ("image", "mask_gt"):
        if not (data / folder).is_dir():
            raise ValueError(
                f"{data} has no folder {folder}/: needed are image/<video>/<frame>.jpg and "
                "mask_gt/<video>/000/<frame>.png (arm) and 001/ (gripper)"
            )
    whole, videos = True, sorted(p for p in (data / "image").iterdir() if p.is_dir())
    if not videos:
        raise ValueError(f"{data / 'image'} has no folders of frames")
    for video in videos:
        for i, frame in enumerate(in_order(video.glob("*.jpg"))):
            masks = [data / "mask_gt" / video.name / FOLDERS[part] / f"{frame.stem}.png" for part in PARTS_NEEDED]
            missing = [mask for mask in masks if not mask.exists()]
            if missing and i == 0:
                raise ValueError(
                    f"the first frame of {video.name} has no mask {missing[0]}; it needs one, if a black one"
                )
            whole = whole and not missing
    return whole


def phases(*, steps: int, batch: int, size: int, lr: float, whole: bool) -> tuple[Phase, ...]:
    """Single frames, then clips; or palindromes where only first frames are labelled."""

    def phase(kind: str, steps: int, *, batch: int, length: int, lr: float, final: float) -> Phase:
        return Phase(
            kind,
            steps=steps,
            batch=max(1, batch),
            size=size,
            length=length,
            lr=lr,
            warmup=max(1, steps // 10),
            final=final,
            frozen=3,
            trunk=0.3,
            auto=0.7,
        )

    if not whole:
        return (phase("let", steps, batch=batch // 6, length=7, lr=lr, final=0.1),)
    clips = steps // 3
    frames = phase("frame", steps - clips, batch=batch, length=1, lr=lr, final=0.3)
    return (frames, phase("clip", clips, batch=batch // 3, length=3, lr=0.3 * lr, final=0.1)) if clips else (frames,)


def configure(arguments: argparse.Namespace) -> tuple[str, TrainConfig]:
    """Preset and configuration of the run."""
    start = find_weights(arguments.start)
    preset = read_state_dict(start)[1].get("preset", "nano")
    if preset != "nano":
        raise ValueError(f"{start} is of preset {preset!r}; finetune is for nano, for others write a YAML for train")
    whole = labelled_throughout(arguments.data)
    if not whole:
        print("not every frame has masks: the first frames' are used, the rest is label-efficient training")
    config = TrainConfig(
        data=DataConfig(videos=(str(arguments.data),), photo_share=0.0),
        phases=phases(steps=arguments.steps, batch=arguments.batch, size=arguments.size, lr=arguments.lr, whole=whole),
        init=str(start),
        augment=AugmentConfig(scale=(0.7, 1.8), absent=0.03),
        seed=arguments.seed,
        ema=0.98,
        save_every=50,
    )
    return preset, config


def run(arguments: argparse.Namespace) -> int:
    """Fine-tune, write ``<preset>_finetuned.safetensors`` and say how to use it."""
    if arguments.steps < 1 or arguments.batch < 1:
        raise ValueError(f"steps {arguments.steps} and batch {arguments.batch} must be at least 1")
    preset, config = configure(arguments)
    use_all_cores()
    world = World.join(arguments.device)
    trainer = Trainer(PRESETS[preset], config, arguments.out, world)
    trainer.run()
    world.leave()
    if world.leads:
        target = arguments.out / f"{preset}_finetuned.safetensors"
        export(trainer, target)
        print(f"weights -> {target}")
        print(f"use them: robotseg segment INPUT --out DIR --weights {target}")
        print(f"   in the node: ros2 launch robotseg_ros segment.launch.py, parameter weights: {target.resolve()}")
    return 0
