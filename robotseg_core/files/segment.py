# SPDX-License-Identifier: Apache-2.0
"""``robotseg segment``: stream an image, a video or a folder of frames and write its masks in a format of choice."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from robotseg_core.files.depth_files import depth_of
from robotseg_core.files.film import Film
from robotseg_core.files.formats.choose import FORMATS, make_writer, outputs_of
from robotseg_core.files.formats.writer import MaskWriter
from robotseg_core.files.frames import FrameError, Frames, list_images, open_frames
from robotseg_core.files.overlay import overlay
from robotseg_core.masks.nearest import Nearest, parse_region
from robotseg_core.model_arguments import add_hygiene_argument, add_model_arguments, load_model
from robotseg_core.option_limits import MOST_DEPTH_M, check_option
from robotseg_core.storage.shown import shown
from robotseg_core.stream.stream import Stream
from robotseg_core.types import ModelFault, PartMasks


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``robotseg segment``."""
    parser.add_argument(
        "input", help="image, video file, folder of frames (streamed in the order of their names), LeRobot data set"
    )
    parser.add_argument("--out", required=True, type=Path, help="masks go to OUT/<name of input>/000|001|002/*.png")
    add_format_argument(parser, {**FORMATS, "lerobot": "OUT is a copy of the LeRobot data set INPUT with masks"})
    parser.add_argument(
        "--camera", action="append", metavar="KEY", help="of a LeRobot data set, also the end of its name; may repeat"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the masks that OUT has of an input of that name"
    )
    parser.add_argument("--no-video", action="store_true", help="do not write the overlay video")
    parser.add_argument(
        "--soft", action="store_true", help="write how likely each pixel is robot, too: --format probability besides"
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


def add_format_argument(parser: argparse.ArgumentParser, formats: dict[str, str]) -> None:
    """``--format``, which may be given several times."""
    told = "; ".join(f"{name}: {what}" for name, what in formats.items())
    parser.add_argument("--format", action="append", choices=tuple(formats), help=f"may repeat; {told}")


def run(arguments: argparse.Namespace) -> int:
    """Segment the input; masks per part for every frame, of the frame's size and name.

    Returns:
        0, or 1 when frames could not be read or answered; which they are is said on standard error.

    Raises:
        ValueError: the input cannot be segmented, or not in that format.
        OSError: files cannot be read or written, or are there already.
    """
    check_option("--max-depth", arguments.max_depth, 0, MOST_DEPTH_M)
    formats = list(dict.fromkeys([*(arguments.format or ["png"]), *["probability"] * arguments.soft]))
    if "lerobot" in formats or (Path(arguments.input) / "meta" / "info.json").is_file():
        return _run_lerobot(arguments, formats)
    if arguments.camera:
        raise ValueError(f"--camera is for LeRobot data sets, {arguments.input} is none")
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
    arguments.out.mkdir(parents=True, exist_ok=True)
    print(robotseg.loaded)
    files = {file.stem: file.name for file in list_images(source)} if source.is_dir() else {}
    writers = [
        make_writer(kind, arguments.out, name, frames.rate_hz, lambda stem: files.get(stem, stem)) for kind in formats
    ]
    writer = _Writer(arguments.out, name, frames, writers, video=not arguments.no_video)
    stream = robotseg.stream()
    stream.nearest, stream.depth_border = nearest or None, arguments.depth_border
    try:
        _stream(stream, frames, writer, arguments.depth)
        made = [path for one in writers for path in one.close()]
    finally:
        for one in writers:
            one.discard()
        writer.close()
    print(f"{writer.done} frames -> {', '.join(map(str, made))}")
    read = writer.done + len(writer.unreadable) + len(writer.failed)
    if frames.count is not None and read < frames.count and source.is_file():
        print(f"{source} says it has {frames.count} frames, {read} could be decoded", file=sys.stderr)
    if writer.unreadable:
        stands = "masks of the frame before them" if set(formats) <= {"png", "probability"} else "not known"
        print(f"not readable, {stands}: {shown(', '.join(writer.unreadable))}", file=sys.stderr)
    if writer.failed:
        first = writer.failed[0]
        print(f"{len(writer.failed)} frames have no masks, the model failed; the first: {first}", file=sys.stderr)
    return 1 if writer.unreadable or writer.failed else 0


def outputs(target: Path) -> list[Path]:
    """What an input's masks, video and contact sheet are called, those that are there."""
    others = [target.with_name(f"{target.name}{end}") for end in ("_overlay.mp4", "_contact_sheet.png")]
    return outputs_of(target.parent, target.name) + [file for file in others if file.exists()]


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


def _run_lerobot(arguments: argparse.Namespace, formats: list[str]) -> int:
    """A copy of a LeRobot data set with the masks as features."""
    if formats != ["lerobot"]:
        raise ValueError(f"{arguments.input} is a LeRobot data set: --format must be lerobot, and nothing else")
    try:
        # Needs pyarrow and PyAV, which other inputs do not.
        from robotseg_core.files.formats.lerobot import add_masks
    except ImportError as error:
        raise ValueError(f"LeRobot data sets need {error.name}: pip install pyarrow av") from error
    with_masks = add_masks(Path(arguments.input), arguments.out, arguments.camera, lambda: load_model(arguments))
    print(f"{with_masks.frames} pictures of {', '.join(with_masks.features)} -> {arguments.out}")
    if with_masks.failed:
        first = with_masks.failed[0]
        print(f"{len(with_masks.failed)} are not valid, the model failed; the first: {first}", file=sys.stderr)
    return 1 if with_masks.failed else 0


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
                    writer.fail(name, error)
            bar.update()


class _Writer:
    """Masks, overlay video and contact sheet of one input."""

    def __init__(self, out: Path, name: str, frames: Frames, masks: list[MaskWriter], *, video: bool) -> None:
        self.name = name
        self.done = 0
        self.unreadable: list[str] = []
        self.failed: list[str] = []
        self._masks = masks
        film = out / f"{name}_overlay.mp4" if video else None
        self._film = Film(film, out / f"{name}_contact_sheet.png", frames.rate_hz, frames.count or 1)

    def write(self, name: str, rgb: NDArray[np.uint8], result: PartMasks) -> None:
        """Write the answer to one frame."""
        for masks in self._masks:
            masks.write(name, result)
        self._film.add(f"{name} {result.state.name}", overlay(rgb, result))
        self.done += 1

    def skip(self, name: str) -> None:
        """A frame that cannot be read; its name is reported at the end."""
        self.unreadable.append(name)
        for masks in self._masks:
            masks.unknown(name, unreadable=True)

    def fail(self, name: str, error: ModelFault) -> None:
        """A frame on which the model failed: an empty mask would say that no robot was seen."""
        self.failed.append(f"{name}: {error}")
        for masks in self._masks:
            masks.unknown(name, unreadable=False)

    def close(self) -> None:
        """Finish the video and write the contact sheet."""
        self._film.close()
