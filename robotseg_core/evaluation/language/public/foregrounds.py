# SPDX-License-Identifier: Apache-2.0
"""Camouflaged and salient objects: COD10K, CAMO, DUTS and DIS5K, a mask beside each picture.

Every picture counts, also one whose answer cannot be used: its mask is empty then.  The released scripts reuse the
prediction before it (SEGR1 8).
"""

from __future__ import annotations

import functools
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from robotseg_core.evaluation.language.public.samples import TARGET, PublicSample

LAYOUTS: dict[str, tuple[tuple[str, str], ...]] = {
    "cod10k": (("Test/Image", "Test/GT_Object"), ("Train/Image", "Train/GT_Object"), ("Imgs", "GT")),
    "camo": (("Images/Test", "GT"), ("Images/Train", "GT"), ("Imgs", "GT")),
    "duts": (("DUTS-TE-Image", "DUTS-TE-Mask"), ("DUTS-TR-Image", "DUTS-TR-Mask")),
    "dis5k": (("im", "gt"),),
}
"""Folders of pictures and of masks, one of which a root must have: the first that is there."""
REQUEST = "all primary objects"
"""What is asked of each picture."""


def read_foregrounds(root: Path, layout: str) -> list[PublicSample]:
    """All pictures of a set; of COD10K the camouflaged ones alone.

    Raises:
        ValueError: an unknown layout, no such folders, no picture, or one without a mask.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout is {layout!r}, must be one of {tuple(LAYOUTS)}")
    found = next(
        ((root / a, root / b) for a, b in LAYOUTS[layout] if (root / a).is_dir() and (root / b).is_dir()), None
    )
    if found is None:
        wanted = " or ".join(f"{a}/ with {b}/" for a, b in LAYOUTS[layout])
        raise ValueError(f"{root} has not the folders of {layout}: {wanted}")
    pictures, masks = found
    samples = []
    for path in sorted(pictures.glob("*.jpg")):
        if layout == "cod10k" and "NonCAM" in path.name:
            continue
        mask = masks / f"{path.stem}.png"
        if not mask.is_file():
            raise ValueError(f"{path} has no mask {mask}")
        samples.append(PublicSample(path.stem, path, REQUEST, functools.partial(read_truth, mask)))
    if not samples:
        raise ValueError(f"{pictures} has no *.jpg")
    return samples


def read_truth(path: Path) -> NDArray[np.uint8]:
    """A mask [H, W], 1 above 128.

    Raises:
        ValueError: it cannot be read.
    """
    grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if grey is None:
        raise ValueError(f"{path} cannot be read as an image")
    return (grey > 128).astype(np.uint8) * TARGET
