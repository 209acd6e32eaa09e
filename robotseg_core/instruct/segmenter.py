# SPDX-License-Identifier: Apache-2.0
"""The frozen segmenter: prompts of an answer to one mask (SEGR1 2)."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from robotseg_core.instruct.prompt_set import Instance, PromptSet
from robotseg_core.stream.frame_state import EncodedFrame
from robotseg_core.stream.prompting import decode
from robotseg_core.stream.robotseg import RobotSeg
from robotseg_core.types import PARTS


@torch.inference_mode()
def segment(model: Any, encoded: Any, prompts: PromptSet) -> NDArray[np.bool_]:
    """The union of the instances' masks, [H, W], before any inversion; empty unless something was found.

    Each box is one decoding with the points of its instance, as on a first frame; an instance that has its mask
    already is taken as it is.

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


def _decoded(robotseg: RobotSeg, encoded: EncodedFrame, instance: Instance, part: str) -> NDArray[np.bool_]:
    model = robotseg.model
    height, width = encoded.size
    box = instance.box or ()
    # Corners first, then points (SEGR1 2).
    xy = [*(box[i : i + 2] for i in range(0, len(box), 2)), *instance.points]
    labels = [2, 3][: len(box) // 2] + list(instance.labels)
    scale = np.array([model.config.image_size / width, model.config.image_size / height])
    device = encoded.image.device
    coords = torch.tensor(np.asarray(xy, np.float64) * scale, dtype=torch.float32, device=device)[None]
    kinds = torch.tensor(labels, device=device)[None]
    row = torch.tensor([PARTS.index(part)], device=device)
    conditioned = model.initial(encoded.features, 1)
    decoded = decode(model, encoded.features, conditioned, row, points=(coords, kinds))
    logits = np.maximum(decoded.logits[0].float().cpu().numpy(), -32.0)
    return np.asarray(cv2.resize(logits, (width, height), interpolation=cv2.INTER_LINEAR)) > 0
