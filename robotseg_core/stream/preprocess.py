# SPDX-License-Identifier: Apache-2.0
"""From a camera frame to the model's input (SPEC 1)."""

from __future__ import annotations

import functools

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from robotseg_core.cuda.resize import resize_exactly
from robotseg_core.cuda.transfer import sent
from robotseg_core.model.positions import channel_constants
from robotseg_core.model.structure import IMAGE_MEAN, IMAGE_STD, LUMA

MAX_SIDE = 16384
"""Largest side of a frame that a stream accepts, pixels: panoramas have 11,000 and more."""


def resize_frame(frame: NDArray[np.uint8], size: int, *, exact: bool) -> NDArray[np.uint8]:
    """RGB [H, W, 3] uint8 -> [size, size, 3], ignoring the aspect ratio.

    ``exact``: Pillow's bicubic as the reference uses it; otherwise OpenCV's area filter, ten times faster.
    """
    if frame.shape[:2] == (size, size):
        return frame
    if exact:
        return np.asarray(Image.fromarray(frame).resize((size, size), Image.Resampling.BICUBIC))
    shrinks = frame.shape[0] > size and frame.shape[1] > size
    out = cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.asarray(out, np.uint8)


def normalise(images: Tensor) -> Tensor:
    """uint8 RGB [..., 3, S, S] -> ImageNet-normalised float32 of the same shape."""
    mean, std = (channel_constants(values, torch.float32, images.device)[0] for values in (IMAGE_MEAN, IMAGE_STD))
    return (images.float() / 255 - mean) / std


def frame_tensor(frame: NDArray[np.uint8], size: int, *, exact: bool) -> Tensor:
    """RGB [H, W, 3] uint8 -> normalised [1, 3, size, size] float32."""
    small = resize_frame(frame, size, exact=exact)
    image = np.empty((1, 3, size, size), np.float32)
    for channel, (plane, table) in enumerate(zip(cv2.split(small), _normalised_bytes(), strict=True)):
        cv2.LUT(plane, table, dst=image[0, channel])
    return torch.from_numpy(image)


@functools.cache
def _normalised_bytes() -> list[NDArray[np.float32]]:
    """What :func:`normalise` makes of each byte, [256] for each channel: to look up is faster than to compute."""
    return [
        np.ascontiguousarray(x) for x in normalise(torch.arange(256, dtype=torch.uint8).expand(3, 1, -1))[:, 0].numpy()
    ]


def cell_edges(image: Tensor) -> Tensor:
    """:func:`robotseg_core.model.structure.real_edges` by OpenCV: normalised [1, 3, S, S] on the CPU -> [1, 1, g, g].

    Convolutions of a single channel are what neural runtimes are slowest at.
    """
    red, green, blue = image[0].numpy()
    scale = np.asarray(LUMA, np.float32) * np.asarray(IMAGE_STD, np.float32)
    gray = red * scale[0] + green * scale[1] + blue * scale[2] + np.float32(np.dot(LUMA, IMAGE_MEAN))
    np.clip(gray, 0, 1, out=gray)
    blurred = cv2.GaussianBlur(gray, (5, 5), 1, borderType=cv2.BORDER_REFLECT_101)
    across = cv2.Sobel(blurred, cv2.CV_32F, 1, 0, ksize=3, borderType=cv2.BORDER_REPLICATE)
    down = cv2.Sobel(blurred, cv2.CV_32F, 0, 1, ksize=3, borderType=cv2.BORDER_REPLICATE)
    square = np.asarray(across * across + down * down)
    g = image.shape[-1] // 16
    strongest = square.reshape(g, 16, g, 16).max((1, 3))
    return torch.from_numpy(np.minimum(np.sqrt(strongest + np.float32(1e-6)), 1))[None, None]


def frame_to_device(frame: NDArray[np.uint8], size: int, *, exact: bool, device: torch.device) -> Tensor:
    """The same tensor on ``device``: the frame's bytes are copied and the rest is done there; the host does not wait.

    Without ``exact`` OpenCV resizes on the host, as in :func:`frame_tensor`.
    """
    small = frame if exact else resize_frame(frame, size, exact=False)
    there = sent(np.ascontiguousarray(small), device)
    resized = resize_exactly(there, size) if exact else there
    return normalise(resized.permute(2, 0, 1))[None]


def check_frame(frame: NDArray[np.uint8]) -> None:
    """Raise ValueError where a frame is not [H, W, 3] uint8 of sane size."""
    if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8:
        raise ValueError(f"frame is {getattr(frame, 'dtype', type(frame))}, must be a uint8 array")
    if frame.ndim != 3 or frame.shape[2] != 3:
        raise ValueError(f"frame has shape {frame.shape}, must be [H, W, 3]")
    if not (1 <= frame.shape[0] <= MAX_SIDE and 1 <= frame.shape[1] <= MAX_SIDE):
        raise ValueError(f"frame is {frame.shape[1]} x {frame.shape[0]}, each side must be 1 to {MAX_SIDE} pixels")
