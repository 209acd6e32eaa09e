# SPDX-License-Identifier: Apache-2.0
"""Frames of packs of rendered videos (`robotseg_core.train.hinted.packs`): small files that keep who is where.

What packs do not keep cannot be asked for: colours, things and their names, what a gripper holds.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robotseg_core.synth.requests.programs import Asked, asked_of
from robotseg_core.synth.requests.scene import MIN_SHARE, Entity, FrameScene
from robotseg_core.train.hinted.packs.files import Group, PackedVideo, Pictures, read_index, read_packs

FAMILIES = ("part", "whole", "side", "order", "number", "size", "composition", "absence", "exclusion", "ambiguity")
SIDE = 384
"""Pixels along a side of a frame."""


def packs_of(root: Path) -> list[Path]:
    """The packs of a folder, or the one that ``root`` is.

    Raises:
        ValueError: there is none.
    """
    found = [root] if root.is_file() else sorted(root.glob("*.zip"))
    if not found:
        raise ValueError(f"{root} holds no packs (*.zip)")
    return found


def rendered_in(pack: Path) -> list[PackedVideo]:
    """The rendered videos of a pack."""
    return [video for video in read_index(pack) if video.source == "rendered" and video.groups]


def packed_frame(pack: Path, video: PackedVideo, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """Picture [S, S, 3] RGB and map of instances [S, S] of a frame of a video, counted from 0."""
    pictures, row = _pictures(pack), video.first + index
    return np.ascontiguousarray(pictures.bgr[row][..., ::-1]), pictures.ids[row].astype(np.uint16)


@functools.lru_cache(maxsize=1)
def _pictures(pack: Path) -> Pictures:
    return read_packs([pack], SIDE, workers=1)


def packed_scene(groups: Sequence[Group], ids: NDArray[np.uint16]) -> FrameScene:
    """Who is seen in a map of instances [S, S]; a robot of several limbs has as many arms."""
    known = [group for group in groups if group.role in ("robot", "arm", "gripper")]
    robots = [set(group.ids) for group in known if group.role == "robot"]
    hidden: set[str] = set()

    def owner(leaves: Sequence[int]) -> int | None:
        return next((number for number, robot in enumerate(robots) if robot & set(leaves)), None)

    def entity(kind: str, number: int, leaves: Sequence[int]) -> Entity | None:
        mask = np.isin(ids, leaves)
        area = int(mask.sum())
        if area < MIN_SHARE * ids.size:
            hidden.update([kind] if area else [])
            return None
        rows, columns = np.nonzero(mask)
        centre = (float(columns.mean()) / ids.shape[1], float(rows.mean()) / ids.shape[0])
        return Entity(kind, number, "", tuple(sorted(leaves)), area, centre, (), owner(leaves))

    arms: list[Entity | None] = []
    for number in range(len(robots)):
        own = [group.ids for group in known if group.role == "arm" and owner(group.ids) == number]
        # First all links that are no gripper's, then limb after limb.
        limbs = own[1:] if len(own) > 2 else own[:1]
        arms += [entity("arm", number, leaves) for leaves in limbs]
    grippers = [entity("gripper", i, g.ids) for i, g in enumerate(k for k in known if k.role == "gripper")]
    whole = [entity("robot", number, tuple(leaves)) for number, leaves in enumerate(robots)]

    def seen(found: list[Entity | None]) -> tuple[Entity, ...]:
        return tuple(sorted((e for e in found if e is not None), key=lambda e: e.centre))

    return FrameScene(seen(whole), seen(arms), seen(grippers), (), frozenset(hidden))


def packed_asked(scene: FrameScene, ids: NDArray[np.uint16]) -> list[Asked]:
    """What may be asked of such a scene."""
    return [one for one in asked_of(scene, ids) if one.family in FAMILIES and one.phrasing != "attribute"]
