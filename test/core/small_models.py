# SPDX-License-Identifier: Apache-2.0
"""The small model for tests that need many steps, its memory soon full; each is made once."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
from numpy.typing import NDArray

from robotseg_core.bench import miniature as small
from robotseg_core.config import ModelConfig
from robotseg_core.model.robotseg_model import RobotSegModel
from robotseg_core.stream.robotseg import RobotSeg

SMALL: ModelConfig = dataclasses.replace(small.SMALL, max_pointers=4)


@functools.cache
def small_model(*, seed: int = 0, config: ModelConfig = SMALL, object_bias: float = 3.0) -> RobotSegModel:
    """Random weights; ``object_bias`` above 0 makes parts present, far below 0 absent."""
    return small.small_model(seed=seed, config=config, object_bias=object_bias)


def small_robotseg(**arguments: object) -> RobotSeg:
    """The same, ready to stream."""
    return small.small_robotseg(small_model(**arguments))  # type: ignore[arg-type]


def policy_base(sha256: str) -> RobotSeg:
    """One at nano's side of the image, as weights of that hash, for policies bound to it."""
    found = small_robotseg(config=dataclasses.replace(SMALL, image_size=384))
    found.sha256 = sha256
    return found


def moving_frames(count: int, height: int = 60, width: int = 80) -> list[NDArray[np.uint8]]:
    """A textured picture that moves."""
    rng = np.random.default_rng(0)
    wide = np.kron(rng.integers(0, 256, (6, 20, 3)), np.ones((10, 10, 1))).astype(np.uint8)
    return [np.ascontiguousarray(wide[:height, i % 100 : i % 100 + width]) for i in range(count)]
