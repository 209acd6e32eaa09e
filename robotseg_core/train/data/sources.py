# SPDX-License-Identifier: Apache-2.0
"""Where training pictures come from: rendered videos with masks, rendered cut-outs, photographs without robots.

Every source answers with RGB uint8 [T, S, S, 3] and labels uint8 [T, S, S]: 0 background, 1 arm, 2 gripper.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from robotseg_core.files.natural import in_order
from robotseg_core.train.data.augment import AugmentConfig, augment_clip, paste_over

Clip = tuple[NDArray[np.uint8], NDArray[np.uint8]]

STORE_SIZE = 384


@dataclass(frozen=True)
class DataConfig:
    """What to train on.

    Attributes:
        videos: roots in VRS layout (``image/<video>/*.jpg``, ``mask_gt/<video>/<000|001|002>/*.png``).
        cutouts: folder of ``rgb_*.npy`` / ``alpha_*.npy`` / ``label_*.npy`` shards, or None.
        photos: folder of photographs without robots, or None.
        cutout_share, photo_share: shares of samples from these; the rest are video frames.
        even: whether every root of ``videos`` is as likely as any other; else every video is.
    """

    videos: tuple[str, ...]
    cutouts: str | None = None
    photos: str | None = None
    cutout_share: float = 0.4
    photo_share: float = 0.08
    even: bool = False


class VideoStore:
    """All frames of VRS-layout videos, square, in one memory-mapped array beside the data's cache file."""

    def __init__(self, root: Path, cache: Path) -> None:
        if not (root / "image").is_dir():
            raise FileNotFoundError(f"{root} has no folder image/: videos are expected as image/<video>/*.jpg")
        videos = sorted(p for p in (root / "image").iterdir() if p.is_dir())
        if not videos:
            raise FileNotFoundError(f"no videos under {root / 'image'}")
        self.names = [v.name for v in videos]
        frames = [in_order(v.glob("*.jpg")) for v in videos]
        if empty := [v.name for v, files in zip(videos, frames, strict=True) if not files]:
            raise FileNotFoundError(f"no .jpg frames in {root / 'image' / empty[0]}")
        self.starts = np.cumsum([0, *(len(f) for f in frames)])
        cache.mkdir(parents=True, exist_ok=True)
        # Names, sizes and times of the files: a set rendered anew is read anew.
        listing = "".join(f"{f}{f.stat().st_size}{f.stat().st_mtime_ns}" for video in frames for f in video)
        key = f"{root.name}_{self.starts[-1]}_{hashlib.sha256(listing.encode()).hexdigest()[:12]}"
        # The label file is written last: it is the sign that both are whole.
        rgb_path, label_path = cache / f"{key}_rgb.npy", cache / f"{key}_label{self.suffix()}.npy"
        if not label_path.exists():
            if not rgb_path.exists():
                partial = rgb_path.with_suffix(".part.npy")
                self._fill(frames, partial)
                partial.replace(rgb_path)
            partial = label_path.with_suffix(".part.npy")
            np.save(partial, self.read_labels(root, frames))
            partial.replace(label_path)
        self.rgb = np.load(rgb_path, mmap_mode="r")
        self.label = np.load(label_path, mmap_mode="r")

    def _fill(self, frames: list[list[Path]], path: Path) -> None:
        rgb = np.lib.format.open_memmap(path, "w+", np.uint8, (int(self.starts[-1]), STORE_SIZE, STORE_SIZE, 3))
        flat = [f for video in frames for f in video]
        for i, file in enumerate(tqdm(flat, desc="reading frames", unit="frame")):
            rgb[i] = cv2.resize(read_rgb(file), (STORE_SIZE, STORE_SIZE), interpolation=cv2.INTER_AREA)
        rgb.flush()

    def suffix(self) -> str:
        """Part of the name of the label file: whose labels they are."""
        return ""

    def read_labels(self, root: Path, frames: list[list[Path]]) -> NDArray[np.uint8]:
        """Labels of all frames, [frames, STORE_SIZE, STORE_SIZE]."""
        flat = [f for video in frames for f in video]
        label = np.zeros((len(flat), STORE_SIZE, STORE_SIZE), np.uint8)
        for i, file in enumerate(tqdm(flat, desc=f"reading masks of {root.name}", unit="frame")):
            label[i] = read_label(root / "mask_gt" / file.parent.name, file.stem)
        return label

    def clip(self, rng: np.random.Generator, length: int) -> Clip:
        """``length`` frames of one video at a random stride and direction."""
        video = int(rng.integers(len(self.names)))
        start, stop = int(self.starts[video]), int(self.starts[video + 1])
        stride = int(rng.integers(1, 3)) if (length - 1) * 2 < stop - start else 1
        span = min((length - 1) * stride, stop - start - 1)
        first = int(rng.integers(start, stop - span))
        index = np.minimum(first + stride * np.arange(length), stop - 1)
        if rng.random() < 0.3:
            index = index[::-1]
        return self.rgb[index], self.label[index]


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """A picture as RGB [H, W, 3].

    Raises:
        ValueError: it cannot be read.
    """
    image = cv2.imread(str(path))
    if image is None:
        raise ValueError(f"{path} is not a readable image")
    return np.ascontiguousarray(image[..., ::-1])


def read_label(folder: Path, stem: str) -> NDArray[np.uint8]:
    """Masks ``folder/<000|001>/stem.png`` -> label [STORE_SIZE, STORE_SIZE]; 1 arm, 2 gripper."""
    label = np.zeros((STORE_SIZE, STORE_SIZE), np.uint8)
    for value, part in ((1, "000"), (2, "001")):
        path = folder / part / f"{stem}.png"
        mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        if mask is None:
            raise FileNotFoundError(f"mask {path} is missing or unreadable")
        label[cv2.resize(mask, (STORE_SIZE, STORE_SIZE), interpolation=cv2.INTER_NEAREST) > 127] = value
    return label


class CutoutStore:
    """Shards of robots rendered without background."""

    def __init__(self, folder: Path) -> None:
        self.shards: list[tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]] = []
        # A label file is written last: its shard is complete.
        for label in sorted(folder.glob("label_*.npy")):
            rgb, alpha = (label.with_name(label.name.replace("label_", kind)) for kind in ("rgb_", "alpha_"))
            shard = (np.load(rgb, mmap_mode="r"), np.load(label, mmap_mode="r"), np.load(alpha, mmap_mode="r"))
            self.shards.append(shard)
        if not self.shards:
            raise FileNotFoundError(f"no label_*.npy shards of cut-outs in {folder}")

    def sample(self, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.bool_]]:
        """One cut-out: RGB [S, S, 3], label [S, S] and what it covers [S, S]: robots, and things that are none."""
        rgb, label, alpha = self.shards[int(rng.integers(len(self.shards)))]
        i = int(rng.integers(len(rgb)))
        return np.asarray(rgb[i]), np.asarray(label[i]), (np.asarray(alpha[i]) > 127) | (np.asarray(label[i]) > 0)


class PhotoStore:
    """Photographs, short side at least STORE_SIZE, in memory."""

    def __init__(self, folder: Path) -> None:
        self.images: list[NDArray[np.uint8]] = []
        for path in sorted(folder.glob("*.jpg")):
            image = read_rgb(path)
            scale = 1.2 * STORE_SIZE / min(image.shape[:2])
            resized = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            self.images.append(np.asarray(resized, np.uint8))
        if not self.images:
            raise FileNotFoundError(f"no .jpg photographs in {folder}")

    def sample(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        """A random square crop, resized to [STORE_SIZE, STORE_SIZE, 3]."""
        image = self.images[int(rng.integers(len(self.images)))]
        # Down to close-ups, so that hands, faces and walls fill the picture too.
        side = int(min(image.shape[:2]) * rng.uniform(0.25, 1.0))
        y = int(rng.integers(image.shape[0] - side + 1))
        x = int(rng.integers(image.shape[1] - side + 1))
        crop = np.asarray(cv2.resize(image[y : y + side, x : x + side], (STORE_SIZE, STORE_SIZE)), np.uint8)
        return crop[:, ::-1] if rng.random() < 0.5 else crop


def random_background(rng: np.random.Generator, photos: PhotoStore | None) -> NDArray[np.uint8]:
    """A picture without a robot: a photograph, or a smooth random surface where there are none."""
    if photos is not None:
        return photos.sample(rng)
    coarse = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (STORE_SIZE, STORE_SIZE), interpolation=cv2.INTER_CUBIC), np.uint8)


class MixedClips:
    """Augmented clips of all sources, by their shares; every frame is labelled."""

    def __init__(self, data: DataConfig, augment: AugmentConfig, *, size: int, length: int, cache: Path) -> None:
        self.data, self.augment = data, augment
        self.size, self.length = size, length
        self.stores = [VideoStore(Path(root), cache) for root in data.videos]
        self.cutouts = CutoutStore(Path(data.cutouts)) if data.cutouts else None
        self.photos = PhotoStore(Path(data.photos)) if data.photos else None

    def background(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        """A picture without a robot."""
        return random_background(rng, self.photos)

    def draw(self, rng: np.random.Generator) -> Clip:
        """One augmented clip."""
        kind = rng.random()
        if kind < self.data.photo_share:
            rgb = self.background(rng)
            label = np.zeros(rgb.shape[:2], np.uint8)
        elif self.cutouts is not None and kind < self.data.photo_share + self.data.cutout_share:
            cut, label, covers = self.cutouts.sample(rng)
            base: NDArray[np.uint8]
            if rng.random() < 0.35 and self.stores:
                frames, labels = any_store(self.stores, rng, even=self.data.even).clip(rng, 1)
                base, base_label = np.asarray(frames[0]), np.asarray(labels[0])
            else:
                base = self.background(rng)
                base_label = np.zeros(base.shape[:2], np.uint8)
            rgb = paste_over(base, cut, covers, rng)
            label = np.where(covers, label, base_label)
        else:
            frames, labels = any_store(self.stores, rng, even=self.data.even).clip(rng, self.length)
            return augment_clip(np.asarray(frames), np.asarray(labels), self.background, self.augment, self.size, rng)
        frames, labels = np.repeat(rgb[None], self.length, 0), np.repeat(label[None], self.length, 0)
        return augment_clip(frames, labels, self.background, self.augment, self.size, rng)


Store = TypeVar("Store", bound=VideoStore)


def any_store(stores: list[Store], rng: np.random.Generator, *, even: bool = False) -> Store:
    """A store, drawn by its number of videos: every video is as likely as any other; ``even``: every store is."""
    videos = np.array([1 if even else len(store.names) for store in stores])
    return stores[int(rng.choice(len(videos), p=videos / videos.sum()))]
