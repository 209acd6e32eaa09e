# SPDX-License-Identifier: Apache-2.0
"""Requests about labelled real frames: masks of arm, gripper and robot without instances.

Separate pieces of a mask stand for separate arms, grippers, robots; two that touch in the picture count as one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from robotseg_core.files.pictures import read_rgb
from robotseg_core.instruct.candidates import pieces
from robotseg_core.synth.requests.programs import Asked, asked_of
from robotseg_core.synth.requests.scene import Entity, FrameScene

FOLDERS = {"arm": "000", "gripper": "001", "robot": "002"}
"""Of the masks, below ``mask_gt/<clip>/``."""
FAMILIES = ("part", "whole", "side", "absence", "exclusion", "ambiguity")
"""What separate pieces of masks can answer; which arm carries which gripper, colours and states they cannot."""


def labelled_scene(masks: dict[str, NDArray[np.bool_]]) -> tuple[FrameScene, NDArray[np.uint16]]:
    """A scene of the masks [H, W] of the three parts, and its map of instances.

    Pieces of arms and grippers are leaves, a robot has those that lie in its piece.
    """
    height, width = masks["robot"].shape
    ids = np.zeros((height, width), np.uint16)
    found: dict[str, list[Entity]] = {"arm": [], "gripper": [], "robot": []}
    for kind in ("arm", "gripper"):
        for number, piece in enumerate(pieces(masks[kind])):
            leaf = int(ids.max()) + 1
            ids[piece.mask] = leaf
            centre = (piece.centre[0] / width, piece.centre[1] / height)
            found[kind].append(Entity(kind, number, "", (leaf,), piece.area, centre, ()))
    for number, piece in enumerate(pieces(masks["robot"])):
        leaves = tuple(int(i) for i in np.unique(ids[piece.mask]) if i)
        if leaves:
            centre = (piece.centre[0] / width, piece.centre[1] / height)
            found["robot"].append(Entity("robot", number, "", leaves, piece.area, centre, ()))
    robots, arms, grippers = (
        tuple(sorted(found[kind], key=lambda e: e.centre)) for kind in ("robot", "arm", "gripper")
    )
    return FrameScene(robots, arms, grippers, (), frozenset()), ids


def labelled_asked(scene: FrameScene, ids: NDArray[np.uint16]) -> list[Asked]:
    """What may be asked of such a scene."""
    return [one for one in asked_of(scene, ids) if one.family in FAMILIES and one.phrasing != "attribute"]


def labelled_frames(root: Path) -> Iterator[tuple[str, Path, dict[str, Path]]]:
    """Name, picture and mask files of each labelled frame of ``image/<clip>/*.jpg`` with ``mask_gt/<clip>/00N/*.png``.

    Raises:
        ValueError: there is none.
    """
    none = True
    for path in sorted((root / "image").glob("*/*.jpg")):
        folder = root / "mask_gt" / path.parent.name
        files = {part: folder / number / f"{path.stem}.png" for part, number in FOLDERS.items()}
        if files["robot"].is_file():
            none = False
            yield f"{path.parent.name}-{path.stem}", path, files
    if none:
        raise ValueError(f"{root} has no image/<clip>/*.jpg with masks in mask_gt/<clip>/002/")


def read_labelled(picture: Path, files: dict[str, Path]) -> tuple[NDArray[np.uint8], dict[str, NDArray[np.bool_]]]:
    """Picture [H, W, 3] and masks [H, W]; one whose file is not there is empty.

    Raises:
        ValueError: a file cannot be read, or is of another size.
    """
    rgb = read_rgb(picture)
    masks = {}
    for part, path in files.items():
        masks[part] = np.zeros(rgb.shape[:2], bool)
        if path.is_file():
            grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            if grey is None or grey.shape != rgb.shape[:2]:
                raise ValueError(f"{path} is no mask of {rgb.shape[1]} x {rgb.shape[0]}")
            masks[part] = grey > 127
    return rgb, masks
