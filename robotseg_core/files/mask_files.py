# SPDX-License-Identifier: Apache-2.0
"""Masks as files: PNG in VRS layout."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from robotseg_core.types import PARTS

FOLDERS = dict(zip(PARTS, ("000", "001", "002"), strict=True))
"""Folder of each part in VRS layout (SPEC 10.1)."""
SOFT = "soft"
"""Folder beside them of the robot's probability, 0 to 255."""


def write_png(path: Path, image: NDArray[np.uint8]) -> None:
    """Write a PNG of [H, W] or, in OpenCV's order BGR, [H, W, 3].

    Raises:
        OSError: the file cannot be written (disk full, no permission).
    """
    good, coded = cv2.imencode(".png", image)
    if not good:
        raise OSError(f"{path} cannot be encoded")
    path.write_bytes(coded.tobytes())
