# SPDX-License-Identifier: Apache-2.0
"""Frames resized by the device's operators, on the CPU: the bytes of Pillow, the tensor of the host's way."""

import numpy as np
import pytest
import torch

from robotseg_core.cuda.resize import resize_exactly
from robotseg_core.stream.preprocess import frame_tensor, frame_to_device, resize_frame

CPU = torch.device("cpu")


def noise(height: int, width: int) -> np.ndarray:
    frame = np.random.default_rng(height * 10000 + width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    frame[: height // 2, : width // 2] = np.where(frame[: height // 2, : width // 2] > 127, 255, 0)
    return frame


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [(48, 64, 128), (480, 640, 1024), (300, 200, 96), (128, 37, 128), (31, 128, 128), (96, 96, 96), (1, 1, 64)],
)
def test_bytes_are_those_of_pillow(height, width, size):
    frame = noise(height, width)
    got = resize_exactly(torch.from_numpy(frame), size).numpy()
    assert np.array_equal(got, resize_frame(frame, size, exact=True))


@pytest.mark.parametrize("exact", [True, False])
def test_frame_is_that_of_the_host(exact):
    frame = noise(50, 70)
    assert torch.equal(frame_to_device(frame, 96, exact=exact, device=CPU), frame_tensor(frame, 96, exact=exact))
