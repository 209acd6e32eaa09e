# SPDX-License-Identifier: Apache-2.0
"""Where robots, arms and grippers stand on the average: the least that a policy must know better."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from robotseg_core.synth.requests.programs import Asked
from robotseg_core.types import PARTS

Box = tuple[float, float, float, float]
"""(x0, y0, x1, y1), shares of the frame's width and height."""


def leaf_boxes(ids: NDArray[np.uint16]) -> dict[int, Box]:
    """Box of each leaf of a map of instances [H, W]."""
    height, width = ids.shape
    found = {}
    for leaf in np.unique(ids[ids > 0]):
        x, y, w, h = cv2.boundingRect((ids == leaf).view(np.uint8))
        found[int(leaf)] = (x / width, y / height, (x + w) / width, (y + h) / height)
    return found


def instance_boxes(asked: Iterable[Asked], boxes: Mapping[int, Box]) -> list[tuple[str, Box]]:
    """(part, box) of each instance of a frame that may be asked for, once; ``boxes`` are those of the leaves."""
    known = dict.fromkeys((one.kind, leaves) for one in asked for leaves in one.instances)
    found = []
    for kind, leaves in known:
        seen = np.array([boxes[leaf] for leaf in leaves if leaf in boxes])
        if len(seen):
            x0, y0, x1, y1 = (float(v) for v in (*seen[:, :2].min(0), *seen[:, 2:].max(0)))
            found.append((kind, (x0, y0, x1, y1)))
    return found


def average_boxes(found: Sequence[tuple[str, Box]]) -> dict[str, Box]:
    """The mean box of each part.

    Raises:
        ValueError: a part has none.
    """
    means = {}
    for part in PARTS:
        boxes = [box for kind, box in found if kind == part]
        if not boxes:
            raise ValueError(f"among {len(found)} boxes there is none of part {part!r}")
        x0, y0, x1, y1 = (float(value) for value in np.mean(boxes, axis=0))
        means[part] = (x0, y0, x1, y1)
    return means
