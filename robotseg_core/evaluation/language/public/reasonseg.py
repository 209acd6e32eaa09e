# SPDX-License-Identifier: Apache-2.0
"""ReasonSeg: a JSON file beside each picture, with polygons that are painted from large to small (SEGR1 6.5).

Every sample is scored once, in order.  The released Seg-R1 loader draws random ones and counts ignored pixels.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from robotseg_core.evaluation.language.public.samples import IGNORED, TARGET, PublicSample
from robotseg_core.files.pictures import picture_size


def read_reasonseg(folder: Path) -> list[PublicSample]:
    """All samples of a split's folder.

    Raises:
        ValueError: there is none, or a file is not of this layout.
    """
    samples = []
    for path in sorted(folder.glob("*.jpg")):
        file = path.with_suffix(".json")
        if not file.is_file():
            raise ValueError(f"{path} has no {file.name} beside it")
        try:
            raw = file.read_bytes()
            try:
                doc = json.loads(raw)
            except UnicodeDecodeError:
                doc = json.loads(raw.decode("cp1252"))
            shapes = [(str(shape["label"]).lower(), shape["points"]) for shape in doc["shapes"]]
            said = doc["text"][0] if isinstance(doc["text"], list) else doc["text"]
            question = bool(doc.get("is_sentence", False))
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise ValueError(f"{file} is no annotation of this layout: {type(error).__name__} {error}") from error
        text = str(said) if question else str(said).lower()
        samples.append(PublicSample(path.stem, path, text, functools.partial(painted, shapes, path)))
    if not samples:
        raise ValueError(f"{folder} has no *.jpg")
    return samples


def painted(shapes: list[tuple[str, Any]], picture: Path) -> NDArray[np.uint8]:
    """Polygons as [H, W]: target 1, to be ignored 255; the smaller lie over the larger."""
    truth = np.zeros(picture_size(picture), np.uint8)
    drawn = []
    for label, points in shapes:
        if "flag" in label:
            continue
        corners = [np.asarray(points, np.float64).round().astype(np.int32)]
        own = cv2.fillPoly(np.zeros_like(truth), corners, 1)
        drawn.append((int(own.sum()), IGNORED if "ignore" in label else TARGET, own))
    for _, value, own in sorted(drawn, key=lambda one: -one[0]):
        truth[own > 0] = value
    return truth
