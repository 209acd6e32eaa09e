# SPDX-License-Identifier: Apache-2.0
"""S-measure (Fan et al. 2017): does a map have the structure of the truth (SEGR1 6.1)?

Empty blocks of the region term are skipped; the widely used package gives nan for them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

EPS = float(np.finfo(np.float64).eps)


def normalised(prediction: NDArray[np.generic]) -> NDArray[np.float64]:
    """A prediction [H, W], 0 to 255 (or bool), to 0..1 by its own minimum and maximum unless it is constant."""
    p = prediction.astype(np.float64) / (1.0 if prediction.dtype == np.bool_ else 255.0)
    low, high = float(p.min()), float(p.max())
    return (p - low) / (high - low) if high > low else p


def s_measure(p: NDArray[np.float64], g: NDArray[np.bool_], *, alpha: float = 0.5) -> float:
    """S-measure of a map.

    Args:
        p: [H, W], 0 to 1.
        g: [H, W], the truth.
        alpha: weight of the object term.

    Returns:
        0 to 1; of an empty truth 1 minus the mean of ``p``.
    """
    if p.shape != g.shape or p.ndim != 2 or not p.size:
        raise ValueError(f"map is {p.shape}, truth {g.shape}: must be the same [H, W]")
    share = float(g.mean())
    if share == 0:
        return 1.0 - float(p.mean())
    if share == 1:
        return float(p.mean())
    return max(0.0, alpha * object_term(p, g) + (1 - alpha) * region_term(p, g))


def object_term(p: NDArray[np.float64], g: NDArray[np.bool_]) -> float:
    """How bright and even the map ``p`` [H, W], 0 to 1, is on the target, and how dark beside it."""
    share = float(g.mean())
    return share * _even(p[g]) + (1 - share) * _even(1 - p[~g])


def _even(x: NDArray[np.float64]) -> float:
    mean = float(x.mean())
    spread = float(x.std(ddof=1)) if x.size > 1 else 0.0
    return 2 * mean / (mean**2 + 1 + spread + EPS)


def cut(g: NDArray[np.bool_]) -> tuple[int, int]:
    """(row, column) at which image and truth ``g`` [H, W] are cut into four.

    It is the centroid, rounded half to even, plus 1.
    """
    rows, columns = np.nonzero(g)
    return int(np.round(rows.mean())) + 1, int(np.round(columns.mean())) + 1


def region_term(p: NDArray[np.float64], g: NDArray[np.bool_]) -> float:
    """Structural similarity of four blocks of map and truth [H, W], each weighted with its size."""
    row, column = cut(g)
    total = 0.0
    for rows in (slice(0, row), slice(row, None)):
        for columns in (slice(0, column), slice(column, None)):
            block = p[rows, columns]
            if block.size:
                total += block.size / p.size * _similar(block, g[rows, columns].astype(np.float64))
    return total


def _similar(p: NDArray[np.float64], g: NDArray[np.float64]) -> float:
    x, y = float(p.mean()), float(g.mean())
    free = p.size - 1 + EPS
    vx, vy = float(((p - x) ** 2).sum()) / free, float(((g - y) ** 2).sum()) / free
    vxy = float(((p - x) * (g - y)).sum()) / free
    a, b = 4 * x * y * vxy, (x**2 + y**2) * (vx + vy)
    if a != 0:
        return a / (b + EPS)
    return 1.0 if b == 0 else 0.0


def s_of_masks(mask: NDArray[np.bool_], g: NDArray[np.bool_]) -> float:
    """:func:`s_measure` of two masks [H, W], alpha 0.5, from their counts: the same but for rounding, and faster."""
    if mask.shape != g.shape or mask.ndim != 2 or not mask.size:
        raise ValueError(f"mask is {mask.shape}, truth {g.shape}: must be the same [H, W]")
    n, marked, true = mask.size, int(np.count_nonzero(mask)), int(np.count_nonzero(g))
    if true in (0, n):
        return marked / n if true else 1.0 - marked / n
    hit = int(np.count_nonzero(mask & g))
    share = true / n
    of_object = share * _even_share(hit, true) + (1 - share) * _even_share(n - true - marked + hit, n - true)
    row, column = cut(g)
    of_regions = 0.0
    for rows in (slice(0, row), slice(row, None)):
        for columns in (slice(0, column), slice(column, None)):
            p, t = mask[rows, columns], g[rows, columns]
            if p.size:
                of_regions += p.size / n * _similar_counts(p, t)
    return max(0.0, 0.5 * of_object + 0.5 * of_regions)


def _even_share(on: int, count: int) -> float:
    """:func:`_even` of ``count`` values of which ``on`` are 1 and the others 0."""
    mean = on / count
    spread = float(np.sqrt(mean * (1 - mean) * count / (count - 1))) if count > 1 else 0.0
    return 2 * mean / (mean**2 + 1 + spread + EPS)


def _similar_counts(p: NDArray[np.bool_], g: NDArray[np.bool_]) -> float:
    n, marked, true = p.size, int(np.count_nonzero(p)), int(np.count_nonzero(g))
    both = int(np.count_nonzero(p & g))
    # n times the sums of squares and products: whole numbers, so that what is constant is exactly 0.
    x, y, free = marked / n, true / n, n * (n - 1 + EPS)
    vx, vy, vxy = (v / free for v in (marked * (n - marked), true * (n - true), n * both - marked * true))
    a, b = 4 * x * y * vxy, (x**2 + y**2) * (vx + vy)
    if a != 0:
        return a / (b + EPS)
    return 1.0 if b == 0 else 0.0
