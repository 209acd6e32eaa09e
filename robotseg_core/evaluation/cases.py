# SPDX-License-Identifier: Apache-2.0
"""Worst, typical and best cases as pictures: image, truth and answer side by side."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from robotseg_core.evaluation.metrics import Mask
from robotseg_core.evaluation.scores import VideoScore
from robotseg_core.files.overlay import COLOURS, OPACITY, contact_sheet

COLOURS_OF_PARTS: dict[str, tuple[int, int, int]] = {"robot": (40, 200, 90), **COLOURS}
"""RGB; the robot's is seen where neither arm nor gripper is drawn over it."""
PANEL = 320
"""Width of each of the three pictures, pixels."""
SHOWN = 6
"""Videos on a sheet."""


def draw_case(
    rgb: NDArray[np.uint8], truth: Mapping[str, Mask | None], answer: Mapping[str, Mask]
) -> NDArray[np.uint8]:
    """Image [H, W, 3], truth and answer side by side -> [h, 3 * PANEL, 3] RGB."""
    panels = [rgb, _marked(rgb, truth), _marked(rgb, answer)]
    height = max(1, round(PANEL * rgb.shape[0] / rgb.shape[1]))
    small = [cv2.resize(panel, (PANEL, height), interpolation=cv2.INTER_AREA) for panel in panels]
    return np.asarray(np.hstack(small), np.uint8)


def _marked(rgb: NDArray[np.uint8], masks: Mapping[str, Mask | None]) -> NDArray[np.uint8]:
    drawn = rgb.copy()
    for part, colour in COLOURS_OF_PARTS.items():
        mask = masks.get(part)
        if mask is not None:
            drawn[mask] = np.rint((1 - OPACITY) * rgb[mask] + OPACITY * np.asarray(colour)).astype(np.uint8)
    return drawn


def write_sheets(out: Path, protocol: str, videos: list[VideoScore]) -> list[str]:
    """Write ``<protocol>_{worst,typical,best}.jpg`` from the videos' worst frames under ``out/cases``.

    Returns:
        Names of the files; few videos give fewer sheets.
    """
    ranked = []
    for video in videos:
        picture = cv2.imread(str(out / "cases" / protocol / f"{video.name}.png"))
        if picture is not None:
            ranked.append((quality(video, protocol), video.name, np.asarray(picture[..., ::-1], np.uint8)))
    ranked.sort(key=lambda r: r[:2])
    middle = max(0, len(ranked) // 2 - SHOWN // 2)
    sheets = {"worst": ranked[:SHOWN], "typical": ranked[middle : middle + SHOWN], "best": ranked[::-1][:SHOWN]}
    written = []
    for name, chosen in sheets.items():
        # With few videos the three would be the same.
        if not chosen or (name != "worst" and len(ranked) <= SHOWN):
            continue
        captioned = [(f"{video}  {score:.1f}   image | truth | answer", picture) for score, video, picture in chosen]
        sheet = contact_sheet(captioned, columns=1, width=3 * PANEL)
        file = out / f"{protocol}_{name}.jpg"
        file.write_bytes(cv2.imencode(".jpg", sheet[..., ::-1])[1].tobytes())
        written.append(file.name)
    return written


def quality(video: VideoScore, protocol: str) -> float:
    """Mean J of the video's objects; without any, 100 less the percentage of pixels marked in vain."""
    objects = video.of(protocol)
    if objects:
        return float(np.mean([score.j for score in objects]))
    return 100 * (1 - sum(false.share for false in video.false_pixels if false.protocol == protocol))
