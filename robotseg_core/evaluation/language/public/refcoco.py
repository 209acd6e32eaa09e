# SPDX-License-Identifier: Apache-2.0
"""RefCOCO, RefCOCO+ and RefCOCOg as they are given out: ``refs(<split by>).p`` and ``instances.json``.

Every sentence is a sample.  The released Seg-R1 script draws one at random for each picture (SEGR1 6.5).
"""

from __future__ import annotations

import functools
import io
import json
import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from robotseg_core.evaluation.language.public.samples import TARGET, PublicSample

NAMES = {"refcoco": "unc", "refcoco+": "unc", "refcocog": "umd"}
"""Folder of a set, and whose division into splits is used."""


class _Plain(pickle.Unpickler):
    """Lists, dictionaries, numbers and texts; anything that would run code is refused."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it wants to run {module}.{name}")


def read_refcoco(root: Path, split: str, *, images: Path, by: str | None = None) -> list[PublicSample]:
    """All sentences of a split.

    Args:
        root: folder of the set, named as in :data:`NAMES`, or any with ``by``.
        split: ``val``, ``testA``, ``testB``, ``test`` or ``train``.
        images: folder with COCO's pictures, ``COCO_train2014_000000000009.jpg``.
        by: ``unc``, ``umd`` or ``google``.

    Raises:
        ValueError: a file is not what it should be, or the split has no sentence.
        OSError: a file is missing.
    """
    by = by or NAMES.get(root.name)
    if by is None:
        raise ValueError(f"{root.name!r} is none of {tuple(NAMES)}; say whose division it is, unc, umd or google")
    path = root / f"refs({by}).p"
    try:
        refs = _Plain(io.BytesIO(path.read_bytes()), encoding="latin1").load()
        instances = json.loads((root / "instances.json").read_text())
        annotations = {int(a["id"]): a for a in instances["annotations"]}
        sizes = {int(i["id"]): (int(i["height"]), int(i["width"])) for i in instances["images"]}
        files = {int(i["id"]): str(i["file_name"]) for i in instances["images"]}
        samples = []
        for ref in refs:
            if ref["split"] != split:
                continue
            image = int(ref["image_id"])
            truth = functools.partial(coco_mask, annotations[int(ref["ann_id"])]["segmentation"], sizes[image])
            for sentence in ref["sentences"]:
                name = f"{ref['ref_id']}-{sentence['sent_id']}"
                samples.append(PublicSample(name, images / files[image], str(sentence["sent"]), truth))
    except (pickle.UnpicklingError, KeyError, TypeError, AttributeError, EOFError) as error:
        raise ValueError(f"{root} is no set of this layout: {type(error).__name__} {error}") from error
    if not samples:
        known = sorted({str(ref["split"]) for ref in refs})
        raise ValueError(f"{path} has no sentence in split {split!r}; it has {known}")
    return samples


def coco_mask(segmentation: Any, size: tuple[int, int]) -> NDArray[np.uint8]:
    """A COCO segmentation, polygons or run lengths, as [H, W] 0 or 1."""
    mask = np.zeros(size, np.uint8)
    if isinstance(segmentation, dict):
        counts = segmentation["counts"]
        runs = _unpacked(counts) if isinstance(counts, str) else [int(n) for n in counts]
        values = np.repeat(np.arange(len(runs)) % 2, runs).astype(np.uint8)
        height, width = segmentation["size"]
        return np.ascontiguousarray(values.reshape((width, height)).T) * TARGET
    for polygon in segmentation:
        corners = np.asarray(polygon, np.float64).reshape(-1, 2)
        cv2.fillPoly(mask, [np.round(corners).astype(np.int32)], TARGET)
    return mask


def _unpacked(text: str) -> list[int]:
    """Run lengths of COCO's packed text: five bits a character, from the third run on differences."""
    runs: list[int] = []
    at = 0
    while at < len(text):
        value = shift = 0
        more = True
        while more:
            code = ord(text[at]) - 48
            value |= (code & 0x1F) << shift
            more = bool(code & 0x20)
            at, shift = at + 1, shift + 5
            if not more and code & 0x10:
                value |= -1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
    return runs
