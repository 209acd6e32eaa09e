# SPDX-License-Identifier: Apache-2.0
"""Composes clips on the device: sources are warped, pasted over each other, and every row's target is read off.

Shape glossary: B clips, T frames, L layers, R rows, F frames of the pool, S side of the input, h = S / 2 of the maps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from robotseg_core.train.hinted.clips.draw import LABELS, Clips
from robotseg_core.train.hinted.packs.files import Pictures

CHUNK = 256
"""Frames brought to the device at once."""


class Pool:
    """All pictures on the device, at the sides that are asked for.

    Attributes:
        rgb: [F, 3, P, P] uint8 by side P.
        part, ids: [F, P, P] uint8 by side P.
    """

    def __init__(self, pictures: Pictures, device: torch.device) -> None:
        self.device, self.full = device, pictures.bgr.shape[1]
        count = len(pictures.bgr)
        rgb = torch.empty(count, 3, self.full, self.full, dtype=torch.uint8, device=device)
        for i in range(0, count, CHUNK):
            some = torch.from_numpy(pictures.bgr[i : i + CHUNK]).to(device)
            rgb[i : i + CHUNK] = some.permute(0, 3, 1, 2).flip(1)
        self.rgb = {self.full: rgb}
        self.part = {self.full: torch.from_numpy(pictures.part).to(device)}
        self.ids = {self.full: torch.from_numpy(pictures.ids).to(device)}

    def side(self, size: int) -> int:
        """The side to sample from for inputs of ``size``: the next multiple of 64 from it on, at most the full one."""
        side = min(self.full, -(-size // 64) * 64)
        if side not in self.rgb:
            self._shrink(side)
        return side

    def _shrink(self, side: int) -> None:
        count = len(self.rgb[self.full])
        rgb = torch.empty(count, 3, side, side, dtype=torch.uint8, device=self.device)
        centre = ((torch.arange(side, device=self.device) + 0.5) * self.full / side).long()
        for i in range(0, count, CHUNK):
            some = self.rgb[self.full][i : i + CHUNK].float()
            rgb[i : i + CHUNK] = F.interpolate(some, (side, side), mode="area").round().to(torch.uint8)
        self.rgb[side] = rgb
        for maps in (self.part, self.ids):
            maps[side] = maps[self.full][:, centre][:, :, centre]


@dataclass(frozen=True)
class Scene:
    """Composed clips.

    Attributes:
        images: [B * T, 3, S, S] float32, 0 to 1.
        code: [B, T * h * h] int64: layer * LABELS + label of what is seen.
        ids: [B, T * h * h] int64 ids of the base, 0 where something is pasted over it.
        length: T.
        side: h.
    """

    images: Tensor
    code: Tensor
    ids: Tensor
    length: int
    side: int

    def masks(self, owner: Tensor, label: Tensor, ids: Tensor) -> Tensor:
        """Coverage of cells at stride 4, [B, R, T, h / 2, h / 2] in [0, 1], of tables as in :class:`Clips`."""
        both = (owner[..., None] & label[:, :, None]).flatten(2)
        rows = owner.shape[1]
        index = self.code[:, None].expand(-1, rows, -1)
        inside = both.gather(2, index) & ids.gather(2, self.ids[:, None].expand(-1, rows, -1))
        maps = inside.view(len(owner), rows * self.length, self.side, self.side)
        return F.avg_pool2d(maps.float(), 2).unflatten(1, (rows, self.length))


def to_device(array: NDArray[np.generic], device: torch.device) -> Tensor:
    """Without waiting for the device, where that is possible."""
    tensor = torch.from_numpy(array)
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def centres(size: int, device: torch.device) -> Tensor:
    """Pixel centres as homogeneous coordinates [size * size, 3]: x, y, 1."""
    line = (torch.arange(size, device=device) + 0.5) * (2 / size) - 1
    y, x = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([x, y, torch.ones_like(x)], -1).flatten(0, 1)


def sampling_grid(matrix: Tensor, bend: Tensor, size: int) -> Tensor:
    """matrix [N, 2, 3] and bend [N, 2, n, n] -> where each pixel comes from, [N, size, size, 2]."""
    # Nodes at the picture's corners and between them, so that the sheet is the same at every size.
    at = F.interpolate(bend, (size, size), mode="bicubic", align_corners=True).flatten(2).transpose(1, 2)
    linear = matrix[:, :, :2].transpose(1, 2)
    straight = centres(size, matrix.device) @ matrix.transpose(1, 2)
    return (straight + at @ linear).unflatten(1, (size, size))


def compose(clips: Clips, pool: Pool, size: int) -> Scene:
    """Layers over each other, the base first, seen at ``size``; not yet photographed."""
    device = pool.device
    batch, layers, length = clips.frames.shape
    side, half = pool.side(size), size // 2
    frames = to_device(clips.frames, device)
    matrix, bend = to_device(clips.matrix, device), to_device(clips.bend, device)
    gain, shown = to_device(clips.gain, device), to_device(clips.shown, device)
    cut_part, cut_id = to_device(clips.cut_part, device), to_device(clips.cut_id, device)
    images = owner = label = ids = torch.empty(0, device=device)
    for k in range(layers):
        index = frames[:, k].flatten()
        move, sheet = matrix[:, k].flatten(0, 1), bend[:, k].flatten(0, 1)
        fine, coarse = sampling_grid(move, sheet, size), sampling_grid(move, sheet, half)
        rgb = pool.rgb[side][index].float() / 255
        part, thing = pool.part[side][index].long(), pool.ids[side][index].long()
        if k == 0:
            # Robots of the base in a colour of their own.
            tint = gain[:, k].repeat_interleave(length, 0)[:, :, None, None]
            rgb = torch.where(part[:, None] > 0, (rgb * tint).clamp(max=1), rgb)
            images = F.grid_sample(rgb, fine, mode="bilinear", padding_mode="reflection", align_corners=False)
            maps = torch.stack([part, thing], 1).float()
            maps = F.grid_sample(maps, coarse, mode="nearest", padding_mode="reflection", align_corners=False)
            label, ids = maps[:, 0].round().long(), maps[:, 1].round().long()
            owner = torch.zeros_like(label)
            continue
        per_clip = part.unflatten(0, (batch, length)).flatten(1), thing.unflatten(0, (batch, length)).flatten(1)
        inside = cut_part[:, k].gather(1, per_clip[0]) & cut_id[:, k].gather(1, per_clip[1])
        inside = inside.view(part.shape) & shown[:, k].flatten()[:, None, None]
        cut = inside.float()[:, None]
        alpha = F.grid_sample(cut, fine, mode="bilinear", padding_mode="zeros", align_corners=False)
        tint = gain[:, k].repeat_interleave(length, 0)[:, :, None, None]
        top = F.grid_sample(rgb, fine, mode="bilinear", padding_mode="border", align_corners=False)
        images = images + alpha * ((top * tint).clamp(0, 1) - images)
        maps = torch.cat([part[:, None].float(), cut], 1)
        maps = F.grid_sample(maps, coarse, mode="nearest", padding_mode="zeros", align_corners=False)
        covers = maps[:, 1] > 0.5
        owner = torch.where(covers, k, owner)
        label = torch.where(covers, maps[:, 0].round().long(), label)
        ids = torch.where(covers, 0, ids)
    code = (owner * LABELS + label).view(batch, -1)
    return Scene(images=images, code=code, ids=ids.view(batch, -1), length=length, side=half)
