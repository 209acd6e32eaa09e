# SPDX-License-Identifier: Apache-2.0
"""What an answer about a known frame is worth, and the answers that somebody gives who knows the truth."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from robotseg_core.evaluation.language.referring import RequestScore, score_request
from robotseg_core.instruct.prompt_set import MAX_INSTANCES, Answer, Instance, PromptSet
from robotseg_core.synth.requests.generate import SceneRequest


def score_answer(
    one: SceneRequest, ids: NDArray[np.uint16], mask: NDArray[np.bool_], answer: PromptSet, *, knows: bool
) -> RequestScore:
    """Score an answer to a request about a frame.

    Args:
        one: the request.
        ids: map of instances [H, W] of the frame.
        mask: [H, W] of the answer before an inversion: exclusions are scored so.
        answer: what was said.
        knows: see :func:`as_scored`.
    """
    mask = as_scored(one, mask, answer, knows=knows)
    others = np.isin(ids, one.others) if one.others else None
    # "Not understood" says nothing about the picture: it is no "none", and its mask is empty all the same.
    said_none = answer.answer is Answer.NONE or (answer.answer is Answer.FOUND and not mask.any())
    if answer.answer is Answer.NOT_UNDERSTOOD and not one.target:
        mask = np.ones_like(mask)
    truth = np.isin(ids, one.target)
    return score_request(mask, truth, others, scene=one.video, family=one.family, said_none=said_none)


def as_scored(one: SceneRequest, mask: NDArray[np.bool_], answer: PromptSet, *, knows: bool) -> NDArray[np.bool_]:
    """A mask [H, W] before an inversion, or its opposite where a policy misses that the opposite is asked for.

    ``knows``: whoever answers is told whether an inversion is asked for.
    """
    missed = not knows and answer.answer is Answer.FOUND and answer.invert is not one.invert
    return ~mask if missed else mask


def true_prompts(ids: NDArray[np.uint16], one: SceneRequest, *, points: int) -> PromptSet:
    """The box of each instance of the answer, or of all of it where instances are not known, with points on it.

    Args:
        ids: map of instances [H, W].
        one: the request.
        points: on each instance: the first is its deepest, a further one the deepest away from those before.
    """
    masks = [np.isin(ids, leaves) for leaves in (one.instances or (one.target,))]
    masks = sorted((mask for mask in masks if mask.any()), key=lambda mask: -int(mask.sum()))[:MAX_INSTANCES]
    if not masks:
        return PromptSet(Answer.NONE)
    return PromptSet(Answer.FOUND, tuple(_true_instance(mask, points) for mask in masks), part=one.kind)


def _true_instance(mask: NDArray[np.bool_], points: int) -> Instance:
    x, y, w, h = cv2.boundingRect(mask.view(np.uint8))
    box = (float(x), float(y), float(x + max(w - 1, 1)), float(y + max(h - 1, 1)))
    if not points:
        return Instance(box)
    depth = np.asarray(cv2.distanceTransform(np.pad(mask, 1).view(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1])
    rows, columns = np.mgrid[: mask.shape[0], : mask.shape[1]]
    reach = 1.5 * float(depth.max())
    found: list[tuple[float, float]] = []
    while len(found) < points and depth.max() > 0:
        row, column = np.unravel_index(int(depth.argmax()), depth.shape)
        found.append((float(column), float(row)))
        depth = np.where(np.hypot(rows - row, columns - column) < reach, 0, depth)
    return Instance(box, tuple(found), (1,) * len(found))
