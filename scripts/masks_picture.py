# SPDX-License-Identifier: Apache-2.0
"""Draws ``docs/images/masks.jpg``: frames of the demo clip with the masks that the shipped weights give them."""

import sys
from pathlib import Path

import cv2
import numpy as np

from robotseg_core import RobotSeg
from robotseg_core.files.overlay import contact_sheet, overlay

ROOT = Path(__file__).resolve().parents[1]
SHOWN = (165, 285)
"""Numbers of the frames; the frames before them are streamed, too."""


def main() -> int:
    """Stream the clip up to the last frame that is shown, and write the picture."""
    stream = RobotSeg.load("nano", device="cpu").stream()
    video = cv2.VideoCapture(str(ROOT / "demo" / "clip.mp4"))
    cells = []
    for number in range(SHOWN[-1] + 1):
        frame = cv2.cvtColor(video.read()[1], cv2.COLOR_BGR2RGB)
        answer = stream.step(frame)
        if number in SHOWN:
            cells += [(f"image, frame {number}", frame)]
            cells += [(f"~/{part}_mask", np.repeat(answer[part].mask[..., None], 3, 2)) for part in ("arm", "gripper")]
            cells += [("~/overlay", overlay(frame, answer))]
    sheet = cv2.cvtColor(contact_sheet(cells, columns=4, width=320), cv2.COLOR_RGB2BGR)
    target = ROOT / "docs" / "images" / "masks.jpg"
    target.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(target), sheet, [cv2.IMWRITE_JPEG_QUALITY, 88])
    print(f"{target.stat().st_size / 1e3:.0f} kB -> {target.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
