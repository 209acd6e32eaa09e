# SPDX-License-Identifier: Apache-2.0
"""Instance maps on disk: ``ids/<video>/%05d.png`` (16 bit, one channel) and ``ids/<video>/meta.json``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from robotseg_core.synth.instances.records import SCHEMA, FrameRecord, SceneRecord, VideoMeta


@dataclass(frozen=True)
class VideoIds:
    """What a video's ``meta.json`` says, as plain dictionaries of the schema.

    Attributes:
        instances: by id.
        robots, grippers, limbs: in order of their numbers.
        frames: for each frame ``camera``, ``grippers`` and ``instances`` (by id as text).
        events: what happens in it.
        size: (width, height), pixels.
        view, background: as in the video's description.
    """

    instances: dict[int, dict[str, Any]]
    robots: tuple[dict[str, Any], ...]
    grippers: tuple[dict[str, Any], ...]
    limbs: tuple[dict[str, Any], ...]
    frames: tuple[dict[str, Any], ...]
    events: tuple[str, ...]
    size: tuple[int, int]
    view: str
    background: str


def write_ids(root: Path, video: str, index: int, ids: NDArray[np.uint16]) -> None:
    """Write one frame's map [H, W]."""
    folder = root / "ids" / video
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{index:05d}.png"
    if not cv2.imwrite(str(path), ids, [cv2.IMWRITE_PNG_COMPRESSION, 6]):
        raise OSError(f"cannot write {path}")


def write_ids_meta(
    root: Path, video: str, scene: SceneRecord, frames: Sequence[FrameRecord], size: tuple[int, int], meta: VideoMeta
) -> None:
    """Write ``meta.json``; ``size`` is (width, height)."""
    text = asdict(scene)
    doc = {
        "schema": SCHEMA,
        "size": list(size),
        "frames": len(frames),
        "seed": meta.seed,
        "view": meta.view,
        "background": meta.bg,
        **{name: text[name] for name in ("events", "instances", "robots", "grippers", "limbs")},
        "frames_meta": [asdict(f) for f in frames],
    }
    path = root / "ids" / video / "meta.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(doc, separators=(",", ":")))


def read_ids(root: Path, video: str, index: int) -> NDArray[np.uint16]:
    """One frame's map, [H, W] uint16.

    Raises:
        ValueError: missing, or not 16 bit with one channel.
    """
    path = root / "ids" / video / f"{index:05d}.png"
    ids = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if ids is None:
        raise ValueError(f"{path} is not a readable picture")
    if ids.dtype != np.uint16 or ids.ndim != 2:
        raise ValueError(f"{path}: an instance map is 16 bit with one channel, this is {ids.dtype} {ids.shape}")
    return np.asarray(ids, np.uint16)


def read_ids_meta(root: Path, video: str) -> VideoIds:
    """The description of a video's maps.

    Raises:
        FileNotFoundError: the video has none.
        ValueError: of another schema.
    """
    path = root / "ids" / video / "meta.json"
    doc = json.loads(path.read_text())
    if doc.get("schema") != SCHEMA:
        raise ValueError(f"{path} has schema {doc.get('schema')}, this program reads {SCHEMA}: render the set again")
    return VideoIds(
        {int(i["id"]): i for i in doc["instances"]},
        tuple(doc["robots"]),
        tuple(doc["grippers"]),
        tuple(doc["limbs"]),
        tuple(doc["frames_meta"]),
        tuple(doc["events"]),
        (int(doc["size"][0]), int(doc["size"][1])),
        str(doc["view"]),
        str(doc["background"]),
    )


def tint_ids(rgb: NDArray[np.uint8], ids: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """The frame [H, W, 3] with every leaf in a colour of its own; the background stays."""
    hue = (np.arange(int(ids.max()) + 1) * 97 % 180).astype(np.uint8)
    full = np.full_like(hue, 255)
    colours = cv2.cvtColor(np.stack([hue, full, full], axis=1)[None], cv2.COLOR_HSV2RGB)[0]
    tinted = 0.4 * rgb + 0.6 * colours[ids]
    return np.where(ids[..., None] > 0, tinted, rgb).astype(np.uint8)
