# SPDX-License-Identifier: Apache-2.0
"""What a training step computes: the model's answer to a batch of clips, and its losses by name.

Shape glossary: B clips, T frames, P = 3 parts, h = w low-res logits at stride 4.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robotseg_core.config import ModelConfig
from robotseg_core.mask_decoder import Candidates
from robotseg_core.model import Conditioned, Features, Memory, RobotSegModel
from robotseg_core.preprocess import normalise
from robotseg_core.structure import edges
from robotseg_core.train.losses import PART_WEIGHTS, dense_loss, dice_loss, mask_iou, part_targets

PARTS = 3
PROMPT_SHARE = 0.2
"""Share of steps whose first frame is prompted by a click or a box instead of by the class alone (SPEC 9.3)."""


def repeat_parts(features: Features) -> Features:
    """Features of B frames -> of B * P rows, part by part."""
    return Features(*(x.repeat_interleave(PARTS, 0) for x in (features.h4, features.h8, features.f16)))


def simulate_prompt(target: Tensor, size: int) -> tuple[Tensor, Tensor] | None:
    """One kind of prompt for all rows of ``target`` [R, h, w]: none, a click inside, or a noisy box (SPEC 9.3).

    Rows without the part get padding points.
    """
    if torch.rand(()) > PROMPT_SHARE:
        return None
    rows, h, w = target.shape
    stride = size / h
    weight = (target > 0.5).float().flatten(1)
    seen = weight.sum(1) > 0
    if torch.rand(()) < 0.5:
        cell = torch.multinomial(weight + (~seen)[:, None].float(), 1)[:, 0]
        coords = torch.stack([cell % w, cell // w], -1).float()[:, None] * stride + stride / 2
        labels = torch.where(seen, 1, -1)[:, None]
        return coords, labels
    inside = target > 0.5
    columns, lines = inside.any(1).float(), inside.any(2).float()
    x0, y0 = columns.argmax(1).float(), lines.argmax(1).float()
    x1, y1 = w - columns.flip(1).argmax(1).float(), h - lines.flip(1).argmax(1).float()
    corners = torch.stack([torch.stack([x0, y0], -1), torch.stack([x1, y1], -1)], 1) * stride
    side = (corners[:, 1] - corners[:, 0])[:, None]
    noise = (torch.randn_like(corners) * 0.05 * side).clamp(-20, 20)
    labels = torch.where(seen[:, None], torch.tensor([2, 3], device=target.device), -1)
    return (corners + noise).clamp(0, size - 1), labels


class Objective(nn.Module):
    """Model plus the dense head that teaches its encoder directly (used in training only)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.model = RobotSegModel(config)
        self.dense_head = nn.ModuleList(nn.Conv2d(c, PARTS, 1) for c in config.fpn_channels)
        self.kind = "encoder"
        self.frozen = 0

    def set_phase(self, kind: str, frozen: int = 0) -> None:
        """``encoder``, ``frame`` or ``clip``; ``frozen`` stages of the convolutional trunk do not learn."""
        if kind not in ("encoder", "frame", "clip"):
            raise ValueError(f"phase is {kind!r}, must be encoder, frame or clip")
        self.kind, self.frozen = kind, frozen

    def forward(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Images uint8 [B, T, 3, S, S], labels uint8 [B, T, S, S] -> losses by name."""
        batch, length = labels.shape[:2]
        x = normalise(images.flatten(0, 1)).contiguous(memory_format=torch.channels_last)
        model = self.model
        maps = model.image_encoder(x, self.frozen) if self.frozen else model.image_encoder(x)
        targets = part_targets(labels.flatten(0, 1))
        losses = self._dense(maps, targets)
        if self.kind == "encoder":
            return losses
        decoder = model.sam_mask_decoder
        features = Features(decoder.conv_s0(maps[0]), decoder.conv_s1(maps[1]), maps[2])
        if self.kind == "clip":
            return losses | self._clip(features, edges(x, self.config), targets, batch, length)
        target = targets.flatten(0, 1)
        return losses | self._frame(repeat_parts(features), target)

    def _dense(self, maps: tuple[Tensor, ...], targets: Tensor) -> dict[str, Tensor]:
        losses = {}
        for head, features, stride, weight in zip(self.dense_head, maps, (1, 2, 4), (1.0, 0.25, 0.25), strict=True):
            target = F.avg_pool2d(targets, stride) if stride > 1 else targets
            losses[f"dense{4 * stride}"] = weight * dense_loss(head(F.relu(features)).float(), target)
        return losses

    def _frame(self, features: Features, target: Tensor) -> dict[str, Tensor]:
        rows = target.shape[0]
        part = torch.arange(PARTS, device=target.device).repeat(rows // PARTS)
        prompt = simulate_prompt(target, self.config.image_size)
        candidates = self.model.decode(features, self.model.initial(features, rows), part, points=prompt)
        return candidate_losses(candidates, target)

    def _clip(self, features: Features, edge: Tensor, targets: Tensor, batch: int, length: int) -> dict[str, Tensor]:
        """Stream through the clip as :class:`Stream` does: first frame without memory, later ones with it."""
        model, config = self.model, self.config
        rows = batch * PARTS
        part = torch.arange(PARTS, device=edge.device).repeat(batch)
        target = targets.unflatten(0, (batch, length)).transpose(1, 2).flatten(0, 1)
        memories: list[Tensor] = []
        tokens: list[Tensor] = []
        pointers: list[Tensor] = []
        total: dict[str, Tensor] = {}
        for t in range(length):
            frame = Features(*(x.unflatten(0, (batch, length))[:, t] for x in (features.h4, features.h8, features.f16)))
            frame = repeat_parts(frame)
            prompt = None
            conditioned: Conditioned
            if t == 0:
                conditioned = model.initial(frame, rows)
                prompt = simulate_prompt(target[:, 0], config.image_size)
            else:
                frame_edge = edge.unflatten(0, (batch, length))[:, t].repeat_interleave(PARTS, 0)
                conditioned = model.condition(frame, frame_edge, self._memory(memories, tokens, pointers))
            candidates = model.decode(frame, conditioned, part, points=prompt)
            losses = candidate_losses(candidates, target[:, t])
            if conditioned.structure is not None:
                losses["structure"] = structure_loss(conditioned.structure.float(), target[:, t])
            for name, value in losses.items():
                total[name] = total.get(name, torch.zeros((), device=value.device)) + value / length
            choice = model.choose(candidates, multimask=prompt is None or prompt[1].shape[1] <= 1)
            pointers.append(model.pointer(choice, candidates.object_logit))
            # The mask enters the memory as it is; gradients reach it through features and pointer only.
            logits, seen = choice.logits.detach().float(), candidates.object_logit.detach()
            # The first frame enters with a hard mask, as in the stream (SPEC 7.1).
            first = torch.full((rows,), t == 0, dtype=torch.bool, device=logits.device)
            memory = model.remember(frame, logits, seen, first)
            memories.append(memory)
            tokens.append(model.object_tokens(memory.float(), logits))
        return total

    def _memory(self, memories: list[Tensor], tokens: list[Tensor], pointers: list[Tensor]) -> Memory:
        """First frame and the latest others, as the memory bank gives them."""
        t, config = len(memories), self.config
        frames = [0, *range(max(1, t - config.memory_frames + 1), t)]
        time = [config.memory_frames - 1, *(t - 1 - f for f in frames[1:])]
        seen = [0, *range(max(1, t - config.max_pointers + 1), t)]
        # Pretend now and then that the first frame is long ago, as it is in a stream.
        age = t if torch.rand(()) < 0.5 else config.max_pointers - 1
        offsets = torch.tensor([float(age), *(float(t - f) for f in seen[1:])]) / (config.max_pointers - 1)
        return Memory(
            features=torch.stack([memories[f] for f in frames], 1),
            time_index=torch.tensor(time, device=memories[0].device),
            pointers=torch.stack([pointers[f] for f in seen], 1),
            offsets=offsets[None].to(memories[0].device),
            object_tokens=torch.stack([tokens[f] for f in frames], 1),
        )


def candidate_losses(candidates: Candidates, target: Tensor) -> dict[str, Tensor]:
    """Losses of one decoding: ``target`` [R, h, w] coverage of each row's part.

    The best of the three candidates learns the mask; the others and the single-mask token learn it with a small
    weight, so that none of them starves (our parts are not ambiguous as clicks are).
    """
    logits, target = candidates.logits.float(), target.float()
    seen = (target.sum((1, 2)) > 1).float()
    wide = target[:, None].expand_as(logits)
    bce = F.binary_cross_entropy_with_logits(logits, wide, reduction="none").mean((2, 3))
    each = 2 * bce * (0.5 + 0.5 * seen[:, None]) + dice_loss(logits, wide) * seen[:, None]
    weight = torch.tensor(PART_WEIGHTS, device=each.device).repeat(len(each) // PARTS)
    each = each * weight[:, None]
    best = each[:, 1:].min(1).values
    iou = mask_iou(logits, wide).detach()
    return {
        "mask": best.mean() + 0.25 * each.mean(),
        "iou": 0.5 * ((candidates.ious.float() - iou).abs() * seen[:, None]).mean(),
        "object": 0.3 * F.binary_cross_entropy_with_logits(candidates.object_logit.float(), seen),
    }


def structure_loss(structure: Tensor, target: Tensor) -> Tensor:
    """L1 between sigmoid of the structure logits [R, layers, g, g] and the mask's outline (SPEC 9.4).

    Outline: |Laplacian| (3x3, ones with centre -8, reflected border) of the mask at stride 4 over its maximum.
    """
    kernel = torch.ones(1, 1, 3, 3, device=target.device)
    kernel[..., 1, 1] = -8
    outline = F.conv2d(F.pad((target > 0.5).float()[:, None], (1, 1, 1, 1), mode="reflect"), kernel).abs()
    outline = outline / (outline.amax((2, 3), keepdim=True) + 1e-6)
    large = F.interpolate(structure, outline.shape[-2:], mode="bilinear").sigmoid()
    return (large - outline).abs().mean()
