# SPDX-License-Identifier: Apache-2.0
"""Curves of a run: running means in ``curve.csv``, drawn in ``curve.png``, and in TensorBoard where it is installed."""

from __future__ import annotations

import csv
import logging
from pathlib import Path
from typing import Any

import numpy as np

log = logging.getLogger(__name__)

MEMORY = 0.98
"""Of the running means: some fifty steps."""


def _writer(folder: Path) -> Any:
    """TensorBoard's writer, or None where the package is absent."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        log.info("tensorboard is not installed: curves go to %s alone", folder.parent / "curve.csv")
        return None
    return SummaryWriter(str(folder))


class Curves:
    """Running means of the losses of one phase; a resumed phase starts them anew."""

    def __init__(self, out: Path, phase: str) -> None:
        self.path, self.phase = out / "curve.csv", phase
        self.mean: dict[str, float] = {}
        self._board = _writer(out / "tensorboard")

    def add(self, losses: dict[str, float]) -> None:
        """One step's losses."""
        for name, value in losses.items():
            self.mean[name] = MEMORY * self.mean.get(name, value) + (1 - MEMORY) * value

    def write(self, *, step: int, seen: int, updates: int, seconds: float, rate: float) -> None:
        """Append the present means: ``seen`` frames, ``updates`` steps of the run, learning rate ``rate``."""
        new = not self.path.exists()
        with self.path.open("a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(["phase", "step", "seen", "seconds", "name", "value"])
            for name, value in self.mean.items():
                writer.writerow([self.phase, step, seen, f"{seconds:.0f}", name, f"{value:.5f}"])
        if self._board is not None:
            for name, value in self.mean.items():
                self._board.add_scalar(f"loss/{name}", value, updates)
            self._board.add_scalar("learning rate", rate, updates)

    def close(self) -> None:
        """Write what TensorBoard still holds."""
        if self._board is not None:
            self._board.close()


def plot_curve(source: Path, target: Path) -> None:
    """Draw ``curve.csv`` over the number of frames seen: a colour for each loss, a vertical line for each phase."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    starts: dict[str, float] = {}
    series: dict[tuple[str, str], list[tuple[float, float]]] = {}
    with source.open() as file:
        for row in csv.DictReader(file):
            seen = float(row["seen"]) / 1000
            starts.setdefault(row["phase"], seen)
            series.setdefault((row["name"], row["phase"]), []).append((seen, float(row["value"])))
    names = [name for name in dict.fromkeys(name for name, _ in series) if name != "total"]
    styles: dict[str, dict[str, Any]] = {name: {"color": f"C{i}", "linewidth": 1} for i, name in enumerate(names)}
    styles["total"] = {"color": "black", "linewidth": 2}
    figure, axes = plt.subplots(figsize=(10, 5), layout="constrained")
    for name, style in styles.items():
        axes.plot([], [], label=name, **style)
    for (name, _), points in series.items():
        x, y = np.array(points).T
        axes.plot(x, y, marker="." if len(x) < 3 else "", **styles[name])
    for phase, seen in starts.items():
        axes.axvline(seen, color="grey", linewidth=0.8, linestyle=":")
        axes.text(seen, 1.01, phase, transform=axes.get_xaxis_transform(), rotation=35, fontsize=8)
    axes.set_xlabel("frames seen, thousands")
    axes.set_ylabel("loss (running mean)")
    axes.set_yscale("log")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper")
    figure.savefig(target, dpi=110)
    plt.close(figure)
