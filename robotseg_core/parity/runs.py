# SPDX-License-Identifier: Apache-2.0
"""Golden runs: read a run's name, repeat what the reference did.

A run is named ``[variant_]<mode>_<part>_<fp32|bf16>_<stream|official>``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from robotseg_core.model.robotseg_model import RobotSegModel
from robotseg_core.stream.session import Frame, Session
from robotseg_core.stream.session_memory import Output
from robotseg_core.types import PARTS
from robotseg_core.weights.seeded import OBJECT_BIAS

PROMPT_SIDE = 256
"""Clicks, boxes and the prompt mask are given on a square of this side, whatever the frames' size."""
ABSENT_BIAS = 0.3
HYPER_FACTOR = 8.0
FILL_AREA = 8
UNDECIDED_LOGIT = 1e-5
"""What two correct implementations differ by in a logit."""
TIPS = 4


@dataclass(frozen=True)
class Run:
    """What a run's name says.

    Attributes:
        name: as in the golden file.
        mode: auto, 1c, 3c, bb, mask, oi or reprompt.
        part: row of the class token.
        memory_dtype: type in which memory features are stored.
        official: pointers depend on the clip's length (SPEC 7.2); otherwise as in an endless stream.
        variants: of fill8, dark, absent, hyper8.
        seed: of the weights, where the name tells.
    """

    name: str
    mode: str
    part: int
    memory_dtype: torch.dtype
    official: bool
    variants: frozenset[str]
    seed: int | None


_NAME = re.compile(
    r"((?:(?:fill8|dark|absent|hyper8|seed\d+)_)*)(auto|1c|3c|bb|mask|oi|reprompt)_(arm|gripper|robot)"
    r"_(fp32|bf16)_(stream|official)"
)


