# SPDX-License-Identifier: Apache-2.0
"""Videos that are augmented as image files: VRS layout, folders of images; and video files, which become such."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from robotseg_core.augment.change import Changed
from robotseg_core.augment.clip import Clip, Masks, Rgb
from robotseg_core.augment.layout import Piece, Sink
from robotseg_core.files.frames import (
    IMAGE_SUFFIXES,
    VIDEO_SUFFIXES,
    InputError,
    list_images,
    open_frames,
    read_image,
)
from robotseg_core.files.mask_files import FOLDERS, write_png

JPEG_QUALITY = 95
MASKS = "mask_gt"


class Frames:
    """Frames as image files: VRS layout, a folder of images, of such folders or of video files, or a video file.

    Pictures keep their places and names; masks are written to ``mask_gt/<video>/000|001|002/`` unless the video brings
    masks that stay true.  A video file becomes ``image/<name>/*.jpg``.

    Args:
        root: the folder or file.
        own_masks: ``given``: of ``mask_gt``, an error where there are none; ``model``: found; ``auto``: given ones for
            videos all of whose frames have them.
        keep_masks: whether the masks stay true, so that those that are there are copied.

    Raises:
        ValueError: there is no video, or it has no masks to be given.
    """

    def __init__(self, root: Path, own_masks: str, keep_masks: bool) -> None:
        self.left_out: set[Path] = set()
        self._places: dict[str, dict[str, Path]] = {}
        self._copied: set[str] = set()
        if root.is_file():
            self.pieces: tuple[Piece, ...] = (Piece(root.stem, (_video(root),)),)
            return
        pieces = []
        for name, folder in _folders(root):
            files = list_images(folder)
            if not files:
                continue
            clip = _folder_clip(root, name, files, own_masks)
            self._places[name] = {file.stem: file.relative_to(root) for file in files}
            self.left_out |= set(self._places[name].values())
            theirs = sorted((root / MASKS / name).glob("*/*.png"))
            if theirs and keep_masks:
                self._copied.add(name)
            else:
                self.left_out |= {file.relative_to(root) for file in theirs}
            pieces.append(Piece(name, (clip,)))
        self.pieces = tuple(pieces) or self._videos(root)

    def _videos(self, root: Path) -> tuple[Piece, ...]:
        """A piece for each video file that lies in a folder."""
        files = sorted(f for f in root.iterdir() if f.suffix.lower() in VIDEO_SUFFIXES and not f.name.startswith("."))
        if not files:
            raise InputError(
                f"{root} has no images ({', '.join(sorted(IMAGE_SUFFIXES))}), no folders of images and no videos "
                f"({', '.join(sorted(VIDEO_SUFFIXES))})"
            )
        for file, after in pairwise(files):
            if file.stem == after.stem:
                raise InputError(f"{root} has {file.name} and {after.name}; their frames would be mixed")
        self.left_out |= {file.relative_to(root) for file in files}
        return tuple(Piece(file.stem, (_video(file),)) for file in files)

    @contextmanager
    def sink(self, piece: Piece, target: Path) -> Iterator[Sink]:
        """Files of one video."""
        yield _FrameSink(target, piece.name, self._places.get(piece.name), piece.name not in self._copied)


class _FrameSink:
    def __init__(self, target: Path, name: str, places: dict[str, Path] | None, masks: bool) -> None:
        self._target, self._name, self._places = target, name, places
        self._masks = target / MASKS / name if masks else None
        for folder in FOLDERS.values() if masks else ():
            (target / MASKS / name / folder).mkdir(parents=True, exist_ok=True)

    def write(self, clip: Clip, frame: Changed) -> None:
        place = self._places[frame.name] if self._places else Path("image", self._name, f"{frame.name}.jpg")
        path = self._target / place
        path.parent.mkdir(parents=True, exist_ok=True)
        options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if path.suffix.lower() in (".jpg", ".jpeg") else []
        good, coded = cv2.imencode(path.suffix.lower(), frame.rgb[..., ::-1], options)
        if not good:
            raise OSError(f"{path} cannot be encoded")
        path.write_bytes(coded.tobytes())
        if self._masks is not None:
            of_part = {"arm": frame.masks.arm, "gripper": frame.masks.gripper, "robot": frame.masks.robot}
            for part, mask in of_part.items():
                write_png(self._masks / FOLDERS[part] / f"{frame.name}.png", mask * np.uint8(255))


def open_clip(path: Path) -> Clip:
    """A single video: a file, or a folder of images.

    Raises:
        ValueError: it is none.
    """
    if path.is_dir():
        files = list_images(path)
        if not files:
            raise InputError(f"{path} has no images")
        return _folder_clip(path, path.name, files, "model")
    return _video(path)


def _folders(root: Path) -> list[tuple[str, Path]]:
    """(name, folder) of each video below a root."""
    for known in ("image", "frames"):
        if (root / known).is_dir():
            root = root / known
            break
    else:
        if list_images(root):
            return [(root.name, root)]
    return [(folder.name, folder) for folder in sorted(root.iterdir()) if folder.is_dir() and folder.name != MASKS]


def _video(path: Path) -> Clip:
    # Once to see that it can be read, and how long it is.
    opened = open_frames(str(path))
    if opened.live:
        raise InputError(f"{path} is a camera; files are augmented")

    def frames() -> Iterator[tuple[str, Rgb]]:
        for name, bgr in open_frames(str(path)).frames:
            yield name, np.ascontiguousarray(bgr[..., ::-1])

    return Clip(path.stem, opened.count or 1, frames)


def _folder_clip(root: Path, name: str, files: list[Path], own_masks: str) -> Clip:
    def frames() -> Iterator[tuple[str, Rgb]]:
        for file in files:
            yield file.stem, np.ascontiguousarray(read_image(file)[..., ::-1], np.uint8)

    folders = {part: root / MASKS / name / folder for part, folder in FOLDERS.items()}
    stems = {part: {file.stem for file in folder.glob("*.png")} for part, folder in folders.items()}
    whole = all(file.stem in stems["robot"] or file.stem in stems["arm"] for file in files)
    if own_masks == "given" and not whole:
        raise InputError(f"{root / MASKS / name} has not a mask of each of the {len(files)} frames")

    def given(stem: str, size: tuple[int, int]) -> Masks:
        found = {part: _mask(folders[part] / f"{stem}.png", size) for part in stems if stem in stems[part]}
        nothing = np.zeros(size, bool)
        gripper = found.get("gripper", nothing)
        return Masks(found.get("arm", found.get("robot", nothing)) & ~gripper, gripper)

    return Clip(name, len(files), frames, given if whole and own_masks != "model" else None)


def _mask(path: Path, size: tuple[int, int]) -> NDArray[np.bool_]:
    mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if mask is None:
        raise InputError(f"{path} cannot be read as an image")
    if mask.shape != size:
        raise InputError(f"{path} is {mask.shape[1]} x {mask.shape[0]}, its frame is {size[1]} x {size[0]}")
    return np.asarray(mask > 0)
