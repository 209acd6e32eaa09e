# SPDX-License-Identifier: Apache-2.0
"""Compressed images are decoded in a thread of their camera: one that takes long holds up its own camera alone."""

from __future__ import annotations

from typing import Any

from robotseg_ros.segmenter.counters import Counters
from robotseg_ros.segmenter.inference import Inference
from robotseg_ros.segmenter.worker import FairWorker, Lane

CLOSE_TIMEOUT_S = 0.1
"""How long closing waits for an image being decoded; then its thread ends when it is done, and nobody hears of it."""


class Unpacking:
    """Takes images of one camera, decodes them in a thread, and leaves them for the inference thread.

    Attributes:
        counters: of the camera.
        busy: whether an image is being decoded now.

    Args:
        inference: the camera's session.
        lane: where decoded images go.
        depth: 0 keeps the newest image only; otherwise the number of images from which on it says it is full.
        name: of the camera.
    """

    def __init__(self, inference: Inference, lane: Lane, depth: int, name: str) -> None:
        self._inference, self._lane = inference, lane
        self.counters: Counters = inference.counters
        self.busy = False
        self._generation = 0
        self._worker = FairWorker(f"decoding {name}".strip())
        self._entry = self._worker.lane(self, depth=depth)

    @property
    def full(self) -> bool:
        """Whether nothing more should be put now."""
        return self._entry.full or self._lane.full

    @property
    def waiting(self) -> int:
        """How many images wait for the inference thread."""
        return self._lane.waiting

    def put(self, image: Any) -> None:
        """Leave an image.  Never blocks for long."""
        self._entry.put((self._generation, image))

    def clear(self) -> None:
        """Forget what waits, and what is being decoded."""
        self._generation += 1
        self._entry.clear()
        self._lane.clear()

    def close(self) -> bool:
        """End the thread; returns whether it has ended."""
        self.clear()
        return self._worker.stop(CLOSE_TIMEOUT_S)

    # ------------------------------------------------------------------------------------ in the thread
    def process(self, item: Any, dropped: int) -> None:
        """Decode an image."""
        generation, image = item
        self._inference.answers.drop(dropped)
        self.busy = True
        try:
            frame = self._inference.decode(image)
        finally:
            self.busy = False
        # A little may slip through here; then it is of before the pause, and its answer is not published.
        if frame is not None and generation == self._generation:
            self._lane.put(frame)

    def begin(self, item: Any, dropped: int) -> Any | None:
        """Not used: images are decoded one by one."""
        raise NotImplementedError

    def finish(self, begun: Any, encoded: Any) -> None:
        """Likewise."""
        raise NotImplementedError
