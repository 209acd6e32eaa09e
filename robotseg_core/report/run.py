# SPDX-License-Identifier: Apache-2.0
"""A video or folder of frames through the model, for a report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from robotseg_core.files.frames import FrameError, open_frames
from robotseg_core.files.overlay import overlay
from robotseg_core.report.frames import Frame, Picture, Recording
from robotseg_core.stream.robotseg import RobotSeg
from robotseg_core.stream.stream import Stream
from robotseg_core.types import ModelFault, PartMasks


def nothing() -> None:
    """The picture of a frame that has none."""
    return


def answered(
    stream: Stream, name: str, rgb: NDArray[np.uint8], seconds: float, stamp: int, dropped: int = 0
) -> tuple[Frame, Picture]:
    """Step a stream with a frame, and note what comes of it and how long it takes."""
    begun = perf_counter()
    try:
        result = stream.step(rgb, stamp)
    except ModelFault:
        return Frame(name, seconds, "FAULT", dropped=dropped), lambda: rgb
    took = (perf_counter() - begun) * 1e3
    return noted(name, seconds, result, rgb.shape, took, dropped), lambda: overlay(rgb, result)


def noted(
    name: str, seconds: float, result: PartMasks, shape: tuple[int, ...], latency_ms: float | None, dropped: int
) -> Frame:
    """Numbers of an answer."""
    areas = {part.name: part.area / (shape[0] * shape[1]) for part in result.parts}
    scores = {part.name: part.score for part in result.parts}
    return Frame(name, seconds, result.state.name, areas, scores, latency_ms, dropped)


def of_files(source: str, load: Callable[[], RobotSeg]) -> Recording:
    """Report on a video file, an image or a folder of frames.

    Args:
        source: as of :func:`robotseg_core.files.frames.open_frames`; no camera.
        load: gives the model; called when the source can be read.

    Raises:
        ValueError: it cannot be read, or is a camera.
    """
    frames = open_frames(source)
    if frames.live:
        raise ValueError(f"{source} is a camera; a report is of files")
    robotseg = load()
    recording = Recording(Path(source).name, frames.count)
    recording.notes.append(str(robotseg.loaded))
    recording.notes.append(f"{frames.rate_hz:g} frames a second; latency is what the model took here, alone")
    recording.latency = "model"
    stream = robotseg.stream()
    iterator = iter(frames.frames)
    with tqdm(total=frames.count, desc=recording.title, unit="frame") as bar:
        while True:
            seconds = len(recording.frames) / frames.rate_hz
            try:
                name, bgr = next(iterator)
            except StopIteration:
                return recording
            except FrameError as error:
                recording.add(Frame(error.name, seconds, "UNREADABLE"), nothing)
            else:
                rgb = np.ascontiguousarray(bgr[..., ::-1])
                recording.add(*answered(stream, name, rgb, seconds, round(seconds * 1e9)))
            bar.update()
