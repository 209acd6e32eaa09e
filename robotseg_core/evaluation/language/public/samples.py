# SPDX-License-Identifier: Apache-2.0
"""One sample of a public set: a picture, what is said, and the mask that is meant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

TARGET, IGNORED = 1, 255
"""Values of a truth; 0 is the rest."""


@dataclass(frozen=True, eq=False)
class PublicSample:
    """A picture with one request.

    Attributes:
        name: of the sample, as the set has it.
        image: the file.
        text: what is said.
        truth: makes the truth [H, W] uint8, see :data:`TARGET`.
    """

    name: str
    image: Path
    text: str
    truth: Callable[[], NDArray[np.uint8]]
