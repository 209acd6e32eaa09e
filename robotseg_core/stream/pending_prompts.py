# SPDX-License-Identifier: Apache-2.0
"""A user's prompts on their way to the model: gathered for a frame, checked against it, scaled to its input."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from robotseg_core.types import MaskPrompt, Prompt, PromptKind

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PartPrompt:
    """What was asked for one part: a mask [H, W], or points (coords [1, n, 2] in model pixels, labels [1, n])."""

    row: int
    mask: Tensor | None = None
    points: tuple[Tensor, Tensor] | None = None


def gather(
    prompts: Sequence[Prompt | MaskPrompt],
    parts: tuple[str, ...],
    width: int,
    height: int,
    size: int,
    device: torch.device,
) -> list[PartPrompt]:
    """One entry for each of ``parts`` that was prompted on a frame of ``width`` x ``height`` pixels.

    Of several boxes or masks for a part the last one counts; a mask makes its points and boxes moot.  Points outside
    the frame, boxes that do not overlap it and masks of another size are left out, with a warning.
    """
    scale = np.array([size / width, size / height])
    out = []
    for row, part in enumerate(parts):
        asked = [p for p in prompts if p.part == part]
        masks = [p.mask for p in asked if isinstance(p, MaskPrompt) and fits(p, width, height)]
        if masks:
            out.append(PartPrompt(row, mask=torch.from_numpy(np.asarray(masks[-1] > 0, np.float32)).to(device)))
            continue
        plain = [p for p in asked if isinstance(p, Prompt)]
        boxes = [box for p in plain if p.kind is PromptKind.BOX and (box := clip_box(p.xy, width, height))]
        points = [p for p in plain if p.kind is PromptKind.POINT and inside(p.xy, width, height)]
        xy = [c for box in boxes[-1:] for c in (box[:2], box[2:])] + [p.xy for p in points]
        if xy:
            labels = [2, 3] * bool(boxes) + [p.label for p in points]
            coords = torch.tensor(np.asarray(xy) * scale, dtype=torch.float32, device=device)[None]
            out.append(PartPrompt(row, points=(coords, torch.tensor(labels, device=device)[None])))
    return out


def fits(prompt: MaskPrompt, width: int, height: int) -> bool:
    """Whether a mask has the frame's size; said in the log where it does not."""
    good = prompt.mask.shape == (height, width)
    if not good:
        log.warning(
            "mask of %d x %d does not fit the %d x %d frame and is left out", *prompt.mask.shape[::-1], width, height
        )
    return good


def inside(xy: tuple[float, ...], width: int, height: int) -> bool:
    """Whether a point lies in the frame; said in the log where it does not."""
    within = -0.5 <= xy[0] <= width - 0.5 and -0.5 <= xy[1] <= height - 0.5
    if not within:
        log.warning("point (%g, %g) is outside the %d x %d frame and is left out", *xy, width, height)
    return within


def clip_box(xy: tuple[float, ...], width: int, height: int) -> tuple[float, ...] | None:
    """Corners in order and inside the frame; None, and said in the log, where nothing of the box is left."""
    x0, x1 = (min(max(x, 0.0), width - 1.0) for x in sorted(xy[0::2]))
    y0, y1 = (min(max(y, 0.0), height - 1.0) for y in sorted(xy[1::2]))
    if x1 <= x0 or y1 <= y0:
        log.warning("box %s covers nothing of the %d x %d frame and is left out", xy, width, height)
        return None
    return x0, y0, x1, y1
