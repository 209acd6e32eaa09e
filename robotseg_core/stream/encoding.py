# SPDX-License-Identifier: Apache-2.0
"""Camera frames through the image encoder, those of several cameras at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robotseg_core.config import ModelConfig
from robotseg_core.model.robotseg_model import Features
from robotseg_core.stream.frame_state import EncodedFrame
from robotseg_core.stream.preprocess import check_frame, frame_tensor, frame_to_device
from robotseg_core.stream.stage_clock import StageClock


def encode_frames(
    frames: Sequence[NDArray[np.uint8]],
    encode: Callable[[Tensor], Features],
    config: ModelConfig,
    device: torch.device,
) -> list[EncodedFrame]:
    """Encode frames as one batch; each goes on by itself.

    Args:
        frames: each [H, W, 3] uint8 RGB, of sizes of their own.
        encode: normalised images [B, 3, S, S] float32 -> features.
        config: of the model.
        device: of the model.

    Raises:
        ValueError: shape, type or size of a frame is off; nothing has been computed.
    """
    for frame in frames:
        check_frame(frame)
    images, clocks = [], []
    for frame in frames:
        clock = StageClock(device)
        images.append(prepared(frame, config, device))
        clock.lap("preprocess")
        clocks.append(clock)
    for clock in clocks:
        clock.skip()
    features = encode(images[0] if len(images) == 1 else torch.cat(images))
    encoded = []
    for i, (frame, image, clock) in enumerate(zip(frames, images, clocks, strict=True)):
        # Each has waited for all.
        clock.lap("encoder")
        own = slice(i, i + 1)
        one = Features(h4=features.h4[own], h8=features.h8[own], f16=features.f16[own])
        encoded.append(EncodedFrame((frame.shape[0], frame.shape[1]), image, one, clock))
    return encoded


def prepared(frame: NDArray[np.uint8], config: ModelConfig, device: torch.device) -> Tensor:
    """A frame [H, W, 3] uint8 RGB as the model's input on its device, [1, 3, S, S] float32, normalised."""
    exact = config.name == "base"
    # On a CPU Pillow itself is the fastest way to Pillow's bytes.
    if device.type == "cpu":
        return frame_tensor(frame, config.image_size, exact=exact)
    return frame_to_device(frame, config.image_size, exact=exact, device=device)
