# SPDX-License-Identifier: Apache-2.0
"""A video to augment: its frames, as often as needed, and the masks that go with it."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rgb = NDArray[np.uint8]


@dataclass(frozen=True)
class Masks:
    """Masks of one frame.

    Attributes:
        arm: [H, W] bool.
        gripper: [H, W] bool, disjoint from ``arm``.
    """

    arm: NDArray[np.bool_]
    gripper: NDArray[np.bool_]

    @property
    def robot(self) -> NDArray[np.bool_]:
        """[H, W] bool: both."""
        return self.arm | self.gripper


@dataclass(frozen=True)
class Clip:
    """A video.

    Attributes:
        name: unique among those that are augmented together; random choices depend on it.
        count: of its frames.
        frames: gives (name, [H, W, 3] uint8 RGB) of each frame from the first one on, at every call.
        given: masks that come with the video, by frame; None: they have to be found.
    """

    name: str
    count: int
    frames: Callable[[], Iterator[tuple[str, Rgb]]]
    given: Callable[[str, tuple[int, int]], Masks] | None = None


class PackedMasks:
    """Masks of all frames of a video, a bit a pixel and packed: some kilobytes a frame."""

    def __init__(self) -> None:
        self._kept: list[tuple[bytes, tuple[int, int]] | None] = []

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, masks: Masks | None) -> None:
        """Those of the next frame; None: they are not known."""
        if masks is None:
            self._kept.append(None)
            return
        both = np.packbits(np.stack([masks.arm, masks.gripper]))
        height, width = masks.arm.shape
        self._kept.append((zlib.compress(both.tobytes(), 1), (height, width)))

    def __getitem__(self, number: int) -> Masks | None:
        kept = self._kept[number]
        if kept is None:
            return None
        packed, (height, width) = kept
        bits = np.unpackbits(np.frombuffer(zlib.decompress(packed), np.uint8), count=2 * height * width)
        arm, gripper = bits.reshape(2, height, width).astype(bool)
        return Masks(arm, gripper)
