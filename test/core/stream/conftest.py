# SPDX-License-Identifier: Apache-2.0
"""A model of which the answers are made by hand."""

import pytest
import torch
from small_models import small_robotseg

from robotseg_core.stream import corrections, prompting
from robotseg_core.stream.frame_state import Answer


def drawn(boxes, side):
    """Logits [side, side] of boxes (x0, y0, x1, y1) in shares of the image."""
    logits = torch.full((side, side), -6.0)
    for x0, y0, x1, y1 in boxes:
        logits[round(y0 * side) : round(y1 * side), round(x0 * side) : round(x1 * side)] = 6.0
    return logits


@pytest.fixture(scope="module")
def robotseg():
    return small_robotseg()


@pytest.fixture
def seen(robotseg, monkeypatch):
    """What the model sees, as boxes (x0, y0, x1, y1) in shares of the image; the list may be changed between steps."""
    boxes = [(0.1, 0.1, 0.4, 0.9), (0.7, 0.3, 0.9, 0.8)]

    class Loop:
        def __init__(self, plain):
            self._plain = plain

        def __getattr__(self, name):
            return getattr(self._plain, name)

        def find(self, *arguments):
            conditioned, answer = self._plain.find(*arguments)
            logits = drawn(boxes, answer.logits.shape[-1]).expand_as(answer.logits).clone()
            present = torch.full_like(answer.object_logit, 9.0 if boxes else -9.0)
            return conditioned, Answer(logits, torch.ones_like(answer.iou), present, answer.pointer)

    made = robotseg.loop
    monkeypatch.setattr(robotseg, "loop", lambda bank: Loop(made(bank)))
    return boxes


@pytest.fixture
def told(seen, monkeypatch):
    """Clicks change nothing of what the decoder marks: all that is seen, until the test changes it."""

    def decode(model, *_, **__):
        logits, one = drawn(seen, model.config.image_size // 4)[None], torch.ones(1)
        return Answer(logits, one, 9 * one, torch.zeros_like(model.no_obj_ptr))

    for module in (prompting, corrections):
        monkeypatch.setattr(module, "decode_prompt", decode)
    return seen
