# SPDX-License-Identifier: Apache-2.0
"""A stream that is told something on one frame, as a user of the node would tell it, and nothing before or after."""

from __future__ import annotations

from robotseg_core.evaluation.metrics import Mask, iou
from robotseg_core.evaluation.prompts import Click, ExactUser
from robotseg_core.evaluation.protocols import CLICKS, Truth
from robotseg_core.stream.frame_state import EncodedFrame
from robotseg_core.stream.stream import Stream
from robotseg_core.types import MaskPrompt, PartMasks, Prompt, PromptKind

HINTS = ("auto", "1c", "3c", "bb", "mask")
"""What a part is told: nothing, one click in its middle, two more into the largest error (the best of the three
answers is kept), its box, its mask."""


class HintedStream:
    """Steps a stream and gives the hint.

    Args:
        stream: fresh.
        hint: one of :data:`HINTS`.
        parts: that are told of, those that are in the truth of that frame.
        at: index of the frame.
    """

    def __init__(self, stream: Stream, hint: str, parts: tuple[str, ...], *, at: int = 0) -> None:
        if hint not in HINTS:
            raise ValueError(f"hint is {hint!r}, must be one of {', '.join(HINTS)}")
        if hint == "3c" and len(parts) > 1:
            raise ValueError(f"parts are {parts}, of which 3c corrects one alone")
        self.stream, self.hint, self.parts, self.at = stream, hint, parts, at
        self._user = ExactUser()

    def step(self, index: int, encoded: EncodedFrame, truth: Truth) -> dict[str, Mask]:
        """The answer to a frame, masks [H, W] of every part of the stream; ``truth`` is what hints are made from."""
        told = {part: true for part in self.parts if (true := truth.get(part)) is not None and true.any()}
        if index != self.at or self.hint == "auto":
            told = {}
        clicks: dict[str, list[Click]] = {}
        for part, true in told.items():
            if self.hint == "mask":
                self.stream.prompt(MaskPrompt(part, true))
            elif self.hint == "bb":
                self.stream.prompt(Prompt(part, PromptKind.BOX, self._user.box(true)))
            else:
                clicks[part] = [self._user.first_click(true)]
                self.stream.prompt(_prompt(part, clicks[part][0]))
        result = self.stream.step_encoded(encoded.again())
        if self.hint == "3c":
            for part, given in clicks.items():
                result = self._correct(part, given, told[part], result)
        return {part.name: part.mask > 0 for part in result.parts}

    def _correct(self, part: str, clicks: list[Click], true: Mask, result: PartMasks) -> PartMasks:
        tried = [(iou(result[part].mask > 0, true), len(clicks), result)]
        while len(clicks) < CLICKS and (click := self._user.correction(result[part].mask > 0, true)):
            clicks = [*clicks, click]
            result = self.stream.correct(*(_prompt(part, click) for click in clicks))
            tried.append((iou(result[part].mask > 0, true), len(clicks), result))
        _, best, answer = max(tried, key=lambda t: t[0])
        if best < len(clicks):
            # The stream would remember the last one: back, and up to the best one again.
            self.stream.discard()
            for count in range(2, best + 1):
                self.stream.correct(*(_prompt(part, click) for click in clicks[:count]))
        return answer


def _prompt(part: str, click: Click) -> Prompt:
    return Prompt(part, PromptKind.POINT, (click.x, click.y), click.label)
