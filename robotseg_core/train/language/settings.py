# SPDX-License-Identifier: Apache-2.0
"""What a training of the small policy is made of; its YAML file says the same."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from robotseg_core.instruct.small.network import NetworkConfig
from robotseg_core.train.command import build
from robotseg_core.train.language.grpo import GrpoSettings
from robotseg_core.train.language.rewards import RewardSettings

STAGES = ("supervised", "grpo")
SET_KINDS = ("rendered", "packed", "labelled", "bare")


@dataclass(frozen=True)
class PolicySet:
    """Frames to learn from.

    Attributes:
        root: folder of the set.
        name: of its folder in the cache; empty: the root's last two names.
        kind: ``rendered`` by `robotseg synth` with instance maps, ``packed`` ones as `train-hinted` has (a pack, or
            a folder of packs), ``labelled`` real frames with masks of the three parts, ``bare`` pictures without a
            robot.
        frames: of each rendered or packed video, spread evenly.
        mirrored: each frame once more, mirrored.
    """

    root: str
    name: str = ""
    kind: str = "rendered"
    frames: int = 3
    mirrored: bool = True

    def __post_init__(self) -> None:
        if self.kind not in SET_KINDS:
            raise ValueError(f"kind of {self.root} is {self.kind!r}, must be one of {SET_KINDS}")
        if self.frames < 1:
            raise ValueError(f"frames of {self.root} is {self.frames}, must be at least 1")

    @property
    def folder(self) -> str:
        """Name of its folder in the cache."""
        return self.name or "_".join(Path(self.root).parts[-2:])


@dataclass(frozen=True)
class Stage:
    """One stretch of training.

    Attributes:
        kind: ``supervised`` or ``grpo``.
        steps: optimiser steps, at most.
        cpu_minutes: of this process, after which the stage ends; 0: no limit.  What two ways of spending the same
            time are compared by, on a machine that others use as well.
        frames, each: frames of a step, and requests about each.
        lr, warmup, final: learning rate: linear warm-up, then cosine to ``lr * final``.  With ``cpu_minutes`` the
            cosine goes by the time that is used.
        dropout: share of values that a supervised step leaves out, of what is known of a cell and in all layers.
        bf16: whether a supervised step computes in bfloat16.
        settings: of GRPO.
    """

    kind: str
    steps: int
    cpu_minutes: float = 0.0
    frames: int = 16
    each: int = 8
    lr: float = 1e-3
    warmup: int = 50
    final: float = 0.05
    dropout: float = 0.0
    bf16: bool = True
    settings: GrpoSettings = field(default_factory=GrpoSettings)

    def __post_init__(self) -> None:
        if self.kind not in STAGES:
            raise ValueError(f"kind of a stage is {self.kind!r}, must be one of {STAGES}")
        if min(self.steps, self.frames, self.each) < 1:
            raise ValueError(f"steps {self.steps}, frames {self.frames} and each {self.each} must be at least 1")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}, must be 0 to below 1")

    def rate(self, step: int, done: float) -> float:
        """Learning rate at ``step``; ``done``: share of the stage, 0 to 1."""
        warm = min(1.0, (step + 1) / max(1, self.warmup))
        return self.lr * warm * (self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


@dataclass(frozen=True)
class PolicyConfig:
    """A whole training.

    Attributes:
        sets: to learn from.
        stages: one after another.
        cache: folder in which frames are kept, with all that is needed of them; some 0.6 MB a frame.
        init: policy to start from; None: random weights.
        preset, weights: the segmenter that stays frozen; None: the shipped weights.
        network: sizes.
        reward: of GRPO.
        seed: of all that is drawn.
        save_every: steps.
    """

    sets: tuple[PolicySet, ...]
    stages: tuple[Stage, ...]
    cache: str = "out/policy-cache"
    init: str | None = None
    preset: str = "nano"
    weights: str | None = None
    network: NetworkConfig = field(default_factory=NetworkConfig)
    reward: RewardSettings = field(default_factory=RewardSettings)
    seed: int = 0
    save_every: int = 100


def read_policy_config(path: Path) -> PolicyConfig:
    """Configuration of a YAML file.

    Raises:
        ValueError: a key that is not known, or a value out of its range.
    """
    content = yaml.safe_load(path.read_text())
    if not isinstance(content, dict) or not {"sets", "stages"} <= set(content):
        raise ValueError(f"{path} must be a mapping with at least `sets` and `stages`")
    content["sets"] = [build(PolicySet, one, f"{path}: sets") for one in content["sets"]]
    stages = []
    for one in content["stages"]:
        settings = build(GrpoSettings, one.pop("settings", None) or {}, f"{path}: settings")
        stages.append(dataclasses.replace(build(Stage, one, f"{path}: stages"), settings=settings))
    if not content["sets"] or not stages:
        raise ValueError(f"{path}: sets and stages must not be empty")
    content["stages"] = stages
    content["network"] = build(NetworkConfig, content.get("network") or {}, f"{path}: network")
    content["reward"] = build(RewardSettings, content.get("reward") or {}, f"{path}: reward")
    config: PolicyConfig = build(PolicyConfig, content, str(path))
    return config
