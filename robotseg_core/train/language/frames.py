# SPDX-License-Identifier: Apache-2.0
"""Frames that a policy is trained on, from rendered sets and from labelled real frames, into the cache.

Mirrored frames double a set: what is left is right then, in the picture and in what is asked of it, since questions
are made of the mirrored map.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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
from robotseg_core.train.language.cache import (
    Seen,
    cached_frame,
    frame_arrays,
    mirrored_arrays,
    model_key,
    save_cached,
    seen_of,
)


@dataclass(frozen=True, eq=False)
class SourceFrame:
    """A frame [H, W, 3] with its map of instances [H, W], what may be asked of it and who is seen."""

    name: str
    rgb: NDArray[np.uint8]
    ids: NDArray[np.uint16]
    asked: tuple[Asked, ...]
    entities: tuple[Seen, ...]


def rendered_frame(root: Path, video: str, index: int, *, mirrored: bool = False) -> SourceFrame:
    """One frame of a set of `robotseg synth`.

    Raises:
        ValueError: frame or map cannot be read.
    """
    rgb, ids = read_rgb(root / "image" / video / f"{index:05d}.jpg"), read_ids(root, video, index)
    if mirrored:
        rgb, ids = np.ascontiguousarray(rgb[:, ::-1]), np.ascontiguousarray(ids[:, ::-1])
    scene = frame_scene(read_ids_meta(root, video), index, ids)
    name = f"{video}-{index:05d}{'-m' if mirrored else ''}"
    return SourceFrame(name, rgb, ids, tuple(asked_of(scene, ids)), seen_of(scene))


def labelled_frame(name: str, picture: Path, files: dict[str, Path], *, mirrored: bool = False) -> SourceFrame:
    """One labelled real frame; a mask whose file is not there is empty."""
    rgb, masks = read_labelled(picture, files)
    if mirrored:
        rgb = np.ascontiguousarray(rgb[:, ::-1])
        masks = {part: np.ascontiguousarray(mask[:, ::-1]) for part, mask in masks.items()}
    scene, ids = labelled_scene(masks)
    return SourceFrame(f"{name}{'-m' if mirrored else ''}", rgb, ids, tuple(labelled_asked(scene, ids)), seen_of(scene))


def cache_set(
    robotseg: RobotSeg, cache: Path, name: str, root: Path, *, frames: int, mirrored: bool, kind: str = "rendered"
) -> Path:
    """Put a set into the cache; what is there already is left.  Returns its folder.

    Args:
        cache: folder of caches.
        name: of the set.
        root: of the set.
        frames: of a rendered video, spread evenly.
        mirrored: each frame once more, mirrored, and its features with it: they are computed once.
        kind: ``rendered``, ``labelled`` (real frames with masks) or ``bare`` (pictures without a robot).

    Raises:
        ValueError: unknown kind, or a file that cannot be read.
    """
    folder = cache / model_key(robotseg) / name
    ways = (False, True) if mirrored else (False,)
    jobs: list[tuple[str, object]] = []
    if kind == "rendered":
        for video in complete_videos(root):
            count = len(read_ids_meta(root, video).frames)
            for index in sorted({round(k * (count - 1) / max(1, frames - 1)) for k in range(frames)}):
                jobs.append((f"{video}-{index:05d}", (video, index)))
    elif kind == "labelled":
        jobs = [(frame, (frame, picture, masks)) for frame, picture, masks in labelled_frames(root)]
    elif kind == "bare":
        jobs = [(f"{p.parent.name}-{p.stem}", (f"{p.parent.name}-{p.stem}", p, {"robot": Path("-"), "arm": Path("-"),
                 "gripper": Path("-")})) for p in sorted(root.glob("*/*.jpg"))]  # fmt: skip
    else:
        raise ValueError(f"kind is {kind!r}, must be rendered, labelled or bare")
    for stem, job in tqdm(jobs, desc=f"cache {name}", unit="frame"):
        if all((folder / f"{stem}{'-m' if way else ''}.safetensors").is_file() for way in ways):
            continue
        arrays: dict[str, NDArray] = {}
        for way in ways:
            if kind == "rendered":
                source = rendered_frame(root, *job, mirrored=way)  # type: ignore[misc]
            else:
                source = labelled_frame(*job, mirrored=way)  # type: ignore[misc]
            arrays = mirrored_arrays(arrays) if way else frame_arrays(robotseg, source.rgb)
            save_cached(folder, cached_frame(source.name, arrays, source.ids, source.asked, source.entities))
    return folder
