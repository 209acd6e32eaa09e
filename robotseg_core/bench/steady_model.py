# SPDX-License-Identifier: Apache-2.0
"""A model whose streams do the same work for every image, so that figures do not depend on what it sees in noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robotseg_core.stream.frame_state import EncodedFrame
from robotseg_core.stream.policy import NEVER, StreamPolicy
from robotseg_core.stream.postprocess import part_mask
from robotseg_core.stream.robotseg import RobotSeg
from robotseg_core.types import PARTS, PartMask, PartMasks, Prompt, State


class SteadyModel:
    """The model, whose streams have a full memory and show a robot over a fifth of every image."""

    def __init__(self, robotseg: RobotSeg) -> None:
        self._robotseg = robotseg
        self.preset, self.device, self.backend = robotseg.preset, robotseg.device, robotseg.backend
        self.source, self.sha256, self.robot = robotseg.source, robotseg.sha256, robotseg.robot
        self.encoder_batch = 1
        self.encode_frames = robotseg.encode_frames
        self.target_stream = robotseg.target_stream

    def stream(self) -> SteadyStream:
        """Open a stream."""
        return SteadyStream(self._robotseg)


class SteadyStream:
    """See :class:`SteadyModel`."""

    def __init__(self, robotseg: RobotSeg) -> None:
        self._robotseg = robotseg
        # A full memory that is never dropped, as in `robotseg bench`.
        self._stream = robotseg.stream(StreamPolicy(lost_after=NEVER, refresh_after=0))
        self._stream.fill_memory()
        self._shown: dict[tuple[int, int], tuple[PartMask, ...]] = {}

    def step(self, frame: NDArray[np.uint8], stamp: int) -> PartMasks:
        """Segment one frame and forget what was seen."""
        (encoded,) = self._robotseg.encode_frames([frame])
        return self.step_encoded(encoded, stamp)

    def step_encoded(self, encoded: EncodedFrame, stamp: int) -> PartMasks:
        """The same of a frame that has been encoded."""
        result, size = self._stream.step_encoded(encoded, stamp), encoded.size
        if size not in self._shown:
            self._shown[size] = robot_in_view(*size)
        return PartMasks(stamp, State.TRACKING, self._shown[size], result.stage_ms)

    def prompt(self, prompt: Prompt) -> None:
        """Give a hint that applies to the next step."""
        self._stream.prompt(prompt)

    def reset(self) -> None:
        """Forget everything seen; the memory is full again."""
        self._stream.fill_memory()


def robot_in_view(height: int, width: int) -> tuple[PartMask, ...]:
    """An arm over 15 % of the image and a gripper over 5 %."""
    arm, gripper = (np.zeros((height, width), bool) for _ in range(2))
    arm[height // 4 : height // 2, : 3 * width // 5] = True
    gripper[height // 4 : height // 2, 3 * width // 5 : 4 * width // 5] = True
    masks = zip(PARTS, (arm, gripper, arm | gripper), strict=True)
    return tuple(part_mask(name, mask, 0.9) for name, mask in masks)
