# SPDX-License-Identifier: Apache-2.0
"""What a training run is made of: phases, loss weights, the run as a whole.  The YAML file of a run says the same."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from robotseg_core.train.data.augment import AugmentConfig
from robotseg_core.train.data.sources import DataConfig

KINDS = ("encoder", "frame", "clip", "let", "first")


@dataclass(frozen=True)
class Phase:
    """One stretch of training.

    Attributes:
        kind: ``encoder`` (dense head only), ``frame`` (single frames through the decoder), ``clip`` (through the
            memory, every frame labelled), ``let`` (palindromes of videos whose first frame alone is labelled, SPEC 9),
            ``first`` (those first frames alone, each shown ``length`` times: what ``let`` has to beat).
        steps: optimiser steps of the phase.
        batch: clips of a step, over all processes.
        size: side of the model's input, pixels.
        length: frames of a clip; odd for ``let`` (published: 7).
        lr: peak learning rate; linear warm-up over ``warmup`` steps, then cosine to ``lr * final``.
        frozen: stages of the convolutional trunk that do not learn (0: all learn).
        trunk: learning rate of the trunk as a fraction of ``lr``: what it brought along is to be kept.
        auto: share of steps whose first frame is prompted by the category alone; of the rest a third are given masks
            (clips only) and the others clicks and boxes in equal parts, with corrections (SPEC 9.3: 0.4).
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
    auto: float = 0.4

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"phase kind is {self.kind!r}, must be one of {KINDS}")
        if self.kind == "let" and (self.length < 3 or self.length % 2 == 0):
            raise ValueError(f"length of a let phase is {self.length}, must be odd and at least 3: there and back")
        if self.steps < 1 or self.batch < 1 or self.length < 1:
            raise ValueError(f"steps {self.steps}, batch {self.batch} and length {self.length} must be at least 1")
        if not 0 <= self.auto <= 1:
            raise ValueError(f"auto is {self.auto}, must be 0 to 1")

    def rate(self, step: int) -> float:
        """Learning rate at ``step`` of this phase."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.lr * (self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


@dataclass(frozen=True)
class LetWeights:
    """Weights of the terms of label-efficient training; all 1 as published (SPEC 9.4).

    Attributes:
        cycle: mask, IoU and class terms of the palindrome's last frame, which is the first one again; those of the
            first frame itself always count.
        semantic: a part's features stay those of the first frame's true mask.
        patch: soft IoU with the pseudo mask at stride 16.
        structure: the structure branch draws the outline of the last frame's true mask.
    """

    cycle: float = 1.0
    semantic: float = 1.0
    patch: float = 1.0
    structure: float = 1.0


@dataclass(frozen=True)
class TrainConfig:
    """A whole run.

    Attributes:
        init: weight file to start from (this project's safetensors; for base a SAM 2.1 or the official checkpoint);
            what does not fit keeps its initialisation, said aloud.
        pretrained_trunk: True: nano's trunk starts from EfficientNet-Lite (:mod:`robotseg_core.train.pretrained`).
        features: what propagates the first frame's mask in ``let`` phases (SPEC 9.2): ``encoder`` for the model's own
            encoder as it stands when the phase begins, or name or folder of a DINOv3 for ``transformers``.
        let: weights of the terms of ``let`` phases.
        clip_norm: limit of the gradient's norm.
        ema: decay of the averaged weights a step.
        workers: processes that prepare samples, for each training process.
    """

    data: DataConfig
    phases: tuple[Phase, ...]
    init: str | None = None
    pretrained_trunk: bool = False
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    features: str = "encoder"
    let: LetWeights = field(default_factory=LetWeights)
    seed: int = 0
    weight_decay: float = 0.02
    clip_norm: float = 1.0
    ema: float = 0.999
    workers: int = 1
    save_every: int = 200
