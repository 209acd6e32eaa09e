# SPDX-License-Identifier: Apache-2.0
"""Masks of the robot for roboreg: beside each ``image_N.png`` of a folder a ``mask_robotseg_image_N.png``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2

from robotseg_core import RobotSeg


def main(argv: Sequence[str] | None = None) -> int:
    """Segment every image by itself: they show other poses, not a video.

    Returns:
        0, or 1 where no robot was found in some images, which have no mask then; 2 where there is no image.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pattern", default="image_*.png", help="of the images (default image_*.png)")
    arguments = parser.parse_args(argv)
    images = sorted(arguments.folder.glob(arguments.pattern))
    if not images:
        print(f"{arguments.folder} has no {arguments.pattern}", file=sys.stderr)
        return 2
    stream = RobotSeg.load("nano").stream()
    missing = []
    for path in images:
        stream.reset()
        robot = stream.step(cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB))["robot"]
        if robot.present:
            # roboreg sorts by the number after the last underscore, so the name ends as the image's does.
            cv2.imwrite(str(path.with_name(f"mask_robotseg_{path.name}")), robot.mask)
        else:
            missing.append(path.name)
    print(f"{len(images) - len(missing)} masks of {len(images)} images")
    if missing:
        print(f"no robot found in {', '.join(missing)}: take them out before you calibrate", file=sys.stderr)
    return int(bool(missing))


if __name__ == "__main__":
    sys.exit(main())
