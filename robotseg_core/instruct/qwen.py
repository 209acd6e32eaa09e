# SPDX-License-Identifier: Apache-2.0
"""Qwen2.5-VL, and Seg-R1's weights of it, as a policy (SEGR1 1): messages, generation, answers in tags or as JSON.

``transformers`` is an option of the installation, the weights are the user's: a folder, never a download.  Who writes
the text is one function, so that recorded answers can stand in for the model.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from robotseg_core.instruct.grammar import MAX_ANSWER, to_prompts
from robotseg_core.instruct.prompt_set import MAX_INSTANCES, Answer, Instance, PromptSet, View
from robotseg_core.instruct.request import Request
from robotseg_core.types import PartMasks

STYLES = ("seg-r1", "qwen2.5-vl")
SEGR1_SIDE = 768
"""Side of the square that Seg-R1 was trained on; its coordinates are pixels of that square, without mapping."""
PATCH = 28
"""Pixels of a side of a visual token: 14, merged two by two."""
MIN_PIXELS, MAX_PIXELS = 3_136, 12_845_056
MAX_NEW_TOKENS = 512
SEGR1_SYSTEM = (
    "You look at an image and segment what the user asks for. Think first, inside <think> </think>. Then write one "
    "or more boxes of it inside <bbox> </bbox>, a moderate number of points inside <points> </points> and one label "
    "for each point inside <labels> </labels>: 1 on the object, 0 on the background. Pattern: <think> ... </think> "
    "<bbox>[x1,y1,x2,y2]</bbox>, <points>[[x,y],[x,y]]</points>, <labels>[1,0]</labels>"
)
"""In our words, to the same effect as the published one; ``system`` of :class:`QwenPolicy` takes the exact wording."""
PLAIN_QUESTION = (
    'Find {request}. Answer with a JSON list, one entry for each instance: {{"bbox_2d": [x1, y1, x2, y2]}}; an empty '
    "list if it is not in the image."
)

Messages = list[dict[str, Any]]
Writer = Callable[[NDArray[np.uint8], Messages], str]
"""An RGB image [H, W, 3] uint8 and messages to an answer."""


@dataclass(frozen=True)
class QwenPolicy:
    """A vision-language model that writes prompts.

    Attributes:
        write: who writes the answer.
        style: ``seg-r1``: a square image, answers in tags; ``qwen2.5-vl``: the image as it is, answers as JSON.
        system: system message; None: ours for Seg-R1, none for the plain model.
        swap_red_and_blue: hand the image over with red and blue swapped.  Seg-R1's released wrapper does this to its
            segmenter, not to the model; the segmenter here is another one, so that it is off unless somebody asks.
    """

    write: Writer
    style: str = "seg-r1"
    system: str | None = None
    swap_red_and_blue: bool = False

    def __post_init__(self) -> None:
        if self.style not in STYLES:
            raise ValueError(f"style is {self.style!r}, must be one of {STYLES}")

    @property
    def name(self) -> str:
        """The style."""
        return self.style

    @property
    def reads_features(self) -> bool:
        """False: it looks at the picture."""
        return False

    def look(self, encoded: Any, parts: PartMasks) -> None:
        """Nothing."""

    def answer(self, request: Request, view: View) -> PromptSet:
        """Ask the model; an answer that cannot be read is NOT_UNDERSTOOD."""
        height, width = view.rgb.shape[:2]
        rgb = np.ascontiguousarray(view.rgb[..., ::-1]) if self.swap_red_and_blue else view.rgb
        if self.style == "seg-r1":
            rgb = np.asarray(cv2.resize(rgb, (SEGR1_SIDE, SEGR1_SIDE), interpolation=cv2.INTER_AREA), np.uint8)
            text = self.write(rgb, self.messages(request))
            return to_prompts(text, (width, height), (SEGR1_SIDE, SEGR1_SIDE))
        text = self.write(rgb, self.messages(request))
        return read_json(text, (width, height), rounded_size(width, height))

    def messages(self, request: Request) -> Messages:
        """The chat: a system message where there is one, then image and text of the user."""
        segr1 = self.style == "seg-r1"
        question = f"Identify and segment {request.text}" if segr1 else PLAIN_QUESTION.format(request=request.text)
        user = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}
        system = self.system or (SEGR1_SYSTEM if segr1 else None)
        if system is None:
            return [user]
        return [{"role": "system", "content": [{"type": "text", "text": system}]}, user]


def rounded_size(width: int, height: int) -> tuple[int, int]:
    """(width, height) in whose pixels the plain model speaks: multiples of 28, the area within the model's limits.

    >>> rounded_size(640, 480), rounded_size(1024, 1024), rounded_size(768, 768)
    ((644, 476), (1036, 1036), (756, 756))
    """
    w, h = (max(PATCH, round(v / PATCH) * PATCH) for v in (width, height))
    if w * h > MAX_PIXELS:
        scale = (width * height / MAX_PIXELS) ** 0.5
        w, h = (max(PATCH, int(v / scale // PATCH) * PATCH) for v in (width, height))
    elif w * h < MIN_PIXELS:
        scale = (MIN_PIXELS / (width * height)) ** 0.5
        w, h = (-int(-v * scale // PATCH) * PATCH for v in (width, height))
    return w, h


_LIST = re.compile(r"\[.*\]", re.DOTALL)


def read_json(text: str, size: tuple[int, int], seen: tuple[int, int]) -> PromptSet:
    """Boxes of the plain model: a JSON list of objects with ``bbox_2d``, also in a code fence; never raises.

    An empty list is NONE.  Coordinates are of ``seen`` (width, height), those of the answer of ``size``.
    """
    raw = text[:MAX_ANSWER]
    unknown = PromptSet(Answer.NOT_UNDERSTOOD, raw=raw)
    found = _LIST.search(raw)
    try:
        entries = json.loads(found[0]) if found else None
    except (ValueError, RecursionError):
        return unknown
    if not isinstance(entries, list):
        return unknown
    if not entries:
        return PromptSet(Answer.NONE, raw=raw)
    instances = []
    for entry in entries:
        box = entry.get("bbox_2d") if isinstance(entry, dict) else None
        if not isinstance(box, list) or len(box) != 4 or not all(type(v) in (int, float) for v in box):
            continue
        if not all(abs(v) < 1e6 for v in box):
            continue
        x0, x1 = (min(max(v * size[0] / seen[0], 0.0), size[0] - 1.0) for v in sorted(box[0::2]))
        y0, y1 = (min(max(v * size[1] / seen[1], 0.0), size[1] - 1.0) for v in sorted(box[1::2]))
        if x0 < x1 and y0 < y1:
            instances.append(Instance((x0, y0, x1, y1)))
    if not instances:
        return unknown
    return PromptSet(Answer.FOUND, tuple(instances[:MAX_INSTANCES]), raw=raw)


def load_qwen(folder: Path, *, style: str = "seg-r1", device: str = "auto") -> QwenPolicy:
    """Load weights and processor from a folder.

    Raises:
        ValueError: the folder holds no model.
        RuntimeError: ``transformers`` is not installed.
    """
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder} has no config.json; give a folder with the weights of Qwen2.5-VL or Seg-R1")
    try:
        transformers = importlib.import_module("transformers")
    except ModuleNotFoundError as error:
        raise RuntimeError("a language model needs transformers: pip install 'robotseg_ros[qwen]'") from error
    import torch

    place = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    dtype = torch.bfloat16 if place.startswith("cuda") else torch.float32
    # The class is named: a folder's name says nothing about what is in it.
    model = transformers.Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, dtype=dtype, local_files_only=True)
    processor = transformers.AutoProcessor.from_pretrained(folder, local_files_only=True)
    return QwenPolicy(TransformersWriter(model.to(place).eval(), processor), style=style)


@dataclass(frozen=True)
class TransformersWriter:
    """Greedy generation by ``transformers``.

    Attributes:
        model: a ``Qwen2_5_VLForConditionalGeneration``.
        processor: its processor.
        max_new_tokens: of an answer.
    """

    model: Any
    processor: Any
    max_new_tokens: int = MAX_NEW_TOKENS

    def __call__(self, rgb: NDArray[np.uint8], messages: Messages) -> str:
        """Write an answer."""
        import torch
        from PIL import Image

        text = self.processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        inputs = self.processor(text=[text], images=[Image.fromarray(rgb)], return_tensors="pt").to(self.model.device)
        with torch.inference_mode():
            written = self.model.generate(**inputs, max_new_tokens=self.max_new_tokens, do_sample=False)
        new = written[:, inputs["input_ids"].shape[1] :]
        return str(self.processor.batch_decode(new, skip_special_tokens=True)[0])
