# SPDX-License-Identifier: Apache-2.0
"""``robotseg train``: run the phases of a YAML file; resumes where it stopped, exports the averaged weights.

On several GPUs of a machine: ``torchrun --nproc-per-node 4 -m robotseg_core.cli train CONFIG --out RUN --device cuda``.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
from pathlib import Path
from typing import Any

import torch
import yaml

from robotseg_core.config import PRESETS
from robotseg_core.model.robotseg_model import RobotSegModel
from robotseg_core.train.data.augment import AugmentConfig
from robotseg_core.train.data.sources import DataConfig
from robotseg_core.train.distributed import World
from robotseg_core.train.settings import LetWeights, Phase, TrainConfig
from robotseg_core.train.trainer import Trainer
from robotseg_core.weights.load import save_safetensors


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``robotseg train``."""
    parser.add_argument("config", type=Path, help="YAML file, e.g. config/train_nano.yaml")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run; an existing run is resumed")
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda or cuda:N")
    parser.add_argument("--export", type=Path, default=None, help="write the averaged weights here at the end")


def build(kind: type[Any], values: dict[str, Any], where: str) -> Any:
    """A frozen dataclass from a YAML mapping.

    Raises:
        ValueError: a key that it does not know, named with those that it does.
    """
    known = [field.name for field in dataclasses.fields(kind)]
    for key in values:
        if key not in known:
            raise ValueError(f"{where} has the unknown key {key!r}; known are {known}")
    required = [f.name for f in dataclasses.fields(kind) if f.default is f.default_factory is dataclasses.MISSING]
    for key in required:
        if key not in values:
            raise ValueError(f"{where} lacks the key {key!r}")
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})


def read_config(path: Path) -> tuple[str, TrainConfig]:
    """Preset name and configuration of a YAML file."""
    content = yaml.safe_load(path.read_text())
    if not isinstance(content, dict) or not {"data", "phases"} <= set(content):
        raise ValueError(f"{path} must be a mapping with at least `data` and `phases`")
    preset = content.pop("preset", "nano")
    if preset not in PRESETS:
        raise ValueError(f"{path}: preset is {preset!r}, must be one of {tuple(PRESETS)}")
    content["data"] = build(DataConfig, content["data"], f"{path}: data")
    content["augment"] = build(AugmentConfig, content.get("augment") or {}, f"{path}: augment")
    content["let"] = build(LetWeights, content.get("let") or {}, f"{path}: let")
    content["phases"] = [build(Phase, phase, f"{path}: phases") for phase in content["phases"]]
    if not content["phases"]:
        raise ValueError(f"{path}: phases is empty, there is nothing to train")
    config: TrainConfig = build(TrainConfig, content, str(path))
    return preset, config


def export(trainer: Trainer, path: Path) -> None:
    """Write the averaged weights of the model (without the training-only head) as fp16 safetensors."""
    model = RobotSegModel(PRESETS[trainer.preset.name])
    prefix = "model."
    state = {key[len(prefix) :]: value for key, value in trainer.ema.items() if key.startswith(prefix)}
    model.load_state_dict(state)
    metadata = {"preset": trainer.preset.name, "frames_seen": str(trainer.seen), "updates": str(trainer.updates)}
    save_safetensors(model.state_dict(), path, metadata)


def use_all_cores() -> None:
    """Let PyTorch use every core that this process may, or what torchrun's OMP_NUM_THREADS leaves it."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", len(os.sched_getaffinity(0)))))


def run(arguments: argparse.Namespace) -> int:
    """Train."""
    preset, config = read_config(arguments.config)
    use_all_cores()
    world = World.join(arguments.device)
    trainer = Trainer(PRESETS[preset], config, arguments.out, world)
    trainer.run()
    world.leave()
    if arguments.export and world.leads:
        export(trainer, arguments.export)
        print(f"weights -> {arguments.export}")
    return 0
