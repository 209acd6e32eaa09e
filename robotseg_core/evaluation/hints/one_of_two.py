# SPDX-License-Identifier: Apache-2.0
"""One robot before another on real frames with depth: colour, depth and the mask of the one that is meant.

A folder holds ``image/<frame>.jpg``, ``mask_robot/<frame>.png`` and ``depth_mm/<frame>.png``.  Every frame is a first
one: each is another posture.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from robotseg_core.evaluation.hints.hinted_stream import HintedStream
from robotseg_core.evaluation.metrics import Mask, iou
from robotseg_core.files.depth_files import read_depth
from robotseg_core.files.frames import list_images, read_image
from robotseg_core.masks.nearest import Nearest
from robotseg_core.stream.robotseg import RobotSeg

WAYS = ("auto", "1c", "bb", "region", "max_depth", "region and max_depth")
"""How it is said which robot is meant: not at all, by a hint, by the box around it, widened, as a region, by depth."""
ROOM = 0.1
"""Of the box's sides by which the region is wider at each side: a region is drawn roughly."""
BORDER = 11
"""Pixels, the side of the square by which the true mask is grown before what lies outside it is counted."""


@dataclass(frozen=True)
class OneOfTwo:
    """A frame: IoU with the robot that is meant, and what is marked outside it, as a share of its area."""

    frame: str
    way: str
    iou: float
    outside: float


def region_around(true: Mask) -> tuple[tuple[float, float], ...]:
    """Corners (x, y) of the box of a mask [H, W], widened, as shares of width and height."""
    height, width = true.shape
    x, y, w, h = cv2.boundingRect(true.view(np.uint8))
    x0, x1 = (float(np.clip(v, 0, width)) / width for v in (x - ROOM * w, x + w + ROOM * w))
    y0, y1 = (float(np.clip(v, 0, height)) / height for v in (y - ROOM * h, y + h + ROOM * h))
    return (x0, y0), (x1, y0), (x1, y1), (x0, y1)


@torch.inference_mode()
def one_of_two(robotseg: RobotSeg, folder: Path, *, max_depth: float) -> Iterator[OneOfTwo]:
    """Each frame in each way.

    Raises:
        ValueError: the folder has no frames, or a frame lacks its mask or depth.
    """
    frames = list_images(folder / "image")
    if not frames:
        raise ValueError(f"{folder / 'image'} has no images")
    stream = robotseg.stream()
    for file in frames:
        rgb = np.ascontiguousarray(read_image(file)[..., ::-1])
        mask = cv2.imread(str(folder / "mask_robot" / f"{file.stem}.png"), cv2.IMREAD_GRAYSCALE)
        if mask is None or mask.shape != rgb.shape[:2]:
            raise ValueError(f"{folder / 'mask_robot'} has no mask of the frame {file.name}, or one of another size")
        true = np.asarray(mask > 0)
        depth = read_depth(folder / "depth_mm" / f"{file.stem}.png")
        around = cv2.dilate(true.view(np.uint8), np.ones((BORDER, BORDER), np.uint8)) > 0
        (encoded,) = robotseg.encode_frames([rgb])
        for way in WAYS:
            stream.reset()
            stream.nearest = Nearest(
                region_around(true) if "region" in way else (), max_depth if "max_depth" in way else 0.0
            )
            if way in ("1c", "bb"):
                answer = HintedStream(stream, way, ("robot",)).step(0, encoded, {"robot": true})["robot"]
            else:
                answer = stream.step_encoded(encoded.again(), depth=depth)["robot"].mask > 0
            outside = np.count_nonzero(answer & ~around) / np.count_nonzero(true)
            yield OneOfTwo(file.stem, way, iou(answer, true), float(outside))
    stream.nearest = None
