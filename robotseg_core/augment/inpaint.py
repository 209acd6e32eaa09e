# SPDX-License-Identifier: Apache-2.0
"""A picture without its robot.

Where the camera stands still, most of what is behind a robot is seen in other frames of the video: their median is the
plate, one for the whole video, which cannot flicker.  What no frame shows, and every frame of a camera that moves, is
inpainted: by OpenCV, or by a network of the user's (LaMa as an ONNX file).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from robotseg_core.augment.clip import Rgb
from robotseg_core.augment.survey import KEEP_OFF, Survey

Fill = Callable[[Rgb, NDArray[np.bool_]], Rgb]
"""Picture [H, W, 3] uint8 RGB, hole [H, W] bool -> picture without the hole."""
SIDE = 320
"""OpenCV fills pictures of at most this many pixels on the longer side: what it draws is smooth anyway."""
RADIUS = 5.0
BAND = 64
"""Rows of a plate that are made at once."""


def by_opencv(picture: Rgb, hole: NDArray[np.bool_]) -> Rgb:
    """Telea's method: a picture [H, W, 3] uint8 RGB with its hole [H, W] filled."""
    if not hole.any():
        return picture.copy()
    if hole.all():
        return np.full_like(picture, 128)
    height, width = hole.shape
    scale = min(1.0, SIDE / max(height, width))
    size = max(2, round(width * scale)), max(2, round(height * scale))
    # A small pixel is a hole if any of its own are: nothing of the robot may bleed in.
    small_hole = cv2.resize(hole.astype(np.uint8) * 255, size, interpolation=cv2.INTER_AREA) > 0
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    filled = cv2.inpaint(small, small_hole.astype(np.uint8), RADIUS, cv2.INPAINT_TELEA)
    large = cv2.resize(filled, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.where(hole[..., None], large, picture).astype(np.uint8)


class Lama:
    """LaMa, or another network that inpaints, as an ONNX file.

    Its inputs are an image [1, 3, h, w] float, 0 to 1, and a mask [1, 1, h, w] float, 1 in the hole; its output is an
    image [1, 3, h, w], 0 to 1 or 0 to 255.

    Args:
        path: of the file.

    Raises:
        ValueError: it is no such network.
        OSError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        import onnxruntime

        if not path.is_file():
            raise FileNotFoundError(f"{path} does not exist")
        try:
            self._session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own classes of errors have no common one.
            raise ValueError(f"{path} cannot be read as an ONNX file: {error}") from error
        inputs = {len(i.shape) > 1 and i.shape[1]: i for i in self._session.get_inputs()}
        if set(inputs) != {1, 3}:
            shapes = [i.shape for i in self._session.get_inputs()]
            raise ValueError(f"{path} takes {shapes}, must take an image [1, 3, h, w] and a mask [1, 1, h, w]")
        self._image, self._mask = inputs[3].name, inputs[1].name
        height, width = inputs[3].shape[2:]
        self._size = (width, height) if isinstance(height, int) and isinstance(width, int) else None

    def __call__(self, picture: Rgb, hole: NDArray[np.bool_]) -> Rgb:
        """Fill a hole."""
        if not hole.any():
            return picture.copy()
        height, width = hole.shape
        # Networks that take any size want multiples of 8.
        size = self._size or (-(-width // 8) * 8, -(-height // 8) * 8)
        image = cv2.resize(picture, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        # As in by_opencv: a pixel that has some of the robot is a hole.
        mask = (cv2.resize(hole.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0).astype(np.float32)
        given = {self._image: image.transpose(2, 0, 1)[None], self._mask: mask[None, None]}
        out = np.asarray(self._session.run(None, given)[0], np.float32)[0].transpose(1, 2, 0)
        out = np.clip(out * 255 if out.max() <= 1.5 else out, 0, 255).astype(np.uint8)
        large = cv2.resize(out, (width, height), interpolation=cv2.INTER_LINEAR)
        return np.where(hole[..., None], large, picture).astype(np.uint8)


def grown(robot: NDArray[np.bool_], by: int = KEEP_OFF) -> NDArray[np.bool_]:
    """A mask [H, W] with ``by`` pixels of its surroundings."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * by + 1, 2 * by + 1))
    return np.asarray(cv2.dilate(robot.astype(np.uint8), kernel) > 0)


def plate(survey: Survey, fill: Fill) -> tuple[Rgb, float]:
    """What is behind the robot of a camera that stands still.

    Returns:
        [H, W, 3] uint8, and which share of the pixels that the robot ever covers no frame shows.
    """
    height, width = survey.size
    made, samples = np.zeros((height, width, 3), np.uint8), survey.whole()
    hidden = [grown(robot) for _, robot in samples]
    never = np.logical_and.reduce(hidden)
    for top in range(0, height, BAND):
        rows = slice(top, top + BAND)
        seen = np.stack([rgb[rows] for rgb, _ in samples]).astype(np.float32)
        seen[np.stack([mask[rows] for mask in hidden])] = np.nan
        # Pixels that are never seen are filled afterwards.
        seen[0][never[rows]] = 0
        made[rows] = np.nanmedian(seen, 0)
    ever = int(np.count_nonzero(np.logical_or.reduce(hidden)))
    return fill(made, never), float(np.count_nonzero(never)) / max(1, ever)
