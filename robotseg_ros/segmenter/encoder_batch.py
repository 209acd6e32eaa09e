# SPDX-License-Identifier: Apache-2.0
"""Images of several cameras that wait when the model is free: through its encoder at once, then each in its own stream.

A batch is at the expense of nobody else: each camera has one image in it at most, and answers are published one by one,
in the order in which the cameras take turns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robotseg_ros.common.model import Model
from robotseg_ros.segmenter.worker import Turn


class EncoderBatch:
    """Serves the cameras whose turn it is together.

    Attributes:
        size: images at once at most; 1 once a batch has failed.

    Args:
        model: whose encoder it is.
        warn: called with a line for the log.
    """

    def __init__(self, model: Model, warn: Callable[[str], object]) -> None:
        self._model, self._warn = model, warn
        self.size = model.encoder_batch

    def process(self, turns: Sequence[Turn]) -> None:
        """Work on an image of each of several cameras.  Never raises."""
        begun = []
        for turn in turns:
            # What is refused here takes nobody else's image with it.
            frame = turn.session.begin(turn.item, turn.dropped)
            if frame is not None:
                begun.append((turn.session, frame))
        together = self._encode([frame.decoded.rgb for _, frame in begun])
        for (session, frame), encoded in zip(begun, together, strict=True):
            session.counters.encoded_with_others += encoded is not None
            session.finish(frame, encoded)

    def _encode(self, images: list[NDArray[np.uint8]]) -> Sequence[Any]:
        """What the encoder makes of the images; None for each where they have to go one by one."""
        if len(images) < 2:
            return [None] * len(images)
        try:
            return self._model.encode_frames(images)
        except Exception as error:
            # Which of them it was cannot be told, and an encoder may lack memory for several alone: each is tried by
            # itself, and who fails then has failed.
            self.size = 1
            self._warn(
                f"the encoder failed on images of {len(images)} cameras at once: {type(error).__name__}: {error}; "
                f"one at a time until the node is activated again"
            )
            return [None] * len(images)
