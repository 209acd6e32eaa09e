# SPDX-License-Identifier: Apache-2.0
"""Tokens to masks to rewards: the frozen segmenter's decoder on cached frames, at stride 4."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robotseg_core.instruct.prompt_set import Answer
from robotseg_core.instruct.segmenter import cut_to_box
from robotseg_core.instruct.small.tokens import Target, Written, read_answer
from robotseg_core.model.robotseg_model import Features, RobotSegModel
from robotseg_core.stream.prompting import decode
from robotseg_core.train.language.cache import load_cached
from robotseg_core.train.language.grpo import Rollout
from robotseg_core.train.language.pool import Example, Pool, leaf_mask
from robotseg_core.train.language.rewards import Given, RewardSettings, Wanted, reward
from robotseg_core.types import PARTS

_ANSWERS = {"none": Answer.NONE, "unknown": Answer.NOT_UNDERSTOOD}


@torch.inference_mode()
def decode_targets(
    model: RobotSegModel, features: Features, targets: Sequence[tuple[str, Target]]
) -> NDArray[np.bool_]:
    """One mask at stride 4 for each instance (part, target) of a frame, [n, 4g, 4g].

    Those with as many points go through the decoder together: padding points are not quite nothing to it.
    """
    side = model.config.image_size
    masks = np.zeros((len(targets), 4 * model.config.grid, 4 * model.config.grid), bool)
    for count in sorted({len(target.points) for _, target in targets}):
        rows = [row for row, (_, target) in enumerate(targets) if len(target.points) == count]
        chosen = [targets[row] for row in rows]
        xy = [[t.box[:2], t.box[2:], *((x, y) for x, y, _ in t.points)] for _, t in chosen]
        coords = torch.tensor(xy, dtype=torch.float32) * side
        labels = torch.tensor([[2, 3, *(label for _, _, label in t.points)] for _, t in chosen])
        parts = torch.tensor([PARTS.index(part) for part, _ in chosen])
        decoded = decode(model, features, model.initial(features, len(chosen)), parts, points=(coords, labels))
        masks[rows] = decoded.logits.float().numpy() > 0
    height, width = masks.shape[1:]
    for mask, (_, target) in zip(masks, targets, strict=True):
        x0, y0, x1, y1 = target.box
        cut_to_box(mask, (x0 * width, y0 * height, x1 * width, y1 * height))
    return masks


@dataclass
class AnswerStatistics:
    """What the answers of some steps looked like: sums over answers."""

    answers: int = 0
    none: int = 0
    instances: int = 0
    points: int = 0
    area: float = 0.0
    iou: list[float] = field(default_factory=list)

    def take(self, written: Written) -> None:
        """Count one answer."""
        self.answers += 1
        self.none += written.op == "none"
        self.instances += len(written.targets)
        self.points += sum(len(t.points) for t in written.targets)
        self.area += sum((t.box[2] - t.box[0]) * (t.box[3] - t.box[1]) for t in written.targets)

    def means(self) -> dict[str, float]:
        """Points of an answer, area of a box (share of the frame), share of "none"."""
        answers, instances = max(1, self.answers), max(1, self.instances)
        return {"points": self.points / answers, "box area": self.area / instances, "none": self.none / answers}


class MaskReward:
    """Rewards of answers about the frames of a pool; equal answers to one frame are decoded once."""

    def __init__(self, pool: Pool, model: RobotSegModel, settings: RewardSettings | None = None) -> None:
        self._pool, self._model, self._settings = pool, model, settings or RewardSettings()
        self.statistics = AnswerStatistics()

    def __call__(self, requests: Sequence[Example], rollout: Rollout, group: int) -> Tensor:
        """[B, G], see :data:`~robotseg_core.train.language.grpo.Reward`."""
        rows = rollout.tokens.tolist()
        written = [read_answer(row) for row in rows]
        for one in written:
            self.statistics.take(one)
        masks = self.masks([request for request in requests for _ in range(group)], written)
        wanted = [self._wanted(request) for request in requests]
        earned = np.zeros((len(requests), group), np.float32)
        known: dict[tuple[int, Written], float] = {}
        for i, request in enumerate(requests):
            for g in range(group):
                key = (i, written[i * group + g])
                if key not in known:
                    known[key] = self._earned(request, key[1], masks[i * group + g], wanted[i])
                earned[i, g] = known[key]
        return torch.from_numpy(earned)

    def masks(self, requests: Sequence[Example], written: Sequence[Written]) -> list[NDArray[np.bool_] | None]:
        """The union of each answer's masks at stride 4, before an inversion; None without targets."""
        by_frame: dict[int, dict[tuple[str, Target], int]] = {}
        for request, one in zip(requests, written, strict=True):
            for target in one.targets:
                wanted = by_frame.setdefault(request.frame, {})
                wanted.setdefault((one.part, target), len(wanted))
        found = {}
        for number, targets in by_frame.items():
            features = load_cached(self._pool.paths[number]).features()
            masks = decode_targets(self._model, features, list(targets))
            found[number] = dict(zip(targets, masks, strict=True))
        return [
            np.logical_or.reduce([found[request.frame][one.part, target] for target in one.targets])
            if one.targets
            else None
            for request, one in zip(requests, written, strict=True)
        ]

    def _wanted(self, request: Example) -> Wanted | None:
        if request.asked is None:
            return None
        frame, asked = self._pool.frames[request.frame], request.asked
        others = leaf_mask(frame, asked.others) if asked.others else None
        return Wanted(leaf_mask(frame, asked.target), others, max(1, len(asked.instances)), asked.invert)

    def _earned(
        self, request: Example, written: Written, mask: NDArray[np.bool_] | None, wanted: Wanted | None
    ) -> float:
        if wanted is None:
            return float(written.op == "unknown")
        answer = _ANSWERS.get(written.op, Answer.FOUND)
        given = Given(answer, mask, len(written.targets), written.op == "invert")
        return reward(given, wanted, self._settings)
