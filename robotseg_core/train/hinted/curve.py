# SPDX-License-Identifier: Apache-2.0
"""The curve of a run, from its log."""

from __future__ import annotations

import json
from pathlib import Path


def draw_curve(out: Path) -> None:
    """``log.jsonl`` of a run as ``curve.png``: losses above, measurements below; nothing where matplotlib is absent."""
    try:
        import matplotlib
    except ImportError:
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    figure, axes = plt.subplots(2, 1, figsize=(11, 9), layout="constrained", sharex=True)
    no_figure = {"kind", "stage", "updates", "seen", "progress", "seconds", "skipped", "norm", "cost"}
    for axis, kind in zip(axes, ("losses", "probe"), strict=True):
        own = [row for row in rows if row["kind"] == kind]
        for i, name in enumerate(sorted({key for row in own for key in row} - no_figure)):
            points = [(row["seen"] / 1000, row[name]) for row in own if name in row]
            style = ("-", "--", ":", "-.")[i // 10 % 4]
            axis.plot(*zip(*points, strict=True), style, label=name, color=f"C{i % 10}", linewidth=1.2)
        axis.grid(alpha=0.3)
        axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=7)
    axes[0].set_yscale("log")
    axes[0].set_ylabel("loss")
    axes[1].set_ylabel("percent, pictures not trained on")
    axes[1].set_xlabel("frames seen, thousands")
    figure.savefig(out / "curve.png", dpi=100)
    plt.close(figure)
