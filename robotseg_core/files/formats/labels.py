# SPDX-License-Identifier: Apache-2.0
"""A label video: FFV1, lossless grey in AVI, a label a pixel; beside it what each frame is, as JSON.

AVI and not Matroska, which gives every file a random number: the same masks give the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from robotseg_core.files.formats.writer import InTheMaking
from robotseg_core.storage.documents import read_json
from robotseg_core.types import PartMasks

LABELS = {"background": 0, "arm": 1, "gripper": 2, "not known": 255}
"""As on the topic ``~/labels``; 255, in all pixels of a frame, where the frame has no answer."""
UNKNOWN = LABELS["not known"]


def label_image(result: PartMasks) -> NDArray[np.uint8]:
    """[H, W] uint8: :data:`LABELS` of each pixel."""
    arm, gripper = result["arm"].mask, result["gripper"].mask
    return np.asarray((arm & 1) | (gripper & 2), np.uint8)


class LabelVideoWriter:
    """Writes ``NAME_labels.avi`` and ``NAME_labels.json``; of odd sides one row or column of 255 is added."""

    def __init__(self, out: Path, name: str, rate_hz: float) -> None:
        self._making = InTheMaking(out, name)
        self._name, self._rate_hz = name, rate_hz
        self._frames: list[dict[str, Any]] = []
        self._video: cv2.VideoWriter | None = None
        self._shape: tuple[int, ...] | None = None

    def write(self, name: str, result: PartMasks) -> None:
        """The answer to a frame.

        Raises:
            ValueError: it is of another size than those before it.
        """
        labels = label_image(result)
        shape = self._shape or labels.shape
        if self._shape is None:
            self._open(shape)
        if labels.shape != shape:
            raise ValueError(
                f"frame {name} is {labels.shape[1]} x {labels.shape[0]}, those before it {shape[1]} x {shape[0]}; "
                "a label video needs one size, --format png takes all"
            )
        self._add(labels)
        self._frames.append({"name": name, "valid": True, "state": result.state.name})

    def unknown(self, name: str, *, unreadable: bool) -> None:
        """A frame without an answer: 255 all over."""
        self._frames.append({"name": name, "valid": False, "state": "UNREADABLE" if unreadable else "FAULT"})
        if self._shape is not None:
            self._add(np.full(self._shape, UNKNOWN, np.uint8))

    def close(self) -> list[Path]:
        """Finish the video; without any answer there is none, only the JSON."""
        if self._video is not None:
            self._video.release()
        height, width = self._shape or (0, 0)
        size = {"height": height, "width": width}
        said = {"rate_hz": self._rate_hz, **size, "labels": LABELS, "frames": self._frames}
        self._making.place(f"{self._name}_labels.json").write_text(json.dumps(said, separators=(",", ":")) + "\n")
        return self._making.finish()

    def discard(self) -> None:
        """Leave nothing."""
        if self._video is not None:
            self._video.release()
        self._making.discard()

    def _open(self, shape: tuple[int, ...]) -> None:
        path = self._making.place(f"{self._name}_labels.avi")
        # OpenCV's writer cuts a row or column off where their number is odd; so one is added.
        self._even = (shape[0] + shape[0] % 2, shape[1] + shape[1] % 2)
        size = (self._even[1], self._even[0])
        self._video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"FFV1"), self._rate_hz, size, isColor=False)
        if not self._video.isOpened():
            raise ValueError(f"{path.name} cannot be encoded as FFV1 at {shape[1]} x {shape[0]} by this OpenCV")
        self._shape = shape
        for _ in self._frames:
            # Those before the first answer, whose size was not known.
            self._add(np.full(shape, UNKNOWN, np.uint8))

    def _add(self, labels: NDArray[np.uint8]) -> None:
        assert self._video is not None
        if labels.shape != self._even:
            below, right = self._even[0] - labels.shape[0], self._even[1] - labels.shape[1]
            labels = np.pad(labels, ((0, below), (0, right)), constant_values=UNKNOWN)
        self._video.write(labels)


def read_labels(path: Path) -> Iterator[tuple[str, NDArray[np.uint8] | None]]:
    """Frames of a label video: name, and labels [H, W] uint8; None where nothing is known.

    Args:
        path: of ``NAME_labels.avi``, its JSON beside it.

    Raises:
        ValueError: one of the two is damaged, or they do not belong together.
        OSError: the JSON cannot be read.
    """
    said = read_json(path.with_suffix(".json"))
    try:
        _ = said["height"], said["width"], [(frame["name"], frame["valid"]) for frame in said["frames"]]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path.with_suffix('.json')} is not of a label video: {error!r}") from error
    video = cv2.VideoCapture(str(path))
    video.set(cv2.CAP_PROP_CONVERT_RGB, 0)
    try:
        if not video.isOpened() and any(frame["valid"] for frame in said["frames"]):
            raise ValueError(f"{path} cannot be read as a video")
        for frame in said["frames"]:
            good, grey = video.read()
            if not good and frame["valid"]:
                raise ValueError(f"{path} ends before frame {frame['name']}")
            if not frame["valid"]:
                yield frame["name"], None
                continue
            labels = np.asarray(grey, np.uint8).reshape(grey.shape[:2])
            yield frame["name"], labels[: said["height"], : said["width"]]
    finally:
        video.release()
