# SPDX-License-Identifier: Apache-2.0
"""``robotseg say``: what a request in words asks for, found in an image, a video or a folder, and followed."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from robotseg_core.files.film import Film
from robotseg_core.files.frames import FrameError, Frames, open_frames
from robotseg_core.files.mask_files import write_png
from robotseg_core.instruct.follow import TARGET, Follower, Following, TargetMask, solve
from robotseg_core.instruct.policies import add_policy_arguments, make_policy
from robotseg_core.instruct.prompt_set import Answer, Policy, PromptSet
from robotseg_core.instruct.request import Request
from robotseg_core.model_arguments import add_model_arguments, load_model
from robotseg_core.stream.robotseg import RobotSeg

EXIT = {Answer.FOUND: 0, Answer.NONE: 3, Answer.NOT_UNDERSTOOD: 4}
"""Exit status of each answer; 1: found, but a frame could not be read; 2: an error."""
COLOUR = (40, 220, 90)
"""RGB of the target in the overlay."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``robotseg say``."""
    parser.add_argument("input", help="image, video file, folder of frames (streamed in the order of their names)")
    parser.add_argument("request", help='what to segment, e.g. "the left gripper"')
    parser.add_argument("--out", required=True, type=Path, help="masks go to OUT/<name of input>/target/*.png")
    parser.add_argument("--no-video", action="store_true", help="do not write the overlay video")
    add_policy_arguments(parser)
    add_model_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Find and follow; frames before the target is found, and those in which it is lost, get an empty mask."""
    request = Request.of(arguments.request)
    frames = open_frames(arguments.input)
    if frames.live:
        raise ValueError(f"{arguments.input} is a camera; `robotseg say` takes files")
    source = Path(arguments.input)
    name = Path(os.path.abspath(source)).name if source.is_dir() else source.stem
    robotseg = load_model(arguments)
    policy = make_policy(arguments, robotseg)
    print(f"{robotseg.preset} on {robotseg.device}, weights {robotseg.source}, policy {policy.name}")
    writer = _Writer(arguments.out, name, frames.rate_hz, video=not arguments.no_video, count=frames.count or 1)
    try:
        last = _stream(robotseg, policy, request, frames, writer)
    finally:
        writer.close()
    answer = Answer.FOUND if writer.found else last.answer
    print(f"{request}: {answer.name.lower().replace('_', ' ')}{_because(answer, last)}")
    print(f"{writer.done} frames, target in {writer.seen} -> {writer.folder}")
    if writer.unreadable:
        print(f"not readable, no mask written: {', '.join(writer.unreadable)}", file=sys.stderr)
        return EXIT[answer] or 1
    return EXIT[answer]


def _because(answer: Answer, prompts: PromptSet) -> str:
    return f": {ascii(prompts.raw)[1:-1]}" if answer is Answer.NOT_UNDERSTOOD and prompts.raw else ""


def _stream(robotseg: RobotSeg, policy: Policy, request: Request, frames: Frames, writer: _Writer) -> PromptSet:
    """All frames; asks anew on each one until the target is found.  Ends where the request is not understood."""
    stream, follower = robotseg.stream(), Follower(robotseg)
    prompts = PromptSet(Answer.NONE, raw="no frame could be read")
    iterator = iter(frames.frames)
    with tqdm(total=frames.count, desc=writer.name, unit="frame") as bar:
        while True:
            try:
                name, bgr = next(iterator)
            except StopIteration:
                return prompts
            except FrameError as error:
                writer.unreadable.append(error.name)
                bar.update()
                continue
            rgb = np.ascontiguousarray(bgr[..., ::-1])
            (encoded,) = robotseg.encode_frames([rgb])
            automatic = stream.step_encoded(encoded, stamp=round(writer.done * 1e9 / frames.rate_hz))
            if follower.following:
                target = follower.step(encoded, automatic)
            else:
                prompts, target = solve(policy, request, follower, rgb, encoded, automatic)
                if prompts.answer is Answer.NOT_UNDERSTOOD:
                    return prompts
            writer.write(name, rgb, target)
            bar.update()


class _Writer:
    """Masks, overlay video and contact sheet of one input."""

    def __init__(self, out: Path, name: str, rate_hz: float, *, video: bool, count: int) -> None:
        self.name, self.folder = name, out / name / TARGET
        self.done = self.seen = 0
        self.found = False
        self.unreadable: list[str] = []
        film = out / f"{name}_target.mp4" if video else None
        self._film = Film(film, out / f"{name}_target_sheet.png", rate_hz, count)

    def write(self, name: str, rgb: NDArray[np.uint8], target: TargetMask | None) -> None:
        """Write the target of one frame; None: nothing was found yet."""
        mask = np.zeros(rgb.shape[:2], np.uint8) if target is None else target.mask.mask
        self.folder.mkdir(parents=True, exist_ok=True)
        write_png(self.folder / f"{name}.png", mask)
        self.found |= target is not None
        self.seen += target is not None and target.state is Following.SEEN
        drawn = rgb.copy()
        drawn[mask > 0] = (0.5 * rgb[mask > 0] + 0.5 * np.array(COLOUR)).astype(np.uint8)
        self._film.add(f"{name} {target.state.name if target else 'NONE'}", drawn)
        self.done += 1

    def close(self) -> None:
        """Finish the video and write the contact sheet."""
        self._film.close()
