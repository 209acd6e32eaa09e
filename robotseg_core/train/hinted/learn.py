# SPDX-License-Identifier: Apache-2.0
"""What a step computes: composed clips through the model, and the losses by name.

Shape glossary: B clips, T frames, R rows a clip, N = R * B rows (all clips of a row stand together), h = w = S / 4.
"""

from __future__ import annotations

import contextlib
import dataclasses

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robotseg_core.config import ModelConfig
from robotseg_core.model.mask_decoder import Candidates
from robotseg_core.model.robotseg_model import Features, RobotSegModel
from robotseg_core.model.structure import IMAGE_MEAN, IMAGE_STD, edges
from robotseg_core.train.fast.depthwise import use_fast_depthwise
from robotseg_core.train.hinted import hints
from robotseg_core.train.hinted.clips.compose import Pool, Scene, compose, to_device
from robotseg_core.train.hinted.clips.draw import Clips, Program
from robotseg_core.train.hinted.clips.photograph import photograph
from robotseg_core.train.hinted.clips.targets import CATEGORIES
from robotseg_core.train.hinted.follow import AUTOMATIC, Followed, Follower, Rows
from robotseg_core.train.losses import dice_loss, mask_iou, structure_loss

GRIPPER_WEIGHT = 1.5
"""Of the row of all grippers: the smallest part and the last to be learned."""


class SizedModels:
    """One model for each input size, all of the same weights.

    Args:
        model: whose weights they are.
    """

    def __init__(self, model: RobotSegModel) -> None:
        self.model = model
        self._sized = {model.config.image_size: model}
        self._fast = False

    def __getitem__(self, size: int) -> RobotSegModel:
        """The model for inputs of ``size``: only its tables are its own."""
        if size not in self._sized:
            first = next(self.model.parameters())
            other = RobotSegModel(dataclasses.replace(self.model.config, image_size=size)).to(first.device)
            share_weights(self.model, other)
            if self._fast:
                use_fast_depthwise(other)
            self._sized[size] = other
        return self._sized[size]

    def use_fast_depthwise(self) -> bool:
        """Compute the trunk's depthwise convolutions by functions of our own, on a CPU -> whether they exist."""
        self._fast = all(use_fast_depthwise(model) for model in self._sized.values())
        return self._fast

    def train(self, *, batch_norm: bool) -> None:
        """Training mode; without ``batch_norm`` normalisation keeps to its running statistics."""
        for model in self._sized.values():
            model.train()
            for module in model.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.train(batch_norm)

    def eval(self) -> None:
        """Evaluation mode."""
        for model in self._sized.values():
            model.eval()


def share_weights(source: nn.Module, target: nn.Module) -> None:
    """Let ``target`` have the parameters and the saved buffers of ``source``, not copies of them, and its mode."""
    for (_, a), (_, b) in zip(source.named_modules(), target.named_modules(), strict=True):
        b.training = a.training
        for name in a._parameters:
            b._parameters[name] = a._parameters[name]
        for name in a._buffers:
            if name not in a._non_persistent_buffers_set:
                b._buffers[name] = a._buffers[name]


def rows_of_clips(clips: Clips, scene: Scene, what: Program) -> Rows:
    """What is asked of every row, read off the composed clips."""
    device, at = scene.code.device, what.hint_frame

    def table(name: str) -> Tensor:
        return to_device(getattr(clips, name), device)

    want = table("want_owner"), table("want_part"), table("want_id")
    truth = scene.masks(*want)
    category = table("category")
    weight = torch.where(table("needs_labels")[:, :, None], table("labelled")[:, None], True).float()
    if at:
        # Before the hint a row is what its category says.
        labels = torch.tensor(CATEGORIES, device=device)[category[:, AUTOMATIC:]]
        every = [torch.ones_like(x[:, AUTOMATIC:]) for x in (want[0], want[2])]
        before = scene.masks(every[0], labels, every[1])[:, :, :at]
        truth = torch.cat([truth[:, :, :at].clone(), truth[:, :, at:]], 2)
        truth[:, AUTOMATIC:, :at] = before
        weight[:, AUTOMATIC:, :at] = table("labelled")[:, None, :at].float()
    off = scene.masks(table("off_owner"), table("off_part"), table("off_id"))[:, :, at]
    off = off * (truth[:, :, at] < 0.5)
    for i, hint in enumerate(what.hints, AUTOMATIC):
        # What is not in view cannot be hinted at.
        seen = hints.visible(off[:, i] if hint == "negative" else truth[:, i, at])
        weight[:, i, at:] *= seen[:, None]

    def by_row(x: Tensor) -> Tensor:
        return x.transpose(0, 1).flatten(0, 1)

    return Rows(by_row(category), by_row(truth), by_row(off), by_row(weight), by_row(table("teacher")))


