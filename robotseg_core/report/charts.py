# SPDX-License-Identifier: Apache-2.0
"""Charts over time as SVG, drawn here so that a page needs nothing from anywhere."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 1000, 150, 52, 8, 18
"""Of a chart in its own units; the curves begin at ``LEFT``."""
STATE_COLOURS = {
    "SEARCHING": "#b8bec8", "TRACKING": "#2f9e5f", "DEGRADED": "#e0a61c", "LOST": "#6f7a8c",
    "STALE": "#b03a9a", "FAULT": "#c92a2a", "UNREADABLE": "#7a2a10",
}  # fmt: skip
LINE_COLOURS = {"robot": "#444c5c", "arm": "#2878ff", "gripper": "#f08000", "latency": "#8b5fbf"}
POINTS = 1000
"""Points of a curve at most; of more frames each point is the highest or lowest of several."""


def x_of(frame: int, count: int) -> float:
    """Where a frame lies on every chart."""
    return LEFT + (WIDTH - LEFT - 6) * (frame + 0.5) / max(1, count)


def _nice(top: float) -> float:
    """The next round number."""
    if top <= 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(top))
    return float(next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= top * (1 - 1e-9)))


def _thinned(values: NDArray[np.float64]) -> list[tuple[int, float]]:
    """(frame, value) of at most :data:`POINTS` points: lows and highs stay."""
    count = len(values)
    if count <= POINTS:
        return [(i, float(v)) for i, v in enumerate(values)]
    points: list[tuple[int, float]] = []
    for part in np.array_split(np.arange(count), POINTS // 2):
        known = part[np.isfinite(values[part])]
        picked = {int(known[values[known].argmin()]), int(known[values[known].argmax()])} if len(known) else {part[0]}
        points += [(int(i), float(values[i])) for i in sorted(picked)]
    return points


def curves(title: str, series: dict[str, Sequence[float | None]], *, unit: str = "", top: float | None = None) -> str:
    """Curves of values by frame; where a value is None, or not a number, the curve is broken."""
    arrays = {name: np.array([np.nan if v is None else v for v in values], float) for name, values in series.items()}
    finite = [float(np.nanmax(a)) for a in arrays.values() if np.isfinite(a).any()]
    high = top or _nice(max(finite, default=1.0))
    inner = HEIGHT - TOP - BOTTOM
    parts = [_frame(title, high, unit)]
    for name, values in arrays.items():
        line: list[str] = []
        runs = [line]
        for frame, value in _thinned(values):
            if not np.isfinite(value):
                line = []
                runs.append(line)
                continue
            y = TOP + inner * (1 - min(value, high) / high)
            line.append(f"{x_of(frame, len(values)):.1f},{y:.1f}")
        colour = LINE_COLOURS.get(name, "#444")
        for run in runs:
            if len(run) == 1:
                across, down = run[0].split(",")
                parts.append(f'<circle cx="{across}" cy="{down}" r="1.5" fill="{colour}"/>')
            elif run:
                points = " ".join(run)
                parts.append(f'<polyline class="{name}" points="{points}" fill="none" stroke="{colour}"/>')
    legend = "".join(
        f'<tspan fill="{LINE_COLOURS.get(name, "#444")}" dx="10">{html.escape(name)}</tspan>' for name in arrays
    )
    parts.append(f'<text x="{LEFT + 190}" y="{TOP + 10}" class="legend">{legend if len(arrays) > 1 else ""}</text>')
    return _svg("".join(parts), HEIGHT)


def states(names: Sequence[str], dropped: Sequence[int]) -> str:
    """A strip of states, and a mark above it wherever frames were lost."""
    count, parts, start = len(names), [], 0
    for i in range(1, count + 1):
        if i == count or names[i] != names[start]:
            left, right = x_of(start, count) - 0.5 * _step(count), x_of(i, count) - 0.5 * _step(count)
            told = f"{html.escape(names[start])}, frames {start} to {i - 1}"
            colour = STATE_COLOURS.get(names[start], "#000")
            shape = f'x="{left:.2f}" y="16" width="{max(0.4, right - left):.2f}" height="22" fill="{colour}"'
            parts.append(f'<rect class="state" {shape}><title>{told}</title></rect>')
            start = i
    for i, lost in enumerate(dropped):
        if lost:
            x = x_of(i, count)
            told = f"<title>{lost} frames lost before frame {i}</title>"
            parts.append(f'<path class="drop" d="M{x:.1f} 15l-4 -9h8z" fill="#c92a2a">{told}</path>')
    parts.append(f'<text x="{LEFT - 6}" y="31" class="axis" text-anchor="end">state</text>')
    return _svg("".join(parts), 42)


def _step(count: int) -> float:
    return (WIDTH - LEFT - 6) / max(1, count)


def _frame(title: str, high: float, unit: str) -> str:
    bottom, middle = HEIGHT - BOTTOM, (TOP + HEIGHT - BOTTOM) / 2
    lines = "".join(f'<path d="M{LEFT} {y}H{WIDTH - 6}" stroke="#e3e6eb"/>' for y in (TOP, middle, bottom))
    ticks = "".join(
        f'<text x="{LEFT - 6}" y="{y + 4}" class="axis" text-anchor="end">{value:g}{unit}</text>'
        for y, value in ((TOP, high), (middle, high / 2), (bottom, 0.0))
    )
    return f'{lines}{ticks}<text x="{LEFT + 4}" y="{TOP + 10}" class="title">{html.escape(title)}</text>'


def _svg(content: str, height: int) -> str:
    cursor = f'<path class="cursor" d="M0 0V{height}" stroke="#d6336c"/>'
    return f'<svg class="chart" viewBox="0 0 {WIDTH} {height}">{content}{cursor}</svg>'
