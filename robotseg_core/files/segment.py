# SPDX-License-Identifier: Apache-2.0
"""``robotseg segment``: stream an image, a video or a folder of frames and write its masks in VRS layout."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from robotseg_core.files.depth_files import depth_of
from robotseg_core.files.frames import FrameError, Frames, open_frames
from robotseg_core.files.mask_files import FOLDERS, SOFT, write_png
from robotseg_core.files.overlay import contact_sheet, overlay
from robotseg_core.masks.nearest import Nearest, parse_region
from robotseg_core.masks.soft import robot_probability
from robotseg_core.model_arguments import add_hygiene_argument, add_model_arguments, load_model
from robotseg_core.storage.shown import shown
from robotseg_core.stream.stream import Stream
from robotseg_core.types import ModelFault, PartMasks


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``robotseg segment``."""
    parser.add_argument("input", help="image, video file, folder of frames (streamed in the order of their names)")
    parser.add_argument("--out", required=True, type=Path, help="masks go to OUT/<name of input>/000|001|002/*.png")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the masks that OUT has of an input of that name"
    )
    parser.add_argument("--no-video", action="store_true", help="do not write the overlay video")
    parser.add_argument(
        "--soft", action="store_true", help="write how likely each pixel is robot, too: OUT/<name of input>/soft/*.png"
    )
    parser.add_argument(
        "--region",
        type=parse_region,
        default=(),
        metavar="X0,Y0,X1,Y1,...",
        help="corners of where the robot is that is meant, as shares of width and height, 0 to 1",
    )
    parser.add_argument("--max-depth", type=float, default=0.0, help="robots farther away than this, m, are not meant")
    parser.add_argument(
        "--depth",
        type=Path,
        help="folder of depth images aligned with the frames and named as they: PNG or TIFF of 16 bits in mm, TIFF or "
        ".npy of float32 in m",
    )
    parser.add_argument(
        "--depth-border", action="store_true", help="let --depth decide where the border of the masks is doubtful"
    )
    add_model_arguments(parser)
    add_hygiene_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Segment the input; one mask per part for every frame, 0 or 255, of the frame's size and name."""
    frames = open_frames(arguments.input)
    if frames.live:
        raise ValueError(f"{arguments.input} is a camera; `robotseg segment` takes files")
    source = Path(arguments.input)
    # The name as it was given, also where it is a link.
    name = Path(os.path.abspath(source)).name if source.is_dir() else source.stem
    target: Path = arguments.out / name
    if not arguments.overwrite:
        check_free(target)
    nearest = Nearest(arguments.region, arguments.max_depth)
    if (nearest.max_depth > 0 or arguments.depth_border) != (arguments.depth is not None):
        raise ValueError("--depth goes with --max-depth or --depth-border, and they with it: what for, and the images")
    if arguments.depth is not None and not arguments.depth.is_dir():
        raise ValueError(f"{arguments.depth} is no folder of depth images")
    robotseg = load_model(arguments)
    clear(target)
    for folder in (*FOLDERS.values(), *[SOFT] * arguments.soft):
        (target / folder).mkdir(parents=True, exist_ok=True)
    print(robotseg.loaded)
    writer = _Writer(arguments.out, name, frames, video=not arguments.no_video, soft=arguments.soft)
    stream = robotseg.stream()
    stream.nearest, stream.depth_border = nearest or None, arguments.depth_border
    try:
        _stream(stream, frames, writer, arguments.depth)
    finally:
        writer.close()
    print(f"{writer.done} frames -> {target}")
    read = writer.done + len(writer.unreadable) + len(writer.failed)
    if frames.count is not None and read < frames.count and source.is_file():
        print(f"{source} says it has {frames.count} frames, {read} could be decoded", file=sys.stderr)
    if writer.unreadable:
        listed = shown(", ".join(writer.unreadable))
        print(f"not readable, masks of the frame before them: {listed}", file=sys.stderr)
    if writer.failed:
        first = writer.failed[0]
        print(f"{len(writer.failed)} frames have no masks, the model failed; the first: {first}", file=sys.stderr)
    return 1 if writer.unreadable or writer.failed else 0


def outputs(target: Path) -> list[Path]:
    """What an input's masks, video and contact sheet are called, those that are there."""
    masks = [file for folder in (*FOLDERS.values(), SOFT) for file in sorted((target / folder).glob("*.png"))]
    others = [target.with_name(f"{target.name}{end}") for end in ("_overlay.mp4", "_contact_sheet.png")]
    return masks + [file for file in others if file.exists()]