def first_clips(rows: Rows, clips: int, count: int) -> Rows:
    """The rows of the first ``count`` of ``clips`` clips."""
    own = (getattr(rows, f.name) for f in dataclasses.fields(Rows))
    return Rows(*(x.unflatten(0, (-1, clips))[:, :count].flatten(0, 1) for x in own))


def candidate_terms(candidates: Candidates, target: Tensor, *, multimask: bool) -> dict[str, Tensor]:
    """Losses of each row, [N]: ``target`` [N, h, w] coverage.

    The candidate that counts (the best of 1 to 3, or 0 where a single mask was asked for) learns the mask; all learn
    it with a small weight, so that none of them starves.
    """
    logits, target = candidates.logits.float(), target.float()
    seen = (target.sum((1, 2)) > 1).float()
    wide = target[:, None].expand_as(logits)
    bce = F.binary_cross_entropy_with_logits(logits, wide, reduction="none").mean((2, 3))
    each = 2 * bce * (0.5 + 0.5 * seen[:, None]) + dice_loss(logits, wide) * seen[:, None]
    best = each[:, 1:].min(1).values if multimask else each[:, 0]
    iou = mask_iou(logits.detach(), wide)
    return {
        "mask": best + 0.15 * each.mean(1),
        "iou": 0.5 * ((candidates.ious.float() - iou).abs() * seen[:, None]).mean(1),
        "object": 0.3 * F.binary_cross_entropy_with_logits(candidates.object_logit.float(), seen, reduction="none"),
    }


