# SPDX-License-Identifier: Apache-2.0
"""The supervised start: likelihood of right answers, distances with soft targets (SEGR1 10.5, stage 1).

An answer tells the network one cell of the target; what every cell covers of it is learned beside that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from robotseg_core.instruct.small import tokens as tk
from robotseg_core.instruct.small.inputs import FrameInputs
from robotseg_core.instruct.small.network import QUARTERS, Scene, SmallNetwork
from robotseg_core.instruct.small.text import batch_words
from robotseg_core.train.language.cache import CachedFrame, stack_inputs
from robotseg_core.train.language.instances import InstanceMaps, stack_maps
from robotseg_core.train.language.pool import Example, Pool, leaf_mask

SOFT = 1.0
"""Steps of a distance: standard deviation of its soft target."""
WHERE_WEIGHT = 3.0
"""Of the mean cross-entropy of what the cells cover, against 1 of the answer's tokens."""
CELL_WEIGHT = 2.0
"""Of the token that says which object is meant, against 1 of the others."""


@dataclass(frozen=True)
class Batch:
    """Examples as tensors.

    Attributes:
        inputs: of the F frames that they are about.
        rows: [B] which of them.
        tokens: [B, T] right answers, filled up.
        mask: [B, T] up to the end.
        instances: of the F frames.
        covered: [B, 2 * 12, 2 * 12] share of each quarter of a cell that the target covers.
    """

    inputs: FrameInputs
    rows: Tensor
    tokens: Tensor
    mask: Tensor
    instances: InstanceMaps
    covered: Tensor


def make_batch(pool: Pool, examples: Sequence[Example]) -> Batch:
    """Look up the frames, fill up the answers."""
    numbers = list(dict.fromkeys(one.frame for one in examples))
    rows = torch.tensor([numbers.index(one.frame) for one in examples])
    tokens, mask = filled([one.tokens for one in examples])
    covered = torch.from_numpy(np.stack([_covered(pool.frames[one.frame], one) for one in examples]))
    inputs = stack_inputs([pool.frames[n] for n in numbers])
    return Batch(inputs, rows, tokens, mask, stack_maps([pool.instances[n] for n in numbers]), covered)


def _covered(frame: CachedFrame, example: Example) -> NDArray[np.float32]:
    side = QUARTERS * tk.GRID
    if example.asked is None or not example.asked.target:
        return np.zeros((side, side), np.float32)
    mask = leaf_mask(frame, example.asked.target).astype(np.float32)
    return np.asarray(cv2.resize(mask, (side, side), interpolation=cv2.INTER_AREA), np.float32)


def where_loss(logits: Tensor, covered: Tensor) -> Tensor:
    """Mean cross-entropy of shares; logits and shares [B, n, n].  Each request counts alike, as do its two kinds of
    places: a gripper is a hundredth of a frame.
    """
    loss = F.binary_cross_entropy_with_logits(logits, covered, reduction="none")
    inside = covered / covered.sum((1, 2), keepdim=True).clamp(min=1.0)
    outside = (1 - covered) / (1 - covered).sum((1, 2), keepdim=True).clamp(min=1.0)
    return (loss * (inside + outside)).sum((1, 2)).mean() / 2


def filled(answers: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Answers of different length as [N, T], and the mask of what is theirs."""
    longest = max(len(answer) for answer in answers)
    tokens = torch.full((len(answers), longest), tk.PAD)
    mask = torch.zeros(len(answers), longest, dtype=torch.bool)
    for row, answer in enumerate(answers):
        tokens[row, : len(answer)] = torch.tensor(answer)
        mask[row, : len(answer)] = True
    return tokens, mask


def scene_of(
    network: SmallNetwork, batch: Batch, examples: Sequence[Example], vocabulary: dict[str, int]
) -> tuple[Scene, Tensor]:
    """What the decoder reads of a batch, and who was found in its F frames."""
    text = network.words(batch_words([one.words for one in examples], vocabulary))
    cells, found = network.look(batch.inputs)
    return network.scene(cells[batch.rows], text), found


def likelihood_loss(logits: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
    """Mean over tokens of -log p of the right one; a distance's neighbours count by a Gaussian.

    Args:
        logits: [B, T, VOCABULARY], constraints applied.
        tokens, mask: [B, T].
    """
    _, places = tk.masks_of(tokens)
    logp = F.log_softmax(logits, -1)
    plain = -logp.gather(2, tokens[..., None])[..., 0]
    first = tk.FIRST["distance"]
    far = (places >= tk.LEFT) & (places <= tk.BOTTOM)
    steps = torch.arange(tk.DISTANCES, device=tokens.device)
    gap = steps - (tokens - first)[far][:, None]
    soft = torch.softmax(-(gap**2) / (2 * SOFT**2), -1)
    loss = plain.clone()
    loss[far] = -(soft * logp[far][:, first : first + tk.DISTANCES]).sum(-1)
    weight = torch.where(places == tk.CELL, CELL_WEIGHT, 1.0) * mask
    return torch.where(mask, loss, torch.zeros_like(loss)).mul(weight).sum() / weight.sum()


@torch.no_grad()
def accuracies(logits: Tensor, tokens: Tensor, mask: Tensor) -> dict[str, float]:
    """Share of right first tokens and right cells, given the right tokens before."""
    _, places = tk.masks_of(tokens)
    right = logits.argmax(-1) == tokens
    found = {}
    for name, place in (("op", tk.OP), ("cell", tk.CELL)):
        here = (places == place) & mask
        found[name] = float(right[here].float().mean()) if bool(here.any()) else 0.0
    return found
