# SPDX-License-Identifier: Apache-2.0
"""Frames with all that training a policy needs of them, computed once: the encoder is never touched again.

A folder for each model: its name is the hash of weights and precision, so that nothing of another model is taken.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file
from torch import Tensor

from robotseg_core.instruct.small.inputs import FrameInputs, frame_inputs, look_at, piece_numbers
from robotseg_core.model.robotseg_model import Features
from robotseg_core.storage.whole import replacing
from robotseg_core.stream.robotseg import RobotSeg
from robotseg_core.synth.requests.programs import Asked
from robotseg_core.synth.requests.scene import FrameScene
from robotseg_core.types import PARTS

_HALF = ("f16", "h8", "h4", "rgb", "numbers")


@dataclass(frozen=True)
class Seen:
    """An arm, gripper or robot in a frame: its leaves, and the colour by which it may be called, if it has one."""

    kind: str
    leaves: tuple[int, ...]
    colour: str | None


def seen_of(scene: FrameScene) -> tuple[Seen, ...]:
    """Who is seen in a scene."""
    return tuple(Seen(kind, tuple(map(int, e.ids)), e.colour) for kind in PARTS for e in scene.of(kind))


@dataclass(frozen=True, eq=False)
class CachedFrame:
    """One frame.

    Attributes:
        name: of the frame in its set.
        arrays: f16 [d, g, g], h8 [d/4, 2g, 2g], h4 [d/8, 4g, 4g], rgb [3, 2g, 2g] and numbers [6, 2g, 2g] float16;
            masks [3, 4g, 4g] uint8, 0 to 255; ids [4g, 4g] uint16.
        asked: what may be asked of it.
        entities: who is seen, kinds by turns, each from left to right.
        boxes: of each leaf that is seen, (x0, y0, x1, y1) as shares of width and height, ends exclusive.
        size: (height, width) of the frame, pixels.
    """

    name: str
    arrays: dict[str, NDArray]
    asked: tuple[Asked, ...]
    entities: tuple[Seen, ...]
    boxes: dict[int, tuple[float, float, float, float]]
    size: tuple[int, int]

    def inputs(self) -> FrameInputs:
        """What the policy sees, F = 1."""
        return stack_inputs([self])

    def features(self) -> Features:
        """What the segmenter's decoder reads."""
        half = {name: torch.from_numpy(self.arrays[name]).float()[None] for name in ("h4", "h8", "f16")}
        return Features(**half)


def stack_inputs(frames: Sequence[CachedFrame]) -> FrameInputs:
    """What the policy sees of several frames."""

    def stacked(name: str) -> Tensor:
        return torch.from_numpy(np.stack([frame.arrays[name] for frame in frames])).float()

    return FrameInputs(stacked("f16"), stacked("masks") / 255, stacked("rgb"), stacked("numbers"))


def model_key(robotseg: RobotSeg) -> str:
    """Name of the folder of a model: of its weights, precision and input size."""
    text = f"{robotseg.sha256} {robotseg.precision} {robotseg.model.config.image_size}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def frame_arrays(robotseg: RobotSeg, rgb: NDArray[np.uint8]) -> dict[str, NDArray]:
    """Send a frame [H, W, 3] through the model, as a first frame: all arrays of a :class:`CachedFrame` but ``ids``."""
    (encoded,) = robotseg.encode_frames([rgb])
    parts = robotseg.stream().step_encoded(encoded.again())
    seen = frame_inputs(look_at(encoded), parts)
    arrays = {
        "f16": encoded.features.f16[0],
        "h8": encoded.features.h8[0],
        "h4": encoded.features.h4[0],
        "rgb": seen.rgb[0],
        "numbers": seen.numbers[0],
    }
    stored: dict[str, NDArray] = {key: np.ascontiguousarray(v.half().cpu().numpy()) for key, v in arrays.items()}
    stored["masks"] = np.ascontiguousarray((seen.masks[0] * 255).round().byte().cpu().numpy())
    return stored


def mirrored_arrays(arrays: dict[str, NDArray]) -> dict[str, NDArray]:
    """Of the mirrored frame, as good as: its features are the mirrored ones but for the last digit of a stride."""
    found = {name: np.ascontiguousarray(value[..., ::-1]) for name, value in arrays.items()}
    found["numbers"] = piece_numbers(found["masks"]).astype(np.float16)
    return found


def cached_frame(
    name: str, arrays: dict[str, NDArray], ids: NDArray[np.uint16], asked: Sequence[Asked], entities: Sequence[Seen]
) -> CachedFrame:
    """A frame of its arrays, its map of instances [H, W], what may be asked of it and who is seen."""
    side = arrays["masks"].shape[-1]
    small = np.ascontiguousarray(cv2.resize(ids, (side, side), interpolation=cv2.INTER_NEAREST_EXACT))
    height, width = ids.shape
    boxes = {}
    for leaf in sorted(
        {i for one in asked for i in (*one.target, *one.others)} | {i for e in entities for i in e.leaves}
    ):
        where = (ids == leaf).view(np.uint8)
        x, y, w, h = cv2.boundingRect(where)
        if w:
            boxes[int(leaf)] = (x / width, y / height, (x + w) / width, (y + h) / height)
    return CachedFrame(name, {**arrays, "ids": small}, tuple(asked), tuple(entities), boxes, (height, width))


def save_cached(folder: Path, frame: CachedFrame) -> None:
    """Write a frame; it is there completely or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    doc = {
        "asked": [asdict(one) for one in frame.asked],
        "entities": [asdict(one) for one in frame.entities],
        "boxes": frame.boxes,
        "size": frame.size,
    }
    with replacing(folder / f"{frame.name}.safetensors") as partial:
        save_file(frame.arrays, partial, metadata={"frame": json.dumps(doc, separators=(",", ":"))})


def load_cached(path: Path) -> CachedFrame:
    """Read what :func:`save_cached` has written.

    Raises:
        ValueError: it is no frame of this program.
    """
    try:
        # Its header is compared with the length of the file.
        with safe_open(path, "np") as file:
            doc = json.loads((file.metadata() or {})["frame"])
        asked = tuple(Asked(**{**one, **{k: _tuples(one[k]) for k in ("target", "others", "instances")}})
                      for one in doc["asked"])  # fmt: skip
        entities = tuple(Seen(one["kind"], tuple(one["leaves"]), one["colour"]) for one in doc["entities"])
        boxes = {int(leaf): tuple(box) for leaf, box in doc["boxes"].items()}
        arrays = load_file(path)
        wrong = next((name for name in (*_HALF, "masks", "ids") if name not in arrays), None)
        if wrong is not None:
            raise ValueError(f"it has no {wrong}")
        return CachedFrame(path.stem, arrays, asked, entities, boxes, tuple(doc["size"]))
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, SafetensorError) as error:
        raise ValueError(f"{path} is no cached frame: {error}; remove the folder and make it again") from error


def _tuples(value: list) -> tuple:
    return tuple(_tuples(v) if isinstance(v, list) else v for v in value)
