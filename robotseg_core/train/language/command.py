# SPDX-License-Identifier: Apache-2.0
"""``robotseg train-policy``: train a policy with masks as reward; resumes where it stopped.

The file says which: the small policy on rendered scenes, or with ``policy: qwen2.5-vl`` a stage of Seg-R1.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from robotseg_core.instruct.prompt_set import PromptSet
from robotseg_core.instruct.segmenter import segment
from robotseg_core.stream.robotseg import RobotSeg
from robotseg_core.train.language.frames import cache_set
from robotseg_core.train.language.pool import Pool
from robotseg_core.train.language.qwen.settings import QwenStage, build_stage
from robotseg_core.train.language.qwen.trainer import QwenTrainer, load_for_training
from robotseg_core.train.language.settings import read_policy_config
from robotseg_core.train.language.trainer import PolicyTrainer, plot_curves


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``robotseg train-policy``."""
    parser.add_argument("config", type=Path, help="YAML file, e.g. config/train_policy.yaml")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run; an existing run is resumed")
    parser.add_argument("--export", type=Path, help="write the small policy here at the end")
    parser.add_argument("--data-only", action="store_true", help="fill the cache, or read the pictures, and stop")


def run(arguments: argparse.Namespace) -> int:
    """Train what the file says."""
    content = yaml.safe_load(arguments.config.read_text())
    if isinstance(content, dict) and content.pop("policy", "small") == "qwen2.5-vl":
        return _run_qwen(build_stage(content, arguments.config), arguments)
    return _run_small(arguments)


def _run_qwen(stage: QwenStage, arguments: argparse.Namespace) -> int:
    robotseg = RobotSeg.load(
        stage.segmenter, device=stage.device, weights=stage.segmenter_weights, warm=False, loop="eager"
    )

    def segment_square(rgb: NDArray[np.uint8], prompts: PromptSet) -> NDArray[np.bool_]:
        (encoded,) = robotseg.encode_frames([rgb])
        return segment(robotseg, encoded, prompts)

    model, processor = load_for_training(stage)
    trainer = QwenTrainer(stage, model, processor, segment_square, arguments.out)
    print(f"{len(trainer.samples)} pictures, {trainer.steps} steps, segmenter {robotseg.loaded}")
    if not arguments.data_only:
        trainer.run()
    return 0


def _run_small(arguments: argparse.Namespace) -> int:
    """Stage 0: frames into the cache.  Then the stages of the file."""
    config = read_policy_config(arguments.config)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", len(os.sched_getaffinity(0)))))
    robotseg = RobotSeg.load(config.preset, device="cpu", weights=config.weights, warm=False)
    print(f"{robotseg.loaded}, precision {robotseg.precision}")
    folders = [
        cache_set(
            robotseg, Path(config.cache), one.folder, Path(one.root), frames=one.frames, mirrored=one.mirrored,
            kind=one.kind,
        )
        for one in config.sets
    ]  # fmt: skip
    if arguments.data_only:
        return 0
    pool = Pool(folders)
    print(f"{len(pool.frames)} frames")
    trainer = PolicyTrainer(config, pool, robotseg.model, robotseg.sha256, arguments.out)
    trainer.run()
    plot_curves(arguments.out / "curve.csv", arguments.out / "curve.png")
    if arguments.export:
        trainer.export(arguments.export)
        print(f"policy -> {arguments.export}")
    return 0