def parse_run(name: str) -> Run | None:
    """Run of a name, None where it names none."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    variants, mode, part, dtype, clip = match.groups()
    words = [word for word in variants.split("_") if word]
    seeds = [int(word[4:]) for word in words if word.startswith("seed")]
    return Run(
        name=name,
        mode=mode,
        part=PARTS.index(part),
        memory_dtype=torch.float32 if dtype == "fp32" else torch.bfloat16,
        official=clip == "official",
        variants=frozenset(word for word in words if not word.startswith("seed")),
        seed=seeds[0] if seeds else None,
    )


@dataclass(frozen=True)
class Prompts:
    """Calls of each mode: (coordinates [n, 2] on the square of ``PROMPT_SIDE``, labels [n]); special frames."""

    calls: Mapping[str, Sequence[tuple[list[list[float]], list[int]]]]
    correction_frame: int = 4
    second_frame: int = 3

    @classmethod
    def read(cls, path: Path) -> Prompts:
        """From a ``prompts.json``; the built-in ones where there is no such file."""
        if not path.is_file():
            return DEFAULT_PROMPTS
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        again = content["reprompt"]
        calls = {mode: [_call(call) for call in calls] for mode, calls in content["prompts_256px"].items()}
        calls["reprompt"] = [_call(again)]
        return cls(calls=calls, correction_frame=content["oi_frame"], second_frame=again["frame"])


def _call(call: Mapping[str, Any]) -> tuple[list[list[float]], list[int]]:
    box = call.get("box", [])
    corners = [box[:2], box[2:]] if box else []
    return [*corners, *call.get("points", [])], [*([2, 3] if box else []), *call.get("labels", [])]


_CLICKS = [[100.25, 90.75], [60.0, 170.0], [200.5, 60.25]]
DEFAULT_PROMPTS = Prompts(
    calls={
        "1c": [(_CLICKS[:1], [1])],
        "3c": [(_CLICKS[:1], [1]), (_CLICKS[:2], [1, 1]), (_CLICKS, [1, 1, 0])],
        "bb": [([[40.0, 30.0], [160.5, 220.25]], [2, 3])],
        "oi": [([[180.0, 200.0]], [0]), ([[180.0, 200.0], [90.5, 60.0]], [0, 1])],
        "reprompt": [([[90.5, 60.0]], [1])],
    }
)


def change_weights(state: Mapping[str, Tensor], run: Run) -> dict[str, Tensor]:
    """The weights that a run changes, by key."""
    changed: dict[str, Tensor] = {}
    if "absent" in run.variants:
        changed[OBJECT_BIAS] = torch.full_like(state[OBJECT_BIAS], ABSENT_BIAS)
    if "hyper8" in run.variants:
        last = re.compile(r"sam_mask_decoder\.output_hypernetworks_mlps\.\d+\.layers\.2\.")
        changed |= {key: HYPER_FACTOR * value for key, value in state.items() if last.match(key)}
    return changed


def drive(
    model: RobotSegModel,
    run: Run,
    *,
    count: int,
    frame: Callable[[int], Frame],
    mask: Tensor,
    prompts: Prompts,
    video_length: int,
    tips: Mapping[int, Tensor] | None = None,
) -> Iterator[tuple[str, Output, Frame]]:
    """Repeat a run: (tag such as ``f4`` or ``f4call0``, output, frame), in the order in which they come.

    Args:
        model: with the run's weights, in eval mode.
        run: what to do.
        count: frames to track.
        frame: features of a frame by number.
        mask: [h, w] the mask prompt, 0 or 1.
        prompts: clicks and boxes.
        video_length: frames of the clip, for runs of the official kind.
        tips: what to add to a prompted frame's stored logits before they enter memory (:func:`tipping_changes`).
    """
    session = Session(
        model,
        run.part,
        video_length=video_length if run.official else None,
        memory_dtype=run.memory_dtype,
        fill_area=FILL_AREA if "fill8" in run.variants else 0,
    )
    scale = model.config.image_size / PROMPT_SIDE

    def prompt(index: int, calls: Sequence[tuple[list[list[float]], list[int]]]) -> Iterator[tuple[str, Output, Frame]]:
        for i, (coords, labels) in enumerate(calls):
            where = torch.tensor(coords, device=mask.device) * scale
            output = session.prompt_points(index, frame(index), where, torch.tensor(labels, device=mask.device))
            yield f"f{index}call{i}", output, frame(index)

    def commit(index: int) -> None:
        if tips and index in tips:
            session.adjust(index, tips[index])
        session.preflight()

    first: Output | None = None
    if run.mode == "mask":
        first = session.prompt_mask(0, frame(0), mask)
    elif run.mode in ("auto", "oi", "reprompt"):
        first = session.prompt_auto(0, frame(0))
    else:
        yield from prompt(0, prompts.calls[run.mode])
    commit(0)
    for index in range(count):
        if run.mode == "reprompt" and index == prompts.second_frame:
            yield from prompt(index, prompts.calls["reprompt"])
            commit(index)
        output = session.track(index, frame(index))
        if index == 0 and first is not None:
            output = replace(output, trace=first.trace, iou=first.iou)
        yield f"f{index}", output, frame(index)
        if run.mode == "oi" and index == prompts.correction_frame:
            yield from prompt(index, prompts.calls["oi"])
            commit(index)
            stored = session.stored(index)
            assert stored is not None
            yield f"f{index}corrected", stored, frame(index)


def tipping_changes(logits: Tensor, image_size: int) -> Iterator[tuple[float, Tensor]]:
    """Pixels of a prompted frame's hard mask that rounding decides, and how to decide them the other way.

    A prompted frame enters memory as ``logit > 0`` at full size (SPEC 7.1).  About one pixel in a million is within
    1e-6 of zero, where two correct implementations differ, and one pixel moves all later tokens by 1e-3.

    Args:
        logits: [h, w] stored logits.
        image_size: side of the hard mask.

    Yields:
        (|logit| of the pixel, change [h, w] of the stored logits), nearest to zero first.
    """
    large = F.interpolate(logits[None, None], (image_size, image_size), mode="bilinear")[0, 0]
    nearest, positions = large.abs().flatten().topk(TIPS, largest=False)
    ratio = image_size // logits.shape[-1]
    for value, position in zip(nearest.tolist(), positions.tolist(), strict=True):
        if value > UNDECIDED_LOGIT:
            return
        y, x = divmod(position, image_size)
        top, left = (max(0, int((i + 0.5) / ratio - 0.5)) for i in (y, x))
        change = torch.zeros_like(logits)
        # The four logits that make up the pixel; their weights sum to one.
        change[top : top + 2, left : left + 2] = -2 * large[y, x]
        yield value, change
