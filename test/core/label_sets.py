# SPDX-License-Identifier: Apache-2.0
"""Small data sets to label, and what a run has left."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
from small_models import moving_frames

from robotseg_core.label_set.labeller import LabelSettings, settle

QUICK = ("--backend", "torch", "--precision", "fp32", "--image-size", "64", "--device", "cpu")
"""The shipped model, at a size at which it is fast and its masks do not count."""


def quick_settings(**more: object) -> LabelSettings:
    """The same for the functions below the command."""
    given = argparse.Namespace(
        preset="nano", device="cpu", backend="torch", weights=None, adapter=None, precision="fp32", image_size=64
    )
    return settle(given, **more)  # type: ignore[arg-type]


def make_tree(root: Path, clips: int = 3, frames: int = 4) -> Path:
    """A VRS tree without masks."""
    pictures = moving_frames(clips + frames)
    for clip in range(clips):
        folder = root / "image" / f"v{clip}"
        folder.mkdir(parents=True)
        for i in range(frames):
            cv2.imwrite(str(folder / f"{i:05d}.png"), pictures[clip + i])
    return root


def manifest(out: Path) -> tuple[dict[str, object], list[dict[str, object]]]:
    """First line of the manifest, and the others."""
    first, *others = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    return first, others


def tree(out: Path) -> dict[str, bytes]:
    """Every file of the masks by its path."""
    return {str(f.relative_to(out)): f.read_bytes() for f in sorted((out / "masks").rglob("*")) if f.is_file()}
