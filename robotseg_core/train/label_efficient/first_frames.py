# SPDX-License-Identifier: Apache-2.0
"""Videos of which only the first frame's masks are read (SPEC 9.1): palindromes for LET, and first frames alone.

No other mask file is opened, so none needs to exist.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from robotseg_core.train.data.augment import AugmentConfig, augment_clip
from robotseg_core.train.data.sources import (
    STORE_SIZE,
    Clip,
    DataConfig,
    PhotoStore,
    VideoStore,
    any_store,
    random_background,
    read_label,
    read_rgb,
)
from robotseg_core.train.label_efficient.frame_features import FeatureExtractor
from robotseg_core.train.label_efficient.pseudo_masks import harden, propagate


class FirstFrameStore(VideoStore):
    """Frames of videos with the true label of the first one and pseudo labels of the others (SPEC 9.2).

    Pseudo labels are made once and kept in the cache.
    """

    def __init__(self, root: Path, cache: Path, extractor: FeatureExtractor) -> None:
        self.extractor = extractor
        super().__init__(root, cache)

    def suffix(self) -> str:
        """Pseudo labels differ by the features that carried them."""
        return f"_let_{self.extractor.name}"

    def read_labels(self, root: Path, frames: list[list[Path]]) -> NDArray[np.uint8]:
        """True label of each first frame, pseudo labels of the others."""
        out = np.zeros((int(self.starts[-1]), STORE_SIZE, STORE_SIZE), np.uint8)
        for start, video in zip(
            self.starts, tqdm(frames, desc=f"pseudo masks of {root.name}", unit="video"), strict=False
        ):
            first = read_label(root / "mask_gt" / video[0].parent.name, video[0].stem)
            for i, soft in enumerate(propagate((self.extractor(read_rgb(f)) for f in video), first)):
                out[start + i] = harden(soft, (STORE_SIZE, STORE_SIZE)) if i else first
        return out

    def palindrome(self, rng: np.random.Generator, length: int) -> Clip:
        """A video's first frames there and back again, at a random stride."""
        video = int(rng.integers(len(self.names)))
        start, stop = int(self.starts[video]), int(self.starts[video + 1])
        index = start + palindrome(rng, stop - start, length)
        return self.rgb[index], self.label[index]

    def first(self, rng: np.random.Generator, length: int) -> Clip:
        """A video's first frame, ``length`` times."""
        index = np.full(length, self.starts[int(rng.integers(len(self.names)))])
        return self.rgb[index], self.label[index]


def palindrome(rng: np.random.Generator, frames: int, length: int) -> NDArray[np.int64]:
    """Indices [0, s, 2s, ..., 2s, s, 0] of ``length`` frames, the stride s uniform in 1 to what the video holds."""
    half = (length + 1) // 2
    stride = int(rng.integers(1, max(1, (frames - 1) // (half - 1)) + 1))
    there = np.minimum(stride * np.arange(half), frames - 1)
    return np.concatenate([there, there[-2::-1]])


class FirstFrameClips:
    """Augmented clips for ``let`` and ``first`` phases.

    What composes pictures by a mask (backgrounds, recolouring, robots that vanish) is left out: pseudo masks are
    not good enough for it.
    """

    def __init__(
        self,
        data: DataConfig,
        augment: AugmentConfig,
        extractor: FeatureExtractor,
        *,
        kind: str,
        size: int,
        length: int,
        cache: Path,
    ) -> None:
        self.augment = dataclasses.replace(augment, background=0.0, recolour=0.0, absent=0.0)
        self.kind, self.size, self.length, self.even = kind, size, length, data.even
        self.stores = [FirstFrameStore(Path(root), cache, extractor) for root in data.videos]
        self.photos = PhotoStore(Path(data.photos)) if data.photos else None

    def draw(self, rng: np.random.Generator) -> Clip:
        """One augmented clip."""
        store = any_store(self.stores, rng, even=self.even)
        frames, labels = (store.palindrome if self.kind == "let" else store.first)(rng, self.length)
        return augment_clip(
            np.asarray(frames),
            np.asarray(labels),
            lambda r: random_background(r, self.photos),
            self.augment,
            self.size,
            rng,
        )
