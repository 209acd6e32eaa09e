# SPDX-License-Identifier: Apache-2.0
"""Frames that a policy is trained on, from rendered sets and from labelled real frames, into the cache.

Mirrored frames double a set: what is left is right then, in the picture and in what is asked of it, since questions
are made of the mirrored map.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from robotseg_core.files.pictures import read_rgb
from robotseg_core.stream.robotseg import RobotSeg
from robotseg_core.synth.instances.files import read_ids, read_ids_meta
from robotseg_core.synth.requests.generate import complete_videos
from robotseg_core.synth.requests.labelled import (
    labelled_asked,
    labelled_frames,
    labelled_scene,
    read_labelled,
)
from robotseg_core.synth.requests.programs import Asked, asked_of
from robotseg_core.synth.requests.scene import frame_scene
from robotseg_core.train.hinted.packs.files import PackedVideo
from robotseg_core.train.language.cache import (
    Seen,
    cached_frame,
    frame_arrays,
    mirrored_arrays,
    model_key,
    save_cached,
    seen_of,
)
from robotseg_core.train.language.packed import packed_asked, packed_frame, packed_scene, packs_of, rendered_in
from robotseg_core.types import PARTS

Picture = TypeVar("Picture", bound=NDArray)


@dataclass(frozen=True, eq=False)
class SourceFrame:
    """A frame [H, W, 3] with its map of instances [H, W], what may be asked of it and who is seen."""

    rgb: NDArray[np.uint8]
    ids: NDArray[np.uint16]
    asked: tuple[Asked, ...]
    entities: tuple[Seen, ...]


def rendered_frame(root: Path, video: str, index: int, mirrored: bool = False) -> SourceFrame:
    """One frame of a set of `robotseg synth`.

    Raises:
        ValueError: frame or map cannot be read.
    """
    rgb, ids = read_rgb(root / "image" / video / f"{index:05d}.jpg"), read_ids(root, video, index)
    if mirrored:
        rgb, ids = _mirror(rgb), _mirror(ids)
    scene = frame_scene(read_ids_meta(root, video), index, ids)
    return SourceFrame(rgb, ids, tuple(asked_of(scene, ids)), seen_of(scene))


def packed_source(pack: Path, video: PackedVideo, index: int, mirrored: bool = False) -> SourceFrame:
    """One frame of a pack.

    Raises:
        ValueError: the pack cannot be read.
    """
    rgb, ids = packed_frame(pack, video, index)
    if mirrored:
        rgb, ids = _mirror(rgb), _mirror(ids)
    scene = packed_scene(video.groups, ids)
    return SourceFrame(rgb, ids, tuple(packed_asked(scene, ids)), seen_of(scene))


def labelled_frame(picture: Path, files: dict[str, Path], mirrored: bool = False) -> SourceFrame:
    """One labelled real frame; a mask whose file is not there is empty."""
    rgb, masks = read_labelled(picture, files)
    if mirrored:
        rgb = _mirror(rgb)
        masks = {part: _mirror(mask) for part, mask in masks.items()}
    scene, ids = labelled_scene(masks)
    return SourceFrame(rgb, ids, tuple(labelled_asked(scene, ids)), seen_of(scene))


def _mirror(picture: Picture) -> Picture:
    return np.ascontiguousarray(picture[:, ::-1])  # type: ignore[return-value]


def cache_set(
    robotseg: RobotSeg, cache: Path, name: str, root: Path, *, frames: int, mirrored: bool, kind: str = "rendered"
) -> Path:
    """Put a set into the cache; what is there already is left.  Returns its folder.

    Args:
        cache: folder of caches.
        name: of the set.
        root: of the set.
        frames: of a rendered or packed video, spread evenly.
        mirrored: each frame once more, mirrored, and its features with it: they are computed once.
        kind: ``rendered``, ``packed`` (packs of rendered videos), ``labelled`` (real frames with masks) or ``bare``
            (pictures without a robot).

    Raises:
        ValueError: unknown kind, or a file that cannot be read.
    """
    folder = cache / model_key(robotseg) / name
    jobs = list(_jobs(root, kind, frames))
    for stem, source_of in tqdm(jobs, desc=f"cache {name}", unit="frame"):
        ways = {f"{stem}{'-m' if way else ''}": way for way in ((False, True) if mirrored else (False,))}
        if all((folder / f"{one}.safetensors").is_file() for one in ways):
            continue
        arrays: dict[str, NDArray] = {}
        for one, way in ways.items():
            source = source_of(way)
            arrays = mirrored_arrays(arrays) if way else frame_arrays(robotseg, source.rgb)
            save_cached(folder, cached_frame(one, arrays, source.ids, source.asked, source.entities))
    return folder


def _jobs(root: Path, kind: str, frames: int) -> Iterator[tuple[str, Callable[[bool], SourceFrame]]]:
    """Name of each frame, and how it is read: whether mirrored."""
    if kind == "rendered":
        for video in complete_videos(root):
            for index in _spread(len(read_ids_meta(root, video).frames), frames):
                yield f"{video}-{index:05d}", functools.partial(rendered_frame, root, video, index)
    elif kind == "packed":
        for pack in packs_of(root):
            for packed in rendered_in(pack):
                for index in _spread(packed.stop - packed.first, frames):
                    stem = f"{pack.stem}-{packed.name}-{index:05d}"
                    yield stem, functools.partial(packed_source, pack, packed, index)
    elif kind == "labelled":
        for stem, picture, masks in labelled_frames(root):
            yield stem, functools.partial(labelled_frame, picture, masks)
    elif kind == "bare":
        for picture in sorted(root.glob("*/*.jpg")):
            nothing = {part: Path("-") for part in PARTS}
            yield f"{picture.parent.name}-{picture.stem}", functools.partial(labelled_frame, picture, nothing)
    else:
        raise ValueError(f"kind is {kind!r}, must be rendered, packed, labelled or bare")


def _spread(count: int, frames: int) -> list[int]:
    return sorted({round(k * (count - 1) / max(1, frames - 1)) for k in range(frames)})
