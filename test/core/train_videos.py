# SPDX-License-Identifier: Apache-2.0
"""Drawn videos in VRS layout, small enough to train on in a test."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np


def make_videos(root: Path, videos: int = 2, frames: int = 4) -> Path:
    """A bright square is the arm, a dark one the gripper."""
    for v in range(videos):
        (root / "image" / f"v{v}").mkdir(parents=True)
        for part in ("000", "001", "002"):
            (root / "mask_gt" / f"v{v}" / part).mkdir(parents=True)
        for f in range(frames):
            image = np.full((64, 64, 3), 90 + 20 * v, np.uint8)
            arm, gripper = np.zeros((64, 64), np.uint8), np.zeros((64, 64), np.uint8)
            arm[10 + f : 40 + f, 20:36] = 255
            gripper[40 + f : 52 + f, 20:36] = 255
            image[arm > 0], image[gripper > 0] = 230, 10
            cv2.imwrite(str(root / "image" / f"v{v}" / f"{f:05d}.jpg"), image)
            for part, mask in (("000", arm), ("001", gripper), ("002", arm | gripper)):
                cv2.imwrite(str(root / "mask_gt" / f"v{v}" / part / f"{f:05d}.png"), mask)
    return root
