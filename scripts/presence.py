# SPDX-License-Identifier: Apache-2.0
"""Where "in view" begins: what moving that threshold brings on labelled pictures and costs on pictures without a robot.

    python scripts/presence.py --labelled ../shared/real/val --bare FOLDER [FOLDER ...] --out out/presence
    python scripts/presence.py --out out/presence --write 0.6

A part is in view where the decoder's score of it is above 0.  Training puts that where as many are wrongly found as
wrongly missed of what it has seen.  Where robots are missed more often than imagined on other pictures, a number added
to the score's last bias brings them back.  ``--write`` saves the weights with that number; their header says so.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from robotseg_core.evaluation.dataset import read_root
from robotseg_core.evaluation.metrics import iou
from robotseg_core.files.frames import read_image
from robotseg_core.stream.robotseg import RobotSeg
from robotseg_core.types import PARTS
from robotseg_core.weights.files import find_weights
from robotseg_core.weights.load import read_state_dict, save_safetensors

BIAS = "sam_mask_decoder.pred_obj_score_head.layers.2.bias"
SHIFTS = (-0.5, 0.0, 0.3, 0.6, 0.9, 1.2, 1.5, 2.0)


def shifted(state: dict[str, Tensor], by: float) -> dict[str, Tensor]:
    """The same weights, ``by`` added to the score above 0 of which a part is in view."""
    return {**state, BIAS: state[BIAS].float() + by}


def marked(robotseg: RobotSeg, rgb: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Masks of the parts [3, H, W] of one picture by itself."""
    parts = robotseg.stream().step(rgb)
    return np.stack([parts[name].mask > 0 for name in PARTS])


def labelled(root: Path) -> Iterator[tuple[NDArray[np.uint8], list[NDArray[np.bool_] | None]]]:
    """Labelled pictures with their masks."""
    for video in read_root(root):
        for index in range(len(video.frames)):
            rgb = video.read_frame(index)
            truths = [video.read_truth(index, name, rgb.shape[:2]) for name in PARTS]
            if any(truth is not None for truth in truths):
                yield rgb, truths


def measure(robotseg: RobotSeg, root: Path, bare: list[Path]) -> list[float]:
    """IoU of the parts on labelled pictures, false pixels and untouched share of those without a robot; percent."""
    found: list[list[float]] = [[] for _ in PARTS]
    for rgb, truths in tqdm(labelled(root), desc="labelled", unit="picture"):
        for row, (mask, truth) in enumerate(zip(marked(robotseg, rgb), truths, strict=True)):
            if truth is not None and (truth.any() or mask.any()):
                found[row].append(iou(mask, truth))
    false = [
        float(marked(robotseg, cv2.cvtColor(read_image(path), cv2.COLOR_BGR2RGB))[-1].mean())
        for path in tqdm(bare, desc="bare", unit="picture")
    ]
    return [100 * float(np.mean(values)) for values in (*found, false, [share == 0 for share in false])]


def main() -> int:
    """Measure every shift, or write one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", default="nano", help="file, or name of a preset (default: nano's shipped ones)")
    parser.add_argument("--labelled", type=Path, help="pictures with masks, VRS layout")
    parser.add_argument("--bare", type=Path, nargs="+", help="folders of pictures without a robot")
    parser.add_argument("--out", type=Path, required=True, help="folder for table and weights")
    parser.add_argument("--write", type=float, metavar="SHIFT", help="save the weights with this shift")
    parser.add_argument("--shifts", type=float, nargs="+", default=SHIFTS)
    arguments = parser.parse_args()
    source = find_weights(arguments.weights)
    state, metadata = read_state_dict(source)
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.write is not None:
        path = arguments.out / f"{source.stem}_{arguments.write:+g}.safetensors"
        save_safetensors(shifted(state, arguments.write), path, {**metadata, "presence": f"{arguments.write:+g}"})
        print(path)
        return 0
    if arguments.labelled is None or arguments.bare is None:
        parser.error("--labelled and --bare are needed to measure")
    bare = [path for folder in arguments.bare for path in sorted(folder.rglob("*.jpg"))]
    lines = ["| shift | arm | gripper | robot | false pixels | untouched |", "|---|---|---|---|---|---|"]
    for shift in arguments.shifts:
        path = arguments.out / "shifted.safetensors"
        save_safetensors(shifted(state, shift), path, metadata)
        values = measure(RobotSeg.load("nano", weights=path, device="cpu"), arguments.labelled, bare)
        lines.append(f"| {shift:+g} | " + " | ".join(f"{value:.2f}" for value in values) + " |")
        (arguments.out / "presence.md").write_text("\n".join(lines) + "\n")
        print(lines[-1], flush=True)
        path.unlink()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
