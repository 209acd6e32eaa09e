# SPDX-License-Identifier: Apache-2.0
"""``robotseg segment``: stream an image, a video or a folder of frames and write its masks in VRS layout."""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from robotseg_core.encoder_backend import BACKENDS
from robotseg_core.frames import open_frames
from robotseg_core.pictures import contact_sheet, overlay
from robotseg_core.stream import RobotSeg
from robotseg_core.types import PARTS

FOLDERS = dict(zip(PARTS, ("000", "001", "002"), strict=True))
"""Folder of each part in VRS layout (SPEC 10.1)."""


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments by which every command chooses its model."""
    parser.add_argument("--preset", default="nano", help="nano (default) or base")
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda or cuda:N")
    parser.add_argument("--backend", default="auto", choices=BACKENDS, help="of the encoder (default auto)")
    parser.add_argument("--weights", default=None, help="weight file (default: the shipped weights of nano)")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``robotseg segment``."""
    parser.add_argument("input", help="image, video file, folder of frames (streamed in the order of their names)")
    parser.add_argument("--out", required=True, type=Path, help="masks go to OUT/<name of input>/000|001|002/*.png")
    parser.add_argument("--no-video", action="store_true", help="do not write the overlay video")
    add_model_arguments(parser)


def write_png(path: Path, image: NDArray[np.uint8]) -> None:
    """Write a PNG.

    Raises:
        OSError: the file cannot be written (disk full, no permission).
    """
    good, coded = cv2.imencode(".png", image)
    if not good:
        raise OSError(f"{path} cannot be encoded")
    path.write_bytes(coded.tobytes())


def run(arguments: argparse.Namespace) -> int:
    """Segment the input; one mask per part for every frame, 0 or 255, of the frame's size and name."""
    frames = open_frames(arguments.input)
    if frames.live:
        raise ValueError(f"{arguments.input} is a camera; `robotseg segment` takes files")
    source = Path(arguments.input)
    name = source.resolve().name if source.is_dir() else source.stem
    target: Path = arguments.out / name
    for folder in FOLDERS.values():
        (target / folder).mkdir(parents=True, exist_ok=True)
    robotseg = RobotSeg.load(
        arguments.preset, device=arguments.device, backend=arguments.backend, weights=arguments.weights
    )
    print(f"{robotseg.preset} on {robotseg.device}, encoder {robotseg.backend}, weights {robotseg.source}")
    stream = robotseg.stream()
    video: cv2.VideoWriter | None = None
    sheet: list[tuple[str, NDArray[np.uint8]]] = []
    every = max(1, (frames.count or 1) // 12)
    done = 0
    for name_of_frame, bgr in tqdm(frames.frames, total=frames.count, desc=name, unit="frame"):
        rgb = np.ascontiguousarray(bgr[..., ::-1])
        result = stream.step(rgb, stamp=round(done * 1e9 / frames.rate_hz))
        for part, folder in FOLDERS.items():
            write_png(target / folder / f"{name_of_frame}.png", result[part].mask)
        drawn = overlay(rgb, result)
        if not arguments.no_video:
            if video is None:
                size = (bgr.shape[1], bgr.shape[0])
                path = str(arguments.out / f"{name}_overlay.mp4")
                video = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"mp4v"), frames.rate_hz, size)
            video.write(cv2.resize(drawn[..., ::-1], size))
        if done % every == 0 and len(sheet) < 16:
            sheet.append((f"{name_of_frame} {result.state.name}", drawn))
        done += 1
    if video is not None:
        video.release()
    write_png(arguments.out / f"{name}_contact_sheet.png", contact_sheet(sheet)[..., ::-1])
    print(f"{done} frames -> {target}")
    return 0