def check_free(target: Path) -> None:
    """Raise FileExistsError where masks of another input of that name are there: they would be mixed."""
    there = outputs(target)
    if there:
        raise FileExistsError(
            f"{there[0]} exists: masks of two inputs named {target.name} would be mixed; give another --out, or "
            f"--overwrite to replace them ({len(there)} files)"
        )


def clear(target: Path) -> None:
    """Remove what an earlier run has left under this name, and nothing else."""
    for file in outputs(target):
        file.unlink()


def _stream(stream: Stream, frames: Frames, writer: _Writer, depth: Path | None) -> None:
    iterator = iter(frames.frames)
    with tqdm(total=frames.count, desc=writer.name, unit="frame") as bar:
        while True:
            try:
                name, bgr = next(iterator)
            except StopIteration:
                return
            except FrameError as error:
                writer.skip(error.name)
            else:
                rgb = np.ascontiguousarray(bgr[..., ::-1])
                far = None if depth is None else depth_of(depth, name)
                try:
                    stamp = round(writer.done * 1e9 / frames.rate_hz)
                    writer.write(name, rgb, stream.step(rgb, stamp, depth=far))
                except ModelFault as error:
                    # An empty mask would say that no robot was seen.
                    writer.failed.append(f"{name}: {error}")
            bar.update()


class _Writer:
    """Masks, overlay video and contact sheet of one input."""

    def __init__(self, out: Path, name: str, frames: Frames, *, video: bool, soft: bool) -> None:
        self.out, self.name, self.rate_hz, self._video, self._soft = out, name, frames.rate_hz, video, soft
        self.done = 0
        self.unreadable: list[str] = []
        self.failed: list[str] = []
        self._last: PartMasks | None = None
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._sheet: list[tuple[str, NDArray[np.uint8]]] = []
        self._every = max(1, -(-(frames.count or 1) // 12))

    def write(self, name: str, rgb: NDArray[np.uint8], result: PartMasks) -> None:
        """Write the answer to one frame."""
        if self._last is None:
            # Frames that could not be read before the first answer: there is nothing to repeat for them.
            for earlier in self.unreadable:
                self._write(earlier, dict.fromkeys(self._folders, np.zeros(rgb.shape[:2], np.uint8)))
        self._last = result
        self._write(name, self._pictures(result))
        drawn = overlay(rgb, result)
        if self._video:
            self._frame(drawn)
        if self.done % self._every == 0:
            self._sheet.append((f"{name} {result.state.name}", drawn))
        self.done += 1

    def skip(self, name: str) -> None:
        """A frame that cannot be read: the last answer stands for it, and its name is reported at the end."""
        self.unreadable.append(name)
        if self._last is not None:
            self._write(name, self._pictures(self._last))

    def close(self) -> None:
        """Finish the video and write the contact sheet."""
        if self._writer is not None:
            self._writer.release()
        if self._sheet:
            write_png(self.out / f"{self.name}_contact_sheet.png", contact_sheet(self._sheet)[..., ::-1])

    @property
    def _folders(self) -> tuple[str, ...]:
        return (*FOLDERS.values(), *[SOFT] * self._soft)

    def _pictures(self, result: PartMasks) -> dict[str, NDArray[np.uint8]]:
        """What is written of an answer, by folder."""
        masks = {folder: result[part].mask for part, folder in FOLDERS.items()}
        return masks | {SOFT: robot_probability(result)} if self._soft else masks

    def _write(self, name: str, pictures: dict[str, NDArray[np.uint8]]) -> None:
        for folder, picture in pictures.items():
            write_png(self.out / self.name / folder / f"{name}.png", picture)

    def _frame(self, drawn: NDArray[np.uint8]) -> None:
        if self._writer is None:
            self._size = (drawn.shape[1], drawn.shape[0])
            path = self.out / f"{self.name}_overlay.mp4"
            self._writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), self.rate_hz, self._size)
            if not self._writer.isOpened():
                print(
                    f"{path} cannot be encoded at {self._size[0]} x {self._size[1]}; no overlay video", file=sys.stderr
                )
        self._writer.write(cv2.resize(drawn[..., ::-1], self._size))
