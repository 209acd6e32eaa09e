# SPDX-License-Identifier: Apache-2.0
"""E-measure, F-measure, weighted F-measure and MAE of foreground maps (SEGR1 6.2, 6.3).

``p`` is a map [H, W], 0 to 1 (:func:`~robotseg_core.evaluation.language.structure.normalised`), ``g`` the truth, bool.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from robotseg_core.evaluation.language.structure import EPS, normalised, s_measure

BETA2 = 0.3
"""Of F: precision counts more."""
LEVELS = 256

Map = NDArray[np.float64]
Truth = NDArray[np.bool_]


@dataclass(frozen=True)
class Curve:
    """One measure: with the adaptive threshold, and the values for thresholds 0..255."""

    adaptive: float
    values: Map

    @property
    def mean(self) -> float:
        """Over all thresholds."""
        return float(self.values.mean())

    @property
    def maximum(self) -> float:
        """Of all thresholds."""
        return float(self.values.max())


@dataclass(frozen=True)
class ForegroundScore:
    """All measures of one map.  Of a set: mean of each, of curves the mean curve first."""

    s: float
    e: Curve
    f: Curve
    weighted_f: float
    mae: float


def score(prediction: NDArray[np.generic], truth: NDArray[np.generic]) -> ForegroundScore:
    """All measures of a prediction [H, W] 0..255 against a truth [H, W] 0..255, which is on above 128."""
    p = normalised(prediction)
    g = np.asarray(truth, np.bool_) if truth.dtype == np.bool_ else truth.astype(np.float64) > 128
    return ForegroundScore(s_measure(p, g), e_measure(p, g), f_measure(p, g), weighted_f(p, g), mae(p, g))


def adaptive(p: Map) -> Truth:
    """The map at twice its mean; of a constant 0 that is everything."""
    return np.asarray(p >= min(2 * float(p.mean()), 1.0))


def _counts(p: Map, g: Truth) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Predicted pixels and true positives for thresholds 0..255."""
    level = np.floor(255 * p).astype(np.int64)
    every = np.bincount(level.ravel(), minlength=LEVELS)[::-1].cumsum()[::-1]
    hits = np.bincount(level[g], minlength=LEVELS)[::-1].cumsum()[::-1]
    return every, hits


def e_binary(predicted: Map, hits: Map, true: int, pixels: int) -> Map:
    """E-measure from counts: predicted pixels and true positives of one or many maps, truth, all pixels."""
    predicted, hits = np.asarray(predicted, np.float64), np.asarray(hits, np.float64)
    free = pixels - 1 + EPS
    if true == 0:
        return np.asarray((pixels - predicted) / free)
    if true == pixels:
        return np.asarray(predicted / free)
    mp, mg = predicted / pixels, true / pixels
    total = np.zeros_like(predicted)
    kinds = ((1, 1, hits), (1, 0, predicted - hits), (0, 1, true - hits), (0, 0, pixels - predicted - true + hits))
    for on_p, on_g, count in kinds:
        a, c = on_p - mp, on_g - mg
        xi = 2 * a * c / (a**2 + c**2 + EPS)
        total += count * (xi + 1) ** 2 / 4
    return np.asarray(total / free)


def e_measure(p: Map, g: Truth) -> Curve:
    """E-measure (Fan et al. 2018)."""
    every, hits = _counts(p, g)
    true = int(g.sum())
    b = adaptive(p)
    at = e_binary(np.array(b.sum()), np.array((b & g).sum()), true, g.size)
    return Curve(float(at), e_binary(every.astype(float), hits.astype(float), true, g.size))


def e_mask(mask: Truth, g: Truth) -> float:
    """E-measure of a binary mask itself: of an empty one the adaptive threshold would take everything."""
    return float(e_binary(np.array(mask.sum()), np.array((mask & g).sum()), int(g.sum()), g.size))


def _f(predicted: Map, hits: Map, true: int) -> Map:
    precision = hits / np.maximum(predicted, 1)
    recall = hits / max(true, 1)
    return np.asarray(
        np.where(hits > 0, (1 + BETA2) * precision * recall / np.maximum(BETA2 * precision + recall, EPS), 0)
    )


def f_measure(p: Map, g: Truth) -> Curve:
    """F-measure, beta squared 0.3; 0 without a true positive."""
    every, hits = _counts(p, g)
    true = int(g.sum())
    b = adaptive(p)
    at = _f(np.array(float(b.sum())), np.array(float((b & g).sum())), true)
    return Curve(float(at), _f(every.astype(float), hits.astype(float), true))


def nearest(g: Truth) -> tuple[Map, NDArray[np.int64]]:
    """Exact Euclidean distance of each pixel to the truth, and the number of the nearest true pixel, [H, W] each."""
    height, width = g.shape
    rows = np.arange(height)[:, None]
    # Nearest true row of each column, from above and from below.
    above = np.maximum.accumulate(np.where(g, rows, -4 * (height + width)), axis=0)
    below = np.minimum.accumulate(np.where(g, rows, 4 * (height + width))[::-1], axis=0)[::-1]
    row = np.where(rows - above <= below - rows, above, below)
    gap = (rows - row).astype(np.float64) ** 2
    across = (np.arange(width)[:, None] - np.arange(width)[None]).astype(np.float64) ** 2
    column = np.empty((height, width), np.int64)
    for y in range(height):
        column[y] = np.argmin(across + gap[y][None], axis=1)
    found = row[np.arange(height)[:, None], column]
    distance = np.sqrt((rows - found) ** 2.0 + (np.arange(width)[None] - column) ** 2.0)
    return distance, found * width + column


def weighted_f(p: Map, g: Truth) -> float:
    """Weighted F (Margolin et al. 2014), beta squared 1; 0 of an empty truth."""
    if not g.any():
        return 0.0
    error = np.abs(p - g)
    distance, number = nearest(g)
    carried = error.ravel()[number]
    line = np.exp(-(np.arange(-3, 4) ** 2) / 50.0)
    kernel = np.outer(line, line)
    smooth = cv2.filter2D(carried, cv2.CV_64F, kernel / kernel.sum(), borderType=cv2.BORDER_CONSTANT)
    least = np.where(g & (smooth < error), smooth, error)
    weight = least * np.where(g, 1.0, 2.0 - np.exp(np.log(0.5) / 5 * distance))
    true = int(g.sum())
    hits, false = true - float(weight[g].sum()), float(weight[~g].sum())
    recall = 1 - float(weight[g].mean())
    precision = hits / (hits + false + EPS)
    return 2 * recall * precision / (recall + precision + EPS)


def mae(p: Map, g: Truth) -> float:
    """Mean absolute error."""
    return float(np.abs(p - g).mean())
