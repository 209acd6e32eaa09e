# SPDX-License-Identifier: Apache-2.0
"""``robotseg label``: videos without labels become training videos, labelled by the model itself (self-training).

Each input is streamed twice, as it is and mirrored.  A frame is believed where both answers agree: a model that knows
a robot finds it from either side, one that guesses does not.  A guess can agree with itself, too; the contact sheets
are for a person to find those.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from robotseg_core.files.frames import IMAGE_SUFFIXES, FrameError, Frames, InputError, open_frames
from robotseg_core.model_arguments import add_model_arguments, load_model
from robotseg_core.stream.robotseg import RobotSeg
from robotseg_core.train.label_efficient.label_writer import SHORTEST, LabelWriter
from robotseg_core.types import ModelFault


@dataclass(frozen=True, kw_only=True)
class LabelConfig:
    """Which frames are kept, and how they are cut into videos.

    Attributes:
        agree: IoU that the robot's masks of a frame and of its mirror image need, 0 to 1.
        least: share of the picture that both must cover, above 0 to 1; so frames without a robot are never kept.
        window: frames of a video.
        step: frames from the start of a video to the start of the next, 1 to ``window``.
        first: masks for the first frame of each video only; then only that one needs to agree.
    """

    agree: float = 0.6
    least: float = 0.01
    window: int = 12
    step: int = 3
    first: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.agree <= 1:
            raise ValueError(f"agree is {self.agree}, must be 0 to 1 (IoU)")
        if not 0 < self.least <= 1:
            raise ValueError(f"least is {self.least}, must be above 0 and at most 1 (share of the picture)")
        if self.window < SHORTEST:
            raise ValueError(f"window is {self.window}, must be at least {SHORTEST} frames")
        if not 1 <= self.step <= self.window:
            raise ValueError(f"step is {self.step}, must be 1 to the window's {self.window} frames")


@dataclass(frozen=True, kw_only=True)
class Tally:
    """What became of frames.

    Attributes:
        frames: all that were streamed.
        kept: those that are believed.
        small: those in which the robot covers too little.
        differ: those whose masks are too different, at best with the IoU ``best``.
        videos: videos written.
    """

    frames: int = 0
    kept: int = 0
    small: int = 0
    differ: int = 0
    best: float = 0.0
    videos: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            frames=self.frames + other.frames,
            kept=self.kept + other.kept,
            small=self.small + other.small,
            differ=self.differ + other.differ,
            best=max(self.best, other.best),
            videos=self.videos + other.videos,
        )

    def why_nothing(self, config: LabelConfig) -> str:
        """Why there is no video."""
        text = (
            f"nothing is kept: of {self.frames} frames the robot covers less than {config.least:g} of the picture in "
            f"{self.small}, and agrees with its mirror image by less than {config.agree:g} in {self.differ}"
        )
        if self.differ:
            text += f" (at best {self.best:.2f})"
        if self.kept:
            text += f"; {self.kept} agree, but make no video of at least {SHORTEST} frames"
        return text


def judge(robot: NDArray[np.uint8], mirrored: NDArray[np.uint8], config: LabelConfig) -> Tally:
    """The verdict on one frame, from the robot's mask in it and in its mirror image, [H, W] uint8 each."""
    here, there = robot > 0, mirrored[:, ::-1] > 0
    if min(here.mean(), there.mean()) < config.least:
        return Tally(frames=1, small=1)
    iou = float((here & there).sum() / (here | there).sum())
    return Tally(frames=1, differ=1, best=iou) if iou < config.agree else Tally(frames=1, kept=1)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``robotseg label``."""
    usual = LabelConfig()
    parser.add_argument("input", nargs="+", help="video files, folders of frames, or folders of such folders")
    parser.add_argument("--out", required=True, type=Path, metavar="ROOT", help="new folder of the videos (VRS layout)")
    parser.add_argument("--first", action="store_true", help="masks for the first frame of each video only")
    parser.add_argument("--agree", type=float, default=usual.agree, help="IoU of frame and mirror image (default 0.6)")
    parser.add_argument("--least", type=float, default=usual.least, help="share of the picture (default 0.01)")
    parser.add_argument("--window", type=int, default=usual.window, help="frames of a video (default 12)")
    parser.add_argument("--step", type=int, default=usual.step, help="frames between starts of videos (default 3)")
    add_model_arguments(parser)


def find_inputs(given: list[str]) -> dict[str, str]:
    """Sources by name; a folder of folders stands for those of them that hold images.

    Raises:
        ValueError: a folder without images or folders of images, or two sources of one name.
    """
    sources: dict[str, str] = {}
    for text in given:
        path = Path(text)
        found = [path]
        if path.is_dir() and not _has_images(path):
            found = [p for p in sorted(path.iterdir()) if p.is_dir() and _has_images(p)]
            if not found:
                raise InputError(
                    f"{text} has neither images nor folders of images ({', '.join(sorted(IMAGE_SUFFIXES))})"
                )
        for source in found:
            # The name as it was given, also where it is a link.
            name = Path(os.path.abspath(source)).name if source.is_dir() else source.stem
            if name in sources:
                raise InputError(f"{sources[name]} and {source} are both named {name}; their videos would be mixed up")
            sources[name] = str(source)
    return sources


def _has_images(folder: Path) -> bool:
    return any(file.suffix.lower() in IMAGE_SUFFIXES for file in folder.iterdir())


def label_video(robotseg: RobotSeg, frames: Frames, name: str, root: Path, config: LabelConfig) -> Tally:
    """Stream one input as it is and mirrored, and write ``root/image/<name>_<k>`` and ``root/mask_gt/<name>_<k>``."""
    tally = Tally()
    writer = LabelWriter(root, name, window=config.window, step=config.step, first=config.first)
    straight, mirrored = robotseg.stream(), robotseg.stream()
    for stem, bgr in _readable(frames, name):
        rgb = np.ascontiguousarray(bgr[..., ::-1])
        try:
            result, other = straight.step(rgb), mirrored.step(np.ascontiguousarray(rgb[:, ::-1]))
        except ModelFault as error:
            print(f"left out: frame {stem}: {error}", file=sys.stderr)
            continue
        verdict = judge(result["robot"].mask, other["robot"].mask, config)
        tally += verdict
        if verdict.kept or config.first:
            writer.add(stem, rgb, result if verdict.kept else None)
    writer.close()
    return tally + Tally(videos=writer.videos)


def _readable(frames: Frames, name: str) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Frames that can be read; the others are named on standard error."""
    iterator = iter(frames.frames)
    with tqdm(total=frames.count, desc=name, unit="frame") as bar:
        while True:
            try:
                frame = next(iterator)
            except StopIteration:
                return
            except FrameError as error:
                print(f"left out: {error}", file=sys.stderr)
                bar.update()
                continue
            bar.update()
            yield frame


