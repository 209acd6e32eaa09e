# SPDX-License-Identifier: Apache-2.0
"""Write videos in VRS layout: ``image/<video>/%05d.jpg``, ``mask_gt/<video>/000|001|002/%05d.png``, ``meta.json``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from robotseg_core.files.overlay import contact_sheet
from robotseg_core.synth.robots.robot import ARM, BACKGROUND, GRIPPER

PART_FOLDERS: tuple[str, str, str] = ("000", "001", "002")
"""Folders of arm, gripper and robot."""


def part_masks(label: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """Arm, gripper and robot as [H, W] uint8 0 or 255, of a label image."""
    on, off = np.uint8(255), np.uint8(0)
    return (
        np.where(label == ARM, on, off),
        np.where(label == GRIPPER, on, off),
        np.where(label != BACKGROUND, on, off),
    )


def _write(path: Path, image: NDArray[np.uint8] | NDArray[np.uint16], options: list[int]) -> None:
    if not cv2.imwrite(str(path), image, options):
        raise OSError(f"cannot write {path}")


def write_frame(
    root: Path, video: str, index: int, rgb: NDArray[np.uint8], label: NDArray[np.uint8], jpeg: int
) -> None:
    """Write one frame [H, W, 3] uint8 RGB and the masks of its label [H, W] (1 arm, 2 gripper).

    ``jpeg`` is the quality, 1 to 100."""
    folder = root / "image" / video
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / f"{index:05d}.jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, jpeg])
    write_masks(root / "mask_gt" / video, index, label)


def write_masks(folder: Path, index: int, label: NDArray[np.uint8]) -> None:
    """Write the three masks of one frame under ``folder``."""
    for name, mask in zip(PART_FOLDERS, part_masks(label), strict=True):
        (folder / name).mkdir(parents=True, exist_ok=True)
        _write(folder / name / f"{index:05d}.png", mask, [cv2.IMWRITE_PNG_COMPRESSION, 9, cv2.IMWRITE_PNG_BILEVEL, 1])


def write_depth(root: Path, video: str, index: int, depth: NDArray[np.uint16]) -> None:
    """Write the distances [H, W] of one frame, mm, as ``depth/<video>/%05d.png`` of 16 bits."""
    folder = root / "depth" / video
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / f"{index:05d}.png", depth, [])


def is_done(root: Path, video: str) -> bool:
    """Whether the video was written to its end."""
    return (root / "mask_gt" / video / "meta.json").is_file()


def finish(root: Path, video: str, meta: dict[str, Any]) -> None:
    """Write ``meta.json``, which marks the video as complete."""
    folder = root / "mask_gt" / video
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / "meta.json.tmp"
    part.write_text(json.dumps(meta))
    part.replace(folder / "meta.json")


def publish(part: Path, out: Path, video: str) -> None:
    """Move a complete video from ``part`` into the set ``out``, its ``mask_gt`` last; what was there gives way."""
    for folder in ("depth", "ids", "image", "mask_gt"):
        source, target = part / folder / video, out / folder / video
        if source.is_dir():
            shutil.rmtree(target, ignore_errors=True)
            target.parent.mkdir(parents=True, exist_ok=True)
            source.rename(target)
    shutil.rmtree(part)


def overlay(rgb: NDArray[np.uint8], label: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The frame [H, W, 3] uint8 RGB with the arm, 1 in the label [H, W], tinted green and the gripper red."""
    out = rgb.astype(np.float32)
    for part, colour in ((ARM, (0, 255, 0)), (GRIPPER, (255, 0, 0))):
        out[label == part] = 0.55 * out[label == part] + 0.45 * np.array(colour)
    return out.astype(np.uint8)


def write_sheet(path: Path, tiles: list[NDArray[np.uint8]], columns: int = 8, width: int = 192) -> None:
    """Write a contact sheet of RGB pictures."""
    _write(path, contact_sheet([("", tile) for tile in tiles], columns=columns, width=width)[..., ::-1], [])
