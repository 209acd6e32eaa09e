# SPDX-License-Identifier: Apache-2.0
"""``robotseg eval``: stream every video of a VRS-layout root through the memory and measure IoU.

A first measure: mean over videos of the mean IoU of their annotated frames; an empty mask of an empty truth
counts 1.  Frames without annotation are streamed and not counted.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from robotseg_core.frames import open_frames
from robotseg_core.pictures import contact_sheet, overlay
from robotseg_core.segment import FOLDERS, NANO_FILE_SIZE, add_model_arguments, load_model, write_png
from robotseg_core.types import PARTS, PartMasks


@dataclass(frozen=True)
class VideoScore:
    """Scores of a video: per part the mean IoU over its annotated frames, and the share of robot pixels."""

    name: str
    frames: int
    iou: dict[str, float]
    marked: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``robotseg eval``."""
    parser.add_argument("root", type=Path, help="folder with image/ (or frames/) and mask_gt/")
    parser.add_argument("--out", type=Path, default=None, help="folder for scores.json and worst.png")
    parser.add_argument("--no-memory", action="store_true", help="forget everything before each frame")
    add_model_arguments(parser)


def iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Intersection over union of two masks; 1 where both are empty."""
    union = int((a | b).sum())
    return float((a & b).sum() / union) if union else 1.0


def read_truth(folder: Path, frame: str, part: str, shape: tuple[int, int]) -> NDArray[np.bool_] | None:
    """Ground truth of a part, or None where the frame is not annotated."""
    path = folder / FOLDERS[part] / f"{frame}.png"
    if not path.exists():
        return None
    mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if mask is None:
        raise ValueError(f"{path} cannot be read as an image")
    if mask.shape != shape:
        raise ValueError(f"{path} is {mask.shape[1]} x {mask.shape[0]}, its frame is {shape[1]} x {shape[0]}")
    return np.asarray(mask > 127)


def run(arguments: argparse.Namespace) -> int:
    """Measure every video, print the table, write scores and the worst frames."""
    root: Path = arguments.root
    images = root / "image" if (root / "image").is_dir() else root / "frames"
    if not images.is_dir():
        raise ValueError(f"{root} has neither image/ nor frames/")
    robotseg = load_model(arguments, NANO_FILE_SIZE)
    videos = sorted(p for p in images.iterdir() if p.is_dir())
    if not videos:
        raise ValueError(f"{images} has no folders of frames")
    scores: list[VideoScore] = []
    pictures: list[tuple[float, str, NDArray[np.uint8]]] = []
    for video in tqdm(videos, unit="video"):
        stream = robotseg.stream()
        found: dict[str, list[float]] = {part: [] for part in PARTS}
        marked = []
        for name, bgr in open_frames(str(video)).frames:
            if arguments.no_memory:
                stream.reset()
            rgb = np.ascontiguousarray(bgr[..., ::-1])
            result: PartMasks = stream.step(rgb)
            marked.append(float((result["robot"].mask > 0).mean()))
            for part in PARTS:
                truth = read_truth(root / "mask_gt" / video.name, name, part, bgr.shape[:2])
                if truth is not None:
                    found[part].append(iou(result[part].mask > 0, truth))
                    if part == "robot":
                        score = found[part][-1]
                        pictures.append((score, f"{video.name}/{name} {score:.2f}", overlay(rgb, result)))
                        # The worst twelve and the best four; a large set would not fit into memory.
                        pictures.sort(key=lambda p: p[0])
                        del pictures[12:-4]
        mean = {part: float(np.mean(values)) if values else float("nan") for part, values in found.items()}
        scores.append(VideoScore(video.name, len(found["robot"]), mean, float(np.mean(marked))))
    print(f"{'video':32}{'frames':>7}{'arm':>8}{'gripper':>9}{'robot':>8}{'marked':>9}")
    for s in scores:
        print(f"{s.name:32}{s.frames:7}{s.iou['arm']:8.3f}{s.iou['gripper']:9.3f}{s.iou['robot']:8.3f}{s.marked:9.2%}")
    if not pictures:
        raise ValueError(f"{root / 'mask_gt'} has no masks for the frames of {images}")
    means = {part: float(np.nanmean([s.iou[part] for s in scores])) for part in PARTS}
    print(f"{'mean':32}{'':7}{means['arm']:8.3f}{means['gripper']:9.3f}{means['robot']:8.3f}")
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        report = {"mean": means, "videos": [vars(s) for s in scores]}
        (arguments.out / "scores.json").write_text(json.dumps(report, indent=1))
        write_png(arguments.out / "worst.png", contact_sheet([(c, p) for _, c, p in pictures])[..., ::-1])
    return 0
