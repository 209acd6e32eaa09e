# SPDX-License-Identifier: Apache-2.0
"""Our measures of foregrounds against the package that everybody uses, `pysodmetrics` (1.6.2), where that is finite.

    pip install --target FOLDER --no-deps pysodmetrics scipy scikit-image scikit-learn joblib threadpoolctl \
        cloudpickle narwhals
    PYTHONPATH=.:FOLDER pytest -s test/core/evaluation/language/test_public_package.py      # prints the deviations

It wants another numpy than the one that is pinned, and 230 MB of packages: `make setup` does not install it.
"""

import itertools
import math
import warnings
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
import pytest

from robotseg_core.evaluation.language import foreground
from robotseg_core.evaluation.language.foreground import score

sod = pytest.importorskip("py_sod_metrics", reason="pysodmetrics is not installed: it pins another numpy")
REAL = Path(__file__).resolve().parents[5] / "shared" / "real" / "val"
EXACT = 1e-12
TIES = 0.02
"""Of weighted F: which of several nearest true pixels a background pixel takes is not said."""


def rough(truth, rng):
    """A grey map that is somewhat like the truth [H, W]."""
    moved = np.roll(truth, rng.integers(-3, 4, 2), (0, 1))
    soft = cv2.GaussianBlur(moved, (0, 0), float(rng.uniform(0.5, 4)))
    return np.clip(soft + rng.normal(0, 25, truth.shape), 0, 255).astype(np.uint8)


def random_pairs():
    rng = np.random.default_rng(0)
    for _ in range(60):
        h, w = rng.integers(9, 60, 2)
        truth = np.zeros((h, w), np.uint8)
        for _ in range(rng.integers(1, 4)):
            y, x = rng.integers(0, h - 4), rng.integers(0, w - 4)
            truth[y : y + rng.integers(1, h), x : x + rng.integers(1, w)] = 255
        yield rough(truth, rng), truth


def edge_pairs():
    rng = np.random.default_rng(1)
    truths = [np.zeros((12, 15), np.uint8) for _ in range(5)]
    truths[1][:] = 255
    truths[2][4, 5] = 255
    truths[3][11, 3:9] = 255
    truths[4][3:8, 2:9] = 255
    maps = [np.zeros((12, 15), np.uint8), np.full((12, 15), 255, np.uint8), np.full((12, 15), 90, np.uint8)]
    maps += [rng.integers(0, 256, (12, 15)).astype(np.uint8), truths[4], truths[3], 255 - truths[4]]
    yield from itertools.product(maps, truths)


def real_pairs():
    rng = np.random.default_rng(2)
    for clip in sorted((REAL / "mask_gt").glob("*"))[::3]:
        for part in ("000", "001", "002"):
            files = sorted((clip / part).glob("*.png"))[:1]
            for file in files:
                mask = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
                side = 240 / max(mask.shape)
                truth = cv2.resize(mask, None, fx=side, fy=side, interpolation=cv2.INTER_NEAREST)
                yield rough(truth, rng), truth
                yield np.roll(truth, 4, 1), truth


PAIRS = {"random": random_pairs, "edge": edge_pairs, "real": real_pairs}


def theirs(pred, truth):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [sod.Smeasure(), sod.Emeasure(), sod.Fmeasure(), sod.WeightedFmeasure(), sod.MAE()]
        for measure in found:
            measure.step(pred=pred, gt=truth)
        s, e, f, w, m = (measure.get_results() for measure in found)
    # Their curves begin at threshold 255.
    return {
        "S": s["sm"],
        "E adaptive": e["em"]["adp"],
        "E curve": e["em"]["curve"][::-1],
        "F adaptive": f["fm"]["adp"],
        "F curve": f["fm"]["curve"][::-1],
        "F weighted": w["wfm"],
        "MAE": m["mae"],
    }


def ours(pred, truth):
    found = score(pred, truth)
    return {
        "S": found.s,
        "E adaptive": found.e.adaptive,
        "E curve": found.e.values,
        "F adaptive": found.f.adaptive,
        "F curve": found.f.values,
        "F weighted": found.weighted_f,
        "MAE": found.mae,
    }


def deviations(pairs):
    """Largest deviation of each measure; and how often theirs was not finite, and how often it could be compared."""
    largest, lost, pairs_seen = defaultdict(float), defaultdict(int), 0
    for pred, truth in pairs:
        pairs_seen += 1
        mine, other = ours(pred, truth), theirs(pred, truth)
        for name, value in mine.items():
            assert np.isfinite(value).all(), (name, value)
            if not np.isfinite(other[name]).all():
                lost[name] += 1
                continue
            largest[name] = max(largest[name], float(np.abs(value - other[name]).max()))
    return dict(largest), dict(lost), pairs_seen


@pytest.mark.parametrize("kind", PAIRS)
def test_agrees_with_the_public_package(kind):
    if kind == "real" and not REAL.is_dir():
        pytest.skip("../shared/real/val is not beside this checkout")
    largest, lost, count = deviations(PAIRS[kind]())
    print(f"\n{kind}, {count} pairs: {largest}; not finite with them: {lost}")
    assert count > 30 and set(largest) == set(ours(*next(iter(PAIRS[kind]()))))
    for name, deviation in largest.items():
        assert deviation <= (TIES if name == "F weighted" else EXACT), name
    # S alone is lost: of an empty block theirs is nan.
    assert set(lost) <= {"S"} and lost.get("S", 0) < count / 2


def test_weighted_f_differs_by_ties_alone(monkeypatch):
    """With their choice among the nearest pixels it is the same."""
    from scipy.ndimage import distance_transform_edt

    def nearest(g):
        distance, index = distance_transform_edt(~g, return_indices=True)
        return distance, index[0] * g.shape[1] + index[1]

    monkeypatch.setattr(foreground, "nearest", nearest)
    for pred, truth in random_pairs():
        assert ours(pred, truth)["F weighted"] == pytest.approx(theirs(pred, truth)["F weighted"], abs=EXACT)


def test_of_an_empty_block_theirs_is_nan_and_ours_is_not():
    truth = np.zeros((12, 15), np.uint8)
    truth[11, 3:9] = 255
    assert math.isnan(theirs(truth, truth)["S"]) and ours(truth, truth)["S"] == pytest.approx(1, abs=1e-9)
