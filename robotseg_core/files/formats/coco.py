# SPDX-License-Identifier: Apache-2.0
"""COCO's JSON: masks as run-length code, read by ``pycocotools.coco.COCO``.

Beyond what COCO asks for, each image says whether it was answered (``valid``) and the ``state`` of the stream; a valid
image without an annotation says "no robot seen", one that is not valid "not known".
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from robotseg_core.files.formats.rle import decode, encode
from robotseg_core.files.formats.writer import InTheMaking
from robotseg_core.types import PARTS, PartMasks

CATEGORY = {part: number for number, part in enumerate(PARTS, 1)}
MOST_BYTES = 2**30
"""Of a file that is read, unpacked."""
MAX_SIDE = 16384
"""Of a mask that is read, pixels."""
"""COCO's categories count from 1."""


def _plain(name: str) -> str:
    return name


class CocoWriter:
    """Writes ``NAME.coco.json``, or ``NAME.coco.json.gz``.

    Args:
        out: folder.
        name: of the recording.
        rate_hz: frames a second, said in ``info``.
        packed: by gzip; pycocotools wants it unpacked.
        file_name: of a frame's picture, from the frame's name.
    """

    def __init__(
        self, out: Path, name: str, rate_hz: float, *, packed: bool = False, file_name: Callable[[str], str] = _plain
    ) -> None:
        self._making = InTheMaking(out, name)
        self._name, self._rate_hz, self._file_name = name, rate_hz, file_name
        path = self._making.place(f"{name}.coco.json" + (".gz" if packed else ""))
        self._raw: IO[bytes] | None = path.open("xb")
        # Without time and name of the file, so that the same masks give the same bytes.
        self._file: IO[bytes] = (
            cast("IO[bytes]", gzip.GzipFile("", "wb", 9, self._raw, mtime=0)) if packed else self._raw
        )
        self._images: list[dict[str, Any]] = []
        self._annotations = 0
        # Annotations go to the disk as they come; the list of images is small.
        self._file.write(b'{"annotations":[')

    def write(self, name: str, result: PartMasks) -> None:
        """The answer to a frame."""
        height, width = result["robot"].mask.shape
        self._image(name, True, result.state.name, height, width)
        for part in result.parts:
            if not part.area:
                continue
            self._annotations += 1
            said = {
                "id": self._annotations,
                "image_id": len(self._images),
                "category_id": CATEGORY[part.name],
                "segmentation": {"size": [height, width], "counts": encode(part.mask)},
                "bbox": list(part.roi),
                "area": part.area,
                "iscrowd": 0,
                "score": round(part.score, 4),
            }
            self._file.write((b",\n" if self._annotations > 1 else b"\n") + _json(said))

    def unknown(self, name: str, *, unreadable: bool) -> None:
        """A frame without an answer: an image that is not valid."""
        last = self._images[-1] if self._images else {"height": 0, "width": 0}
        self._image(name, False, "UNREADABLE" if unreadable else "FAULT", last["height"], last["width"])

    def close(self) -> list[Path]:
        """Write the list of images and give the file its name."""
        assert self._raw is not None
        categories = [{"id": number, "name": part, "supercategory": "robot"} for part, number in CATEGORY.items()]
        info = {"description": f"robot masks of {self._name}", "version": "1", "rate_hz": self._rate_hz}
        rest = {"images": self._images, "categories": categories, "info": info, "licenses": []}
        self._file.write(b"\n]," + _json(rest)[1:] + b"\n")
        self._end()
        return self._making.finish()

    def discard(self) -> None:
        """Leave nothing."""
        self._end()
        self._making.discard()

    def _end(self) -> None:
        if self._raw is not None:
            self._file.close()
            self._raw.close()
            self._raw = None

    def _image(self, name: str, valid: bool, state: str, height: int, width: int) -> None:
        said = {"id": len(self._images) + 1, "file_name": self._file_name(name), "frame": name}
        self._images.append(said | {"height": height, "width": width, "valid": valid, "state": state})


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def read_coco(path: Path) -> Iterator[tuple[str, dict[str, NDArray[np.uint8]] | None]]:
    """Frames of a file of :class:`CocoWriter`: name, and masks [H, W] uint8 by part; None where nothing is known.

    Raises:
        ValueError: the file is no such file, or damaged.
        OSError: it cannot be read.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise ValueError(f"it unpacks to more than {MOST_BYTES >> 20} MiB")
        said = json.loads(content)
        parts = {category["id"]: category["name"] for category in said["categories"]}
        by_image: dict[int, list[dict[str, Any]]] = {}
        for annotation in said["annotations"]:
            by_image.setdefault(annotation["image_id"], []).append(annotation)
        for image in said["images"]:
            if not image.get("valid", True):
                yield image["frame"], None
                continue
            height, width = image["height"], image["width"]
            if not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE):
                raise ValueError(f"a mask is {width} x {height}, each side must be 1 to {MAX_SIDE}")
            masks = {part: np.zeros((height, width), np.uint8) for part in parts.values()}
            for annotation in by_image.get(image["id"], []):
                mask = decode(annotation["segmentation"]["counts"], height, width)
                masks[parts[annotation["category_id"]]] = mask
            yield image["frame"], masks
    except (ValueError, KeyError, TypeError, EOFError) as error:
        raise ValueError(f"{path} is not as `robotseg segment --format coco` writes it: {error}") from error
