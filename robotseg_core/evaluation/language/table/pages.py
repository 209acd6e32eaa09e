# SPDX-License-Identifier: Apache-2.0
"""A contest as Markdown tables and as a sheet of pictures to look at."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from robotseg_core.evaluation.language.table.contest import Mask, Picture
from robotseg_core.evaluation.language.table.figures import Difference, RowFigures
from robotseg_core.files.overlay import contact_sheet
from robotseg_core.synth.requests.generate import SceneRequest

WIDE = ("all", "needs language")
"""Groups that have a table with all measures; the others share one."""
TARGET, TRUTH = (40, 220, 90), (255, 200, 40)
"""RGB of answers and of the truth in the sheet."""


def markdown(rows: Sequence[RowFigures], differences: Sequence[Difference]) -> str:
    """Tables in percent: all measures of :data:`WIDE`, then gIoU of every group, then the differences."""
    names = list(dict.fromkeys(row.row for row in rows))
    groups = list(dict.fromkeys(row.group for row in rows))
    by = {(row.group, row.row): row for row in rows}
    lines = []
    for group in (group for group in WIDE if group in groups):
        lines += _measures(group, [by[group, name] for name in names])
    lines += ["gIoU by group, and as a share of the true boxes' in brackets:", ""]
    lines += [_line(["requests", "n", *names]), _rule(2 + len(names))]
    for group in groups:
        cells = [f"{_percent(r.summary.giou)} ({_percent(r.share.get('giou', math.nan), 0)})"
                 for r in (by[group, name] for name in names)]  # fmt: skip
        lines.append(_line([group, str(by[group, names[0]].summary.count), *cells]))
    if differences:
        lines += ["", "Differences of gIoU, points, with the paired 95 % interval over scenes:", ""]
        lines += [_line(["requests", "n", "methods", "difference", "95 %"]), _rule(5)]
        for d in differences:
            span = f"{100 * d.low:+.1f} to {100 * d.high:+.1f}"
            lines.append(_line([d.group, str(d.count), f"{d.first} - {d.second}", f"{100 * d.giou:+.1f}", span]))
    return "\n".join(lines) + "\n"


def _measures(group: str, rows: Sequence[RowFigures]) -> list[str]:
    head = ["", "seeds", "gIoU", "95 %", "seeds' range", "of true box", "cIoU", "S", "IoU > .5", "IoU > .7", "N-acc",
            "T-acc", "wrong", "boxes", "points", "CPU ms"]  # fmt: skip
    lines = [f"{group[0].upper()}{group[1:]}, {rows[0].summary.count} requests:", "", _line(head), _rule(len(head))]
    for r in rows:
        s = r.summary
        lines.append(
            _line(
                [
                    r.row, str(r.seeds), _percent(s.giou), f"{_percent(s.low)} to {_percent(s.high)}",
                    f"{_percent(r.least)} to {_percent(r.most)}" if r.seeds > 1 else "",
                    _percent(r.share.get("giou", math.nan)),
                    *(_percent(v) for v in (s.ciou, s.s, s.over_half, s.over_most, s.n_acc, s.t_acc, s.wrong)),
                    _number(r.boxes), _number(r.points), _number(r.ms),
                ]
            )
        )  # fmt: skip
    return [*lines, ""]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _rule(count: int) -> str:
    return f"|{'---|' * count}"


def _percent(value: float, digits: int = 1) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.{digits}f}"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.1f}"


def choose_pictures(requests: Sequence[SceneRequest], count: int, *, seed: int = 0) -> list[int]:
    """Numbers of requests to look at: half of them need language, families by turns, one of a scene at first."""
    rng = np.random.default_rng(seed)
    order = [int(i) for i in rng.permutation(len(requests))]
    chosen: list[int] = []
    seen: dict[str, int] = {}
    for needs in (True, False, None):
        wanted = count if needs is None else min(count, len(chosen) + (count + 1) // 2)
        while len(chosen) < wanted:
            left = [i for i in order if i not in chosen and needs in (None, requests[i].needs_language)]
            if not left:
                break
            scenes = {requests[i].video for i in chosen}
            best = min(left, key=lambda i: (seen.get(requests[i].family, 0), requests[i].video in scenes))
            seen[requests[best].family] = seen.get(requests[best].family, 0) + 1
            chosen.append(best)
    return sorted(chosen)


def picture_sheet(
    requests: Sequence[SceneRequest],
    pictures: dict[int, Picture],
    columns: Sequence[tuple[str, int]],
    ious: Sequence[Sequence[float]],
    *,
    width: int = 224,
) -> NDArray[np.uint8]:
    """One line for each request: the frame with the text, the truth, then each column's mask with its IoU.

    Args:
        requests: all.
        pictures: of some of them, by number.
        columns: caption, and number of the contestant.
        ious: of each contestant, in the order of the requests.
        width: of a picture, pixels.

    Returns:
        [h, w, 3] uint8 RGB.
    """
    cells = []
    for number, picture in sorted(pictures.items()):
        one = requests[number]
        kind = f"not {one.kind}" if one.invert else one.kind
        said, more = _lines(one.text, width)
        cells.append((said, picture.rgb))
        truth = f"{kind if one.target else 'none'}"
        cells.append((_lines(f"{more} [{truth}]", width)[0], _drawn(picture.rgb, picture.truth, TRUTH)))
        for caption, contestant in columns:
            iou = f"{100 * ious[contestant][number]:.0f} {caption}"
            cells.append((_lines(iou, width)[0], _drawn(picture.rgb, picture.masks[contestant], TARGET)))
    return contact_sheet(cells, columns=2 + len(columns), width=width)


def _lines(text: str, width: int) -> tuple[str, str]:
    """What of a text stands above a picture of this width, and what is left."""
    most = width // 7
    text = text.encode("ascii", "replace").decode()
    return text[:most], text[most:]


def _drawn(rgb: NDArray[np.uint8], mask: Mask, colour: tuple[int, int, int]) -> NDArray[np.uint8]:
    drawn = rgb.copy()
    drawn[mask] = (0.45 * rgb[mask] + 0.55 * np.array(colour)).astype(np.uint8)
    outline, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(drawn, outline, -1, colour, 2))