class Learner(nn.Module):
    """The model, and the dense head that teaches its encoder directly (used in training only).

    Args:
        config: of the model.
        dense: weight of the dense head.
        structure: weight of the structure term.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: ModelConfig, *, dense: float = 0.3, structure: float = 0.2) -> None:
        super().__init__()
        self.model = RobotSegModel(config)
        self.sized = SizedModels(self.model)
        self.dense, self.structure = dense, structure
        self.examples: tuple[nn.Module, ...] = ()
        """Another image encoder, whose maps are to be matched (:attr:`Stage.match`); no part of what is trained."""
        self.mixed_encoder = False
        """The image encoder alone computes in bfloat16."""
        self.dense_head = nn.ModuleList(nn.Conv2d(c, len(CATEGORIES), 1) for c in config.fpn_channels)
        self.register_buffer("mean", torch.tensor(IMAGE_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGE_STD).view(3, 1, 1), persistent=False)

    def view(self, clips: Clips, what: Program, pool: Pool, generator: torch.Generator | None) -> tuple[Tensor, Rows]:
        """Photographed frames [B * T, 3, S, S] in 0 to 1 and what is asked of the rows."""
        with torch.no_grad():
            scene = compose(clips, pool, what.size)
            return photograph(scene.images, clips, what, generator), rows_of_clips(clips, scene, what)

    def follow(
        self,
        images: Tensor,
        rows: Rows,
        what: Program,
        generator: torch.Generator | None,
        *,
        memory: bool = True,
        frozen: int = 0,
    ) -> tuple[Followed, tuple[Tensor, ...]]:
        """Frames through the model -> answers, and the encoder's maps; ``frozen`` stages of the trunk do not learn.

        ``rows`` may be those of the first clips alone: the others are encoded only.
        """
        model = self.sized[what.size]
        length = rows.truth.shape[1]
        x = ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        alone = torch.autocast(x.device.type, dtype=torch.bfloat16) if self.mixed_encoder else contextlib.nullcontext()
        with alone:
            maps = model.image_encoder(x, frozen) if frozen else model.image_encoder(x)
        if self.mixed_encoder:
            maps = tuple(m.float() for m in maps)
        answered = rows.truth.shape[0] // (AUTOMATIC + len(what.hints)) * length
        every, x, maps = maps, x[:answered], tuple(m[:answered] for m in maps)
        edge = edges(x, model.config)
        decoder = model.sam_mask_decoder
        features = Features(decoder.conv_s0(maps[0]), decoder.conv_s1(maps[1]), maps[2])

        def of_frame(m: Tensor, t: int) -> Tensor:
            return m.unflatten(0, (-1, length))[:, t]

        frames = [Features(*(of_frame(m, t) for m in (features.h4, features.h8, features.f16))) for t in range(length)]
        edged = [of_frame(edge, t) for t in range(length)]
        return Follower(model, frames, edged, rows, what, generator, memory=memory).run(), every

    def losses(
        self, followed: Followed, maps: tuple[Tensor, ...], rows: Rows, every: Rows | None = None
    ) -> dict[str, Tensor]:
        """Losses by name; their sum is what is minimised.

        ``rows`` are those that were answered, ``every`` those of all clips that ``maps`` show (default: the same).
        """
        every = every or rows
        clips, length = len(maps[0]) // rows.truth.shape[1], rows.truth.shape[1]
        count = len(rows.category)
        batch = count * clips // len(every.category)
        importance = torch.ones(count, device=rows.weight.device)
        importance[batch : 2 * batch] = GRIPPER_WEIGHT
        total = (rows.weight * importance[:, None]).sum().clamp(min=1)
        sums: dict[str, Tensor] = {}
        for one in followed.decodings:
            some = slice(one.start, one.stop)
            weight = (rows.weight[some, one.frame] * importance[some]) * one.share
            terms = candidate_terms(one.candidates, rows.truth[some, one.frame], multimask=one.multimask)
            kind = "auto" if one.stop <= AUTOMATIC * batch else "hint" if one.start else "all"
            for name, value in terms.items():
                key = f"{name}_{kind}" if name == "mask" else name
                sums[key] = sums.get(key, torch.zeros((), device=value.device)) + (value * weight).sum() / total
        drawn = [(t, s) for t, s in enumerate(followed.structure) if s is not None]
        if drawn and self.structure:
            outlines = [structure_loss(s.float(), rows.truth[:, t]) for t, s in drawn]
            sums["structure"] = self.structure * torch.stack(outlines).sum() / length
        if self.dense:
            sums["dense"] = self.dense * self._dense(maps, every, clips, length)
        return sums

    def _match(self, images: Tensor, rows: Rows, clips: int, weight: float) -> dict[str, Tensor]:
        """Losses of the encoder alone: distance from the example's maps as a share of their variance; dense head."""
        if not self.examples:
            raise ValueError(f"match is {weight}, but there is no encoder to be matched")
        x = ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        maps = self.sized[images.shape[-1]].image_encoder(x)
        with torch.no_grad():
            wanted = self.examples[0](x)
        apart = [
            F.mse_loss(found.float(), true.float()) / true.float().var((0, 2, 3)).mean()
            for found, true in zip(maps, wanted, strict=True)
        ]
        length = rows.truth.shape[1]
        return {
            "match": weight * torch.stack(apart).mean(),
            "dense": self.dense * self._dense(maps, rows, clips, length),
        }

    def _dense(self, maps: tuple[Tensor, ...], rows: Rows, batch: int, length: int) -> Tensor:
        coverage = rows.truth[: AUTOMATIC * batch].unflatten(0, (AUTOMATIC, batch)).permute(1, 2, 0, 3, 4).flatten(0, 1)
        known = rows.weight[:batch].flatten()[:, None, None, None]
        total = torch.zeros((), device=coverage.device)
        for head, found, stride, weight in zip(self.dense_head, maps, (1, 2, 4), (1.0, 0.25, 0.25), strict=True):
            target = F.avg_pool2d(coverage, stride) if stride > 1 else coverage
            logits = head(F.relu(found.float()))
            bce = (F.binary_cross_entropy_with_logits(logits, target, reduction="none") * known).mean()
            p = logits.sigmoid() * known
            target = target * known
            both = (p * target).sum((0, 2, 3))
            dice = 1 - (2 * both + 1) / (p.square().sum((0, 2, 3)) + target.square().sum((0, 2, 3)) + 1)
            total = total + weight * (6 * bce + dice.mean())
        return total

    def forward(
        self,
        clips: Clips,
        what: Program,
        pool: Pool,
        generator: torch.Generator | None,
        *,
        mixed: bool,
        frozen: int = 0,
        answered: float = 1.0,
        match: float = 0.0,
    ) -> tuple[dict[str, Tensor], int]:
        """Losses by name of composed clips, and the number of frames.

        ``mixed``: bfloat16 where it does no harm; ``answered``: share of the clips that go through more than the
        encoder; ``match``: as of a :class:`Stage`.
        """
        images, every = self.view(clips, what, pool, generator)
        if match:
            with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=mixed):
                return self._match(images, every, len(clips.frames), match), len(images)
        rows = first_clips(every, len(clips.frames), max(1, round(answered * len(clips.frames))))
        with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=mixed):
            followed, maps = self.follow(images, rows, what, generator, frozen=frozen)
        return self.losses(followed, maps, rows, every), len(images)
