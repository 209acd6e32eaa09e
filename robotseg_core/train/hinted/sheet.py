# SPDX-License-Identifier: Apache-2.0
"""Draws what a step shows and asks:  python -m robotseg_core.train.hinted.sheet --packs DIR --out FILE.

A block of lines for each clip, one line a row: its target in red over the frames, what a negative click may be on in
blue, clicks as dots (green on it, black off it), boxes as frames.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robotseg_core.config import NANO as MODEL
from robotseg_core.train.hinted import hints
from robotseg_core.train.hinted.clips.compose import Pool
from robotseg_core.train.hinted.clips.draw import Drawer, Program, program
from robotseg_core.train.hinted.follow import AUTOMATIC, Rows
from robotseg_core.train.hinted.learn import Learner
from robotseg_core.train.hinted.packs.catalogue import Catalogue
from robotseg_core.train.hinted.packs.files import read_packs
from robotseg_core.train.hinted.settings import NANO

CELL = 144
"""Side of a picture on the sheet, pixels."""


def draw_sheet(images: Tensor, rows: Rows, what: Program, generator: torch.Generator) -> NDArray[np.uint8]:
    """Frames [B * T, 3, S, S] and rows of B clips -> BGR picture."""
    length = rows.truth.shape[1]
    batch = len(images) // length
    count = len(rows.category) // batch
    pictures = (images.permute(0, 2, 3, 1).flip(-1) * 255).byte().cpu().numpy()
    lines = []
    for b in range(batch):
        for r in range(count):
            n = r * batch + b
            hint = what.hints[r - AUTOMATIC] if r >= AUTOMATIC else "auto"
            line = []
            for t in range(length):
                frame = pictures[b * length + t].copy()
                _tint(frame, rows.truth[n, t], (0, 0, 255))
                if r >= AUTOMATIC and t == what.hint_frame:
                    _tint(frame, rows.off[n], (255, 100, 0))
                    if hint not in ("mask", "fix"):
                        _points(frame, *hints.points(hint, rows.truth[n : n + 1, t], rows.off[n : n + 1], generator))
                    elif hint == "fix":
                        logits, points = hints.wrong_mask(rows.truth[n : n + 1, t], rows.off[n : n + 1], generator)
                        _tint(frame, (logits[0, 0] > 0).float(), (0, 255, 255))
                        _points(frame, *points)
                small = cv2.resize(frame, (CELL, CELL), interpolation=cv2.INTER_AREA)
                text = f"{'AGR'[int(rows.category[n])]} {hint}" if t == 0 else ""
                text += "" if float(rows.weight[n, t]) else " -"
                cv2.putText(small, text, (2, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1, cv2.LINE_AA)
                line.append(small)
            lines.append(np.hstack(line))
        lines.append(np.full((4, CELL * length, 3), 255, np.uint8))
    return np.vstack(lines)


def _tint(frame: NDArray[np.uint8], mask: Tensor, colour: tuple[int, int, int]) -> None:
    large = cv2.resize(mask.float().cpu().numpy(), frame.shape[1::-1], interpolation=cv2.INTER_LINEAR)[..., None]
    frame[:] = (frame * (1 - 0.5 * large) + np.array(colour) * 0.5 * large).astype(np.uint8)


def _points(frame: NDArray[np.uint8], coords: Tensor, labels: Tensor) -> None:
    box = []
    for (x, y), label in zip(coords[0].tolist(), labels[0].tolist(), strict=True):
        if label in (2, 3):
            box.append((int(x), int(y)))
        elif label >= 0:
            cv2.circle(frame, (int(x), int(y)), 5, (0, 255, 0) if label else (0, 0, 0), -1)
            cv2.circle(frame, (int(x), int(y)), 6, (255, 255, 255), 1)
    if len(box) == 2:
        cv2.rectangle(frame, box[0], box[1], (0, 255, 0), 2)


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="robotseg_core.train.hinted.sheet", description=(__doc__ or "").split("\n", 1)[0]
    )
    parser.add_argument("--packs", type=Path, required=True, help="folder of packs (*.zip)")
    parser.add_argument("--out", type=Path, required=True, help="picture to write")
    parser.add_argument("--stage", type=int, default=1, help="stage of the run, from 0 (default 1)")
    parser.add_argument("--clips", type=int, default=3, help="clips drawn (default 3)")
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn (default 0)")
    arguments = parser.parse_args(argv)
    pictures = read_packs(sorted(arguments.packs.glob("*.zip")), NANO.store, workers=1)
    stage = NANO.stages[arguments.stage]
    rng = np.random.default_rng(arguments.seed)
    what, _, length = program(stage, rng)
    clips = Drawer(Catalogue(pictures.videos), stage.shares).draw(what, arguments.clips, length, rng)
    generator = torch.Generator().manual_seed(arguments.seed)
    images, rows = Learner(MODEL).view(clips, what, Pool(pictures, torch.device("cpu")), generator)
    cv2.imwrite(str(arguments.out), draw_sheet(images, rows, what, generator))
    print(f"{what} -> {arguments.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
