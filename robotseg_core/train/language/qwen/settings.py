# SPDX-License-Identifier: Apache-2.0
"""A stage of Seg-R1's training; its YAML file says the same (SEGR1 4.2)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robotseg_core.train.command import build
from robotseg_core.train.language.grpo import GrpoSettings

FORMS = ("rl", "pre-rl")


@dataclass(frozen=True)
class Pictures:
    """A set to learn from: ``layout`` of :mod:`robotseg_core.evaluation.language.public.foregrounds`, and its root."""

    layout: str
    root: str


@dataclass(frozen=True)
class Lora:
    """Adapters in place of all weights; Seg-R1 itself trains all of them.

    Attributes:
        rank, alpha: of the adapters.
        targets: names of the linear layers that get one.
    """

    rank: int = 16
    alpha: int = 32
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")


@dataclass(frozen=True)
class QwenStage:
    """One stage.

    Attributes:
        weights: folder of the model to start from.
        pictures: to learn from.
        form: ``pre-rl``: points alone; ``rl``: boxes, points and thinking.
        segmenter, segmenter_weights: preset and weight file of the frozen segmenter.
        epochs: passes over the pictures.
        prompts: of a step.
        micro: prompts whose answers are scored at once; gradients of a step are summed over them.
        max_new_tokens: of an answer.
        side: of the square that the model sees, pixels.
        lr: learning rate, constant.
        lora: adapters; None: all weights learn, as published.
        settings: of GRPO.
        seed: of the order and of what is drawn.
        save_every: steps.
        device: of the model.
    """

    weights: str
    pictures: tuple[Pictures, ...]
    form: str = "rl"
    segmenter: str = "base"
    segmenter_weights: str | None = None
    epochs: int = 1
    prompts: int = 24
    micro: int = 1
    max_new_tokens: int = 400
    side: int = 768
    lr: float = 1e-6
    lora: Lora | None = None
    settings: GrpoSettings = field(default_factory=lambda: GrpoSettings(group=4, beta=0.04, min_spread=0.0))
    seed: int = 0
    save_every: int = 20
    device: str = "cuda"

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise ValueError(f"form is {self.form!r}, must be one of {FORMS}")
        if self.prompts % self.micro:
            raise ValueError(f"prompts is {self.prompts}, must be a multiple of micro, {self.micro}")


def build_stage(content: dict[str, Any], path: Path) -> QwenStage:
    """A stage of a YAML mapping.

    Raises:
        ValueError: a key that is not known, or a value out of its range.
    """
    content = dict(content)
    content["pictures"] = [build(Pictures, one, f"{path}: pictures") for one in content.get("pictures") or []]
    if not content["pictures"]:
        raise ValueError(f"{path}: pictures is empty, there is nothing to learn from")
    if content.get("lora") is not None:
        content["lora"] = build(Lora, content["lora"], f"{path}: lora")
    if content.get("settings") is not None:
        defaults = {"group": 4, "beta": 0.04, "min_spread": 0.0}
        content["settings"] = build(GrpoSettings, {**defaults, **content["settings"]}, f"{path}: settings")
    stage: QwenStage = build(QwenStage, content, str(path))
    return stage
