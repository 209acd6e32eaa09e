# SPDX-License-Identifier: Apache-2.0
"""What the small policy looks at: features of the frozen encoder, the automatic masks and colours, cell by cell.

Which piece of a mask is the first, the second from a side is counted here, not learned (:func:`piece_numbers`).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from robotseg_core.instruct.candidates import pieces
from robotseg_core.stream.frame_state import EncodedFrame
from robotseg_core.types import PARTS, PartMasks

FINE = 4
"""Mask values along a side of a cell: stride 4, from which the sides of boxes are read."""
COARSE = 2
"""Colours along a side of a cell: stride 8."""
MOST_PIECES = 4
"""Numbers of pieces end here: the fifth is called the fourth."""
CELL_EXTRA = 3 * FINE * FINE + (3 + 2 * 3) * COARSE * COARSE
"""Values of a cell besides the features."""


@dataclass(frozen=True, eq=False)
class FrameInputs:
    """F frames.

    Attributes:
        f16: [F, d, g, g] features.
        masks: [F, 3, 4g, 4g] automatic arm, gripper and robot, 0 to 1: the share of the pixels.
        rgb: [F, 3, 2g, 2g] mean colours, normalised as the model's input is.
        numbers: [F, 6, 2g, 2g] of the pieces, see :func:`piece_numbers`.
    """

    f16: Tensor
    masks: Tensor
    rgb: Tensor
    numbers: Tensor

    def cells(self) -> Tensor:
        """[F, g * g, d + :data:`CELL_EXTRA`]: all that is known of a cell."""
        together = [self.f16, F.pixel_unshuffle(self.masks, FINE), F.pixel_unshuffle(self.rgb, COARSE)]
        together.append(F.pixel_unshuffle(self.numbers, COARSE))
        return torch.cat([part.float() for part in together], 1).flatten(2).transpose(1, 2)


@dataclass(frozen=True, eq=False)
class Looked:
    """What is kept of an encoded frame until somebody asks: features [1, d, g, g] and colours [1, 3, 2g, 2g]."""

    f16: Tensor
    rgb: Tensor


def look_at(encoded: EncodedFrame) -> Looked:
    """In memory of its own and on the CPU: the encoder may write the next frame where this one lies."""
    features = encoded.features.f16.detach().float().cpu().clone()
    return Looked(features, F.adaptive_avg_pool2d(encoded.image.cpu().float(), COARSE * features.shape[-1]))


def frame_inputs(looked: Looked, parts: PartMasks) -> FrameInputs:
    """What the policy sees of a frame that has been through the encoder and has its automatic masks."""
    side = FINE * looked.f16.shape[-1]
    small = [cv2.resize(parts[name].mask, (side, side), interpolation=cv2.INTER_AREA) for name in PARTS]
    masks = torch.from_numpy(np.stack(small)).float()[None] / 255
    numbers = torch.from_numpy(piece_numbers(np.stack(small)))[None]
    return FrameInputs(looked.f16, masks, looked.rgb, numbers)


def piece_numbers(masks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Of the automatic masks [3, 4g, 4g], 0 to 255: the number of the piece at each place, [6, 2g, 2g].

    For each part counted from the left, then from the right, 1 to :data:`MOST_PIECES` over that; 0 where there is none.
    """
    side = masks.shape[-1] * COARSE // FINE
    found = np.zeros((2 * len(masks), *masks.shape[1:]), np.float32)
    for row, mask in enumerate(masks):
        there = pieces(mask > 127)
        for i, piece in enumerate(there):
            found[2 * row][piece.mask] = min(i + 1, MOST_PIECES) / MOST_PIECES
            found[2 * row + 1][piece.mask] = min(len(there) - i, MOST_PIECES) / MOST_PIECES
    return found.reshape(len(found), side, FINE // COARSE, side, FINE // COARSE).max((2, 4))
