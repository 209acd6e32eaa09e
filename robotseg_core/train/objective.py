# SPDX-License-Identifier: Apache-2.0
"""What a training step computes: the model's answer to a batch of clips, and its losses by name.

Shape glossary: B clips, T frames, P = 3 parts, R = B * P rows, S image side, h = w low-res logits at stride 4.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robotseg_core.config import ModelConfig
from robotseg_core.model.robotseg_model import Features, RobotSegModel
from robotseg_core.model.structure import edges
from robotseg_core.stream.preprocess import normalise
from robotseg_core.train.data.prompts import draw_mode
from robotseg_core.train.label_efficient.let_losses import let_losses
from robotseg_core.train.losses import PARTS, candidate_losses, dense_loss, part_masks, structure_loss
from robotseg_core.train.settings import KINDS, LetWeights
from robotseg_core.train.unroll import ClipRows, decode_first, repeat_parts, unroll

Losses = dict[str, Tensor]


class Objective(nn.Module):
    """Model plus the dense head that teaches its encoder directly (used in training only)."""

    def __init__(self, config: ModelConfig, let: LetWeights | None = None) -> None:
        super().__init__()
        self.config = config
        self.let = let or LetWeights()
        self.model = RobotSegModel(config)
        self.dense_head = nn.ModuleList(nn.Conv2d(c, PARTS, 1) for c in config.fpn_channels)
        self.set_phase("encoder")

    def set_phase(self, kind: str, frozen: int = 0, auto: float = 1.0) -> None:
        """Kind, frozen stages and share of automatic prompts of a :class:`~robotseg_core.train.settings.Phase`."""
        if kind not in KINDS:
            raise ValueError(f"phase is {kind!r}, must be one of {KINDS}")
        self.kind, self.frozen, self.auto = kind, frozen, auto

    def forward(self, images: Tensor, labels: Tensor, u: Tensor, rng: np.random.Generator) -> Losses:
        """Losses by name; their sum is what is minimised.

        Args:
            images: [B, T, 3, S, S] uint8.
            labels: [B, T, S, S] uint8: 1 arm, 2 gripper.
            u: [B, P, NUMBERS] uniform numbers for the prompts.
            rng: of what is drawn once for all clips of the step, the same in every process.
        """
        batch, length = labels.shape[:2]
        x = normalise(images.flatten(0, 1)).contiguous(memory_format=torch.channels_last)
        model = self.model
        maps = model.image_encoder(x, self.frozen) if self.frozen else model.image_encoder(x)
        masks = part_masks(labels.flatten(0, 1))
        coverage = F.avg_pool2d(masks, 4)
        losses: Losses = {}
        # LET is as published, without our dense head; "first" differs from it in nothing but what it is shown.
        if self.kind not in ("let", "first"):
            losses = self._dense(maps, coverage)
        if self.kind == "encoder":
            return losses
        decoder = model.sam_mask_decoder
        features = Features(decoder.conv_s0(maps[0]), decoder.conv_s1(maps[1]), maps[2])
        if self.kind == "frame":
            return losses | self._frame(repeat_parts(features), coverage.flatten(0, 1), u, rng)

        def of_frame(x: Tensor, t: int) -> Tensor:
            return x.unflatten(0, (batch, length))[:, t]

        edge = edges(x, self.config)
        clip = ClipRows(
            frames=[
                repeat_parts(Features(*(of_frame(m, t) for m in (features.h4, features.h8, features.f16))))
                for t in range(length)
            ],
            edges=[of_frame(edge, t).repeat_interleave(PARTS, 0) for t in range(length)],
            coverage=_rows(coverage, batch),
            part=torch.arange(PARTS, device=edge.device).repeat(batch),
        )
        if self.kind == "clip":
            return losses | self._clip(clip, u.flatten(0, 1), rng)
        return self._let(clip, _rows(masks, batch), u.flatten(0, 1), rng)

    def _dense(self, maps: tuple[Tensor, ...], coverage: Tensor) -> Losses:
        losses = {}
        for head, features, stride, weight in zip(self.dense_head, maps, (1, 2, 4), (1.0, 0.25, 0.25), strict=True):
            target = F.avg_pool2d(coverage, stride) if stride > 1 else coverage
            losses[f"dense{4 * stride}"] = weight * dense_loss(head(F.relu(features)).float(), target)
        return losses

    def _frame(self, features: Features, target: Tensor, u: Tensor, rng: np.random.Generator) -> Losses:
        """Frames on their own; those of a clip share its uniform numbers."""
        rows = target.shape[0]
        u = u.repeat_interleave(rows // u.flatten(0, 1).shape[0], 0).flatten(0, 1)
        part = torch.arange(PARTS, device=target.device).repeat(rows // PARTS)
        mode = draw_mode(rng, self.auto, video=False)
        passes = decode_first(self.model, features, self.model.initial(features, rows), part, mode, target, u)
        total: Losses = {}
        for decoding in passes:
            _add(total, candidate_losses(decoding.candidates, target), 1 / len(passes))
        return total

    def _clip(self, clip: ClipRows, u: Tensor, rng: np.random.Generator) -> Losses:
        """Every frame is labelled: mean over frames of the mean over their decodings."""
        mode = draw_mode(rng, self.auto, video=len(clip.frames) > 1)
        results = unroll(self.model, clip, mode, u, rng, soft=False)
        total: Losses = {}
        for t, result in enumerate(results):
            for decoding in result.passes:
                weight = 1 / (len(results) * len(result.passes))
                _add(total, candidate_losses(decoding.candidates, clip.coverage[:, t]), weight)
            if result.structure is not None:
                structure = structure_loss(result.structure.float(), clip.coverage[:, t])
                _add(total, {"structure": structure}, 1 / len(results))
        return total

    def _let(self, clip: ClipRows, masks: Tensor, u: Tensor, rng: np.random.Generator) -> Losses:
        """The first frame alone is labelled; ``first`` shows nothing else."""
        mode = draw_mode(rng, self.auto, video=len(clip.frames) > 1)
        results = unroll(self.model, clip, mode, u, rng, soft=True)
        return let_losses(results, [frame.f16 for frame in clip.frames], masks, self.let, all_true=self.kind == "first")


def _rows(x: Tensor, batch: int) -> Tensor:
    """[B * T, P, ...] -> [B * P, T, ...]."""
    return x.unflatten(0, (batch, -1)).transpose(1, 2).flatten(0, 1)


def _add(total: Losses, losses: Losses, weight: float) -> None:
    for name, value in losses.items():
        total[name] = total.get(name, torch.zeros((), device=value.device)) + weight * value
