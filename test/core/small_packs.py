# SPDX-License-Identifier: Apache-2.0
"""Packs with two rendered videos, a real picture, a real video with two labelled frames, photographs."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from robotseg_core.train.hinted.packs.files import Group, PackWriter, Pictures, read_packs

SIDE = 96


def robot(
    x: float, colour: tuple[int, int, int], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """BGR, part and ids of a bar (arm, id 1) with a disk at its end (gripper, id 2) at ``x``, and a square (id 3)."""
    bgr = rng.integers(0, 60, (SIDE, SIDE, 3)).astype(np.uint8)
    part, ids = np.zeros((SIDE, SIDE), np.uint8), np.zeros((SIDE, SIDE), np.uint8)
    at = int(x * SIDE)
    cv2.rectangle(bgr, (5, 70), (20, 85), (0, 200, 200), -1)
    cv2.rectangle(ids, (5, 70), (20, 85), 3, -1)
    for image, arm, hand in ((bgr, colour, (255, 255, 255)), (part, 1, 2), (ids, 1, 2)):
        cv2.rectangle(image, (at - 6, 10), (at + 6, 55), arm, -1)
        cv2.circle(image, (at, 62), 11, hand, -1)
    return bgr, part, ids


def small_packs(folder: Path) -> list[Path]:
    """Write them, once."""
    rng = np.random.default_rng(0)
    path = folder / "small.zip"
    if path.exists():
        return [path]
    writer = PackWriter(path, 95)
    groups = [Group("object", (3,)), Group("gripper", (2,)), Group("robot", (1, 2)), Group("link", (1,))]
    for number, colour in enumerate(((0, 0, 220), (220, 60, 0))):
        writer.begin(f"video_{number}", "rendered", groups)
        for t in range(8):
            writer.add(*robot(0.35 + 0.05 * t, colour, rng))
    writer.begin("real/00000", "real")
    writer.add(*robot(0.6, (90, 160, 90), rng)[:2], None)
    writer.begin("real_video", "real")
    for t in range(5):
        bgr, part, _ = robot(0.4 + 0.05 * t, (160, 160, 90), rng)
        writer.add(bgr, part if t in (0, 3) else None, None)
    for source in ("photo", "bare", "photo"):
        bgr = cv2.resize(
            rng.integers(0, 255, (4, 4, 3)).astype(np.uint8), (SIDE, SIDE), interpolation=cv2.INTER_NEAREST
        )
        ids = cv2.resize(np.arange(1, 17, dtype=np.uint8).reshape(4, 4), (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)
        writer.begin(source, source, [Group("region", (i,)) for i in range(1, 17)])
        writer.add(bgr, np.zeros((SIDE, SIDE), np.uint8), ids)
    writer.close()
    return [path]


def small_pictures(folder: Path) -> Pictures:
    """The same, read."""
    return read_packs(small_packs(folder), SIDE, workers=2)
