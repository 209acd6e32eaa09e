# SPDX-License-Identifier: Apache-2.0
"""The frozen segmenter: prompts of an answer to one mask (SEGR1 2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robotseg_core.instruct.prompt_set import Instance, PromptSet
from robotseg_core.stream.frame_state import EncodedFrame
from robotseg_core.stream.prompting import decode
from robotseg_core.stream.robotseg import RobotSeg
from robotseg_core.types import PARTS

BOX_SLACK = 0.04
"""Share of a box's sides by which its mask may reach beyond it."""
AT_ONCE = 32
"""Boxes that go through the decoder together, at most."""


def cut_to_box(mask: NDArray[np.bool_], box: tuple[float, float, float, float]) -> None:
    """Clear a mask [H, W], in place, outside a box in its pixels, the box widened by :data:`BOX_SLACK`.

    A segmenter that knows robots goes on to the second robot that reaches into a box; a box says where it ends.
    """
    x0, y0, x1, y1 = box
    slack_x, slack_y = BOX_SLACK * (x1 - x0), BOX_SLACK * (y1 - y0)
    mask[: max(0, int(np.floor(y0 - slack_y)))] = False
    mask[max(0, int(np.ceil(y1 + slack_y + 1))) :] = False
    mask[:, : max(0, int(np.floor(x0 - slack_x)))] = False
    mask[:, max(0, int(np.ceil(x1 + slack_x + 1))) :] = False


@torch.inference_mode()
def segment(model: Any, encoded: Any, prompts: PromptSet) -> NDArray[np.bool_]:
    """The union of the instances' masks, [H, W], before any inversion; empty unless something was found.

    Each box is one decoding with the points of its instance, as on a first frame, and cut to the box
    (:func:`cut_to_box`); an instance that has its mask already is taken as it is.

    Args:
        model: a :class:`~robotseg_core.stream.robotseg.RobotSeg`; any other one where all masks are there already.
        encoded: the frame, of that model.
        prompts: of this frame.
    """
    union = np.zeros(encoded.size, bool)
    for instance in prompts.instances:
        if instance.mask is None:
            union |= _decoded(model, encoded, instance, prompts.part)
        elif instance.mask.shape == union.shape:
            union |= instance.mask
        else:
            raise ValueError(f"mask is {instance.mask.shape}, its frame is {union.shape}")
    return union


@torch.inference_mode()
def predicted_iou(robotseg: RobotSeg, encoded: EncodedFrame, answers: Sequence[PromptSet]) -> list[float]:
    """What the segmenter itself thinks of each answer's masks, 0 to 1: the mean over its boxes; nan without a box.

    Equal boxes are decoded once, those with as many points together.
    """
    wanted: dict[tuple[str, tuple[tuple[float, float], ...], tuple[int, ...]], float] = {}
    keys = [
        [(answer.part, *_corners_first(i)) for i in answer.instances if i.mask is None] for answer in answers
    ]  # fmt: skip
    for length in sorted({len(labels) for several in keys for _, _, labels in several}):
        together = sorted({key for several in keys for key in several if len(key[2]) == length})
        for begin in range(0, len(together), AT_ONCE):
            rows = together[begin : begin + AT_ONCE]
            coords, labels = _on_input(robotseg, encoded, [xy for _, xy, _ in rows], [row[2] for row in rows])
            parts = torch.tensor([PARTS.index(part) for part, _, _ in rows], device=coords.device)
            conditioned = robotseg.model.initial(encoded.features, len(rows))
            decoded = decode(robotseg.model, encoded.features, conditioned, parts, points=(coords, labels))
            wanted.update(zip(rows, decoded.iou.float().flatten().tolist(), strict=True))
    return [float(np.mean([wanted[key] for key in several])) if several else float("nan") for several in keys]


def _corners_first(instance: Instance) -> tuple[tuple[tuple[float, float], ...], tuple[int, ...]]:
    """Coordinates and labels of an instance as the decoder takes them: corners of the box, then points (SEGR1 2)."""
    box = instance.box or ()
    corners = tuple((box[i], box[i + 1]) for i in range(0, len(box), 2))
    return (*corners, *instance.points), (*(2, 3)[: len(corners)], *instance.labels)


def _on_input(
    robotseg: RobotSeg,
    encoded: EncodedFrame,
    xy: Sequence[Sequence[tuple[float, float]]],
    labels: Sequence[Sequence[int]],
) -> tuple[Tensor, Tensor]:
    """Prompts of B decodings in pixels of the frame, to [B, n, 2] on the model's input, and labels [B, n]."""
    height, width = encoded.size
    size, device = robotseg.model.config.image_size, encoded.image.device
    scale = np.array([size / width, size / height])
    coords = torch.tensor(np.asarray(xy, np.float64) * scale, dtype=torch.float32, device=device)
    return coords, torch.tensor(labels, device=device)


def _decoded(robotseg: RobotSeg, encoded: EncodedFrame, instance: Instance, part: str) -> NDArray[np.bool_]:
    model = robotseg.model
    height, width = encoded.size
    xy, labels = _corners_first(instance)
    points = _on_input(robotseg, encoded, [xy], [labels])
    row = torch.tensor([PARTS.index(part)], device=points[0].device)
    decoded = decode(model, encoded.features, model.initial(encoded.features, 1), row, points=points)
    logits = np.maximum(decoded.logits[0].float().cpu().numpy(), -32.0)
    mask = np.asarray(cv2.resize(logits, (width, height), interpolation=cv2.INTER_LINEAR)) > 0
    if instance.box is not None:
        cut_to_box(mask, instance.box)
    return mask
