# SPDX-License-Identifier: Apache-2.0
"""Which layout a folder or file has."""

from __future__ import annotations

from pathlib import Path

from robotseg_core.augment.folders import Frames
from robotseg_core.augment.layout import Layout
from robotseg_core.files.frames import InputError


def open_layout(root: Path, own_masks: str, keep_masks: bool, cameras: list[str] | None) -> Layout:
    """The layout of a folder or file.

    Args:
        root: the folder or file.
        own_masks: as of :class:`Frames`; data sets of LeRobot have none.
        keep_masks: as of :class:`Frames`.
        cameras: of a LeRobot data set; None: all.

    Raises:
        ValueError: it is nothing of the kind.
        OSError: it cannot be read.
    """
    if not root.exists():
        raise InputError(
            f"{root} does not exist; give a folder in VRS layout, of images, of videos, of LeRobot, or a video file"
        )
    if (root / "meta" / "info.json").is_file():
        if own_masks == "given":
            raise ValueError(f"{root} is a LeRobot data set, whose masks are found: --masks given is not for it")
        try:
            # Needs pyarrow and PyAV, which other layouts do not.
            from robotseg_core.augment.lerobot import LeRobotVideos
        except ImportError as error:
            raise ValueError(f"LeRobot data sets need {error.name}: pip install pyarrow av") from error
        return LeRobotVideos(root, cameras)
    if cameras:
        raise ValueError(f"--camera is for LeRobot data sets, {root} is none")
    return Frames(root, own_masks, keep_masks)
