# SPDX-License-Identifier: Apache-2.0
"""How a part is started and followed in each protocol (SPEC 8, 10.2, 10.3).

``stream`` is what the node does: all parts together from the first frame, never prompted, arm and gripper disjoint.
The others are the published ones, one part at a time through the plain
:class:`~robotseg_core.stream.session.Session`; they start on the first frame on which the part is in the truth, and
answer nothing before it:

======== =======================================================================================================
auto     the category alone
1c, 3c   one click in the middle; then twice a click into the largest error, and the best of the three once more
bb       the tight box
mask     the true mask of the start frame (the usual semi-supervised setting; not one of the paper's)
oi       3c, and up to three later frames that fall below an IoU of 0.9 are corrected in the same way
======== =======================================================================================================
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from robotseg_core.evaluation.metrics import Mask, iou
from robotseg_core.evaluation.prompts import Box, Click, ExactUser
from robotseg_core.model.structure import edges
from robotseg_core.stream.preprocess import frame_tensor
from robotseg_core.stream.robotseg import RobotSeg
from robotseg_core.stream.session import Frame, Session
from robotseg_core.stream.session_memory import Output
from robotseg_core.types import PARTS

PROTOCOLS: tuple[str, ...] = ("stream", "auto", "1c", "3c", "bb", "mask", "oi")
"""Names of all protocols; ``stream`` is the node's way, the others are sessions."""

CLICKS = 3
"""Clicks of one round (3c, oi)."""
OI_THRESHOLD = 0.9
"""IoU below which a frame is corrected (oi)."""
OI_BUDGET = 3
"""Frames that are corrected at most (oi)."""

Truth = dict[str, Mask | None]
"""True mask of each part, None where the frame is not annotated."""


class Tracker(Protocol):
    """One protocol on one video."""

    def step(self, index: int, rgb: NDArray[np.uint8], frame: Frame | None, truth: Truth) -> dict[str, Mask]:
        """Answer to a frame [H, W, 3]: a mask [H, W] for each part that is followed by now."""
        ...


class StreamTracker:
    """The streaming core as the node runs it; ``memory`` False forgets everything before each frame."""

    def __init__(self, robotseg: RobotSeg, *, memory: bool = True) -> None:
        self._stream = robotseg.stream()
        self._memory = memory

    def step(self, index: int, rgb: NDArray[np.uint8], frame: Frame | None, truth: Truth) -> dict[str, Mask]:
        """Masks [H, W] of all parts, from the first frame on."""
        if not self._memory:
            self._stream.reset()
        result = self._stream.step(rgb)
        return {part: result[part].mask > 0 for part in PARTS}


class SessionTracker:
    """One part through a session."""

    def __init__(
        self, robotseg: RobotSeg, part: str, protocol: str, *, frames: int, user: ExactUser | None = None
    ) -> None:
        self.part, self.protocol = part, protocol
        self._user = user or ExactUser()
        self._robotseg = robotseg
        self._session = open_session(robotseg, part, frames)
        self._started = False
        self._budget = OI_BUDGET if protocol == "oi" else 0

    def step(self, index: int, rgb: NDArray[np.uint8], frame: Frame | None, truth: Truth) -> dict[str, Mask]:
        """The part's mask [H, W], or nothing before it has first been in the truth."""
        assert frame is not None
        true = truth[self.part]
        if not self._started:
            if true is None or not true.any():
                return {}
            self._start(index, frame, true)
            self._started = True
            return {self.part: mask_of(self._session.track(index, frame), true.shape)}
        mask = mask_of(self._session.track(index, frame), rgb.shape[:2])
        if self._budget and true is not None and true.any() and (found := iou(mask, true)) < OI_THRESHOLD:
            corrected = self._click(index, frame, true, mask, [])
            if iou(corrected, true) >= found:
                self._session.preflight()
                self._budget -= 1
                mask = corrected
            else:
                self._session.discard(index)
        return {self.part: mask}

    def _start(self, index: int, frame: Frame, truth: Mask) -> None:
        if self.protocol == "auto":
            self._session.prompt_auto(index, frame)
        elif self.protocol == "mask":
            self._session.prompt_mask(index, frame, torch.from_numpy(truth).to(frame.edge.device))
        elif self.protocol == "bb":
            self._prompt(index, frame, truth.shape, box=self._user.box(truth))
        else:
            first = self._user.first_click(truth)
            mask = self._prompt(index, frame, truth.shape, [first])
            if self.protocol != "1c":
                self._click(index, frame, truth, mask, [first])

    def _click(self, index: int, frame: Frame, truth: Mask, mask: Mask, clicks: list[Click]) -> Mask:
        """Click into the largest error until there are three clicks; then give the best so many first ones again.

        ``mask`` is the answer so far, and to ``clicks`` where there are any.
        """
        tried = [(iou(mask, truth), len(clicks))] if clicks else []
        while len(clicks) < CLICKS and (click := self._user.correction(mask, truth)):
            clicks = [*clicks, click]
            mask = self._prompt(index, frame, truth.shape, clicks)
            tried.append((iou(mask, truth), len(clicks)))
        # The first of equally good ones; max() keeps it.
        best = max(tried, key=lambda t: t[0])[1]
        return self._prompt(index, frame, truth.shape, clicks[:best])

    def _prompt(
        self,
        index: int,
        frame: Frame,
        shape: tuple[int, ...],
        clicks: list[Click] | None = None,
        box: Box | None = None,
    ) -> Mask:
        xy = [box[:2], box[2:]] if box else [(c.x, c.y) for c in clicks or []]
        labels = [2, 3] if box else [c.label for c in clicks or []]
        device = frame.edge.device
        scale = torch.tensor([1 / shape[1], 1 / shape[0]]) * self._robotseg.model.config.image_size
        coords = (torch.tensor(xy, dtype=torch.float32) * scale).to(device)
        output = self._session.prompt_points(index, frame, coords, torch.tensor(labels, device=device))
        return mask_of(output, shape)


def open_session(robotseg: RobotSeg, part: str, frames: int) -> Session:
    """A session as the published evaluation has it for base; nano knows no video length, and fills no holes."""
    row = PARTS.index(part)
    if robotseg.preset != "base":
        return Session(robotseg.model, row)
    return Session(robotseg.model, row, video_length=frames, memory_dtype=torch.bfloat16, fill_area=8)


def encode(robotseg: RobotSeg, rgb: NDArray[np.uint8]) -> Frame:
    """Encode an image [H, W, 3] once for all sessions."""
    config = robotseg.model.config
    image = frame_tensor(rgb, config.image_size, exact=config.name == "base").to(robotseg.device)
    return Frame(features=robotseg.encoder.encode(image), edge=edges(image, config))


def mask_of(output: Output, shape: tuple[int, ...]) -> Mask:
    """Mask of the video's size: bilinear upsampling of the low-res logits, above 0 (SPEC 8)."""
    large = F.interpolate(output.logits[None].float(), (shape[0], shape[1]), mode="bilinear")[0, 0]
    return np.asarray((large > 0).cpu().numpy())