def run(arguments: argparse.Namespace) -> int:
    """Label every input; 1 where nothing is kept."""
    config = LabelConfig(
        agree=arguments.agree,
        least=arguments.least,
        window=arguments.window,
        step=arguments.step,
        first=arguments.first,
    )
    root: Path = arguments.out
    if root.exists() and not (root.is_dir() and not any(root.iterdir())):
        raise ValueError(f"{root} exists and is not an empty folder; give a new one")
    sources = find_inputs(arguments.input)
    # All are looked at before the first is worked on for minutes; not kept, because each holds a decoder.
    for source in sources.values():
        if open_frames(source).live:
            raise ValueError(f"{source} is a camera; `robotseg label` takes files")
    robotseg = load_model(arguments)
    print(robotseg.loaded)
    rows = {name: label_video(robotseg, open_frames(source), name, root, config) for name, source in sources.items()}
    total = sum(rows.values(), Tally())
    width = max(5, *(len(name) for name in rows))
    print(f"{'input':{width}}  frames  kept  too small  disagree  videos")
    for name, row in [*rows.items(), ("all", total)]:
        print(f"{name:{width}}  {row.frames:6}  {row.kept:4}  {row.small:9}  {row.differ:8}  {row.videos:6}")
    if not total.videos:
        print(total.why_nothing(config), file=sys.stderr)
        return 1
    print(f"videos -> {root}; look at {root / 'sheets'} and delete the folders in {root / 'image'} that are wrong")
    return 0
