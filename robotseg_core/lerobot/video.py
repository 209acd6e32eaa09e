# SPDX-License-Identifier: Apache-2.0
"""Video files of data sets by PyAV: every frame in order, and a new file of the same kind."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from robotseg_core.storage.file_kinds import explain

# What encoders say of themselves on standard error is of no use to anybody here.
logging.getLogger("libav").setLevel(logging.ERROR)

ENCODERS = {
    "av1": ("libsvtav1", {"crf": "30", "preset": "10", "svtav1-params": "lp=1"}),
    "h264": ("libx264", {"crf": "20", "preset": "fast"}),
    "hevc": ("libx265", {"crf": "24", "preset": "fast", "x265-params": "log-level=none"}),
    "vp9": ("libvpx-vp9", {"crf": "30", "b": "0", "cpu-used": "6"}),
    "mpeg4": ("mpeg4", {"q": "3"}),
}
"""Encoder and its options by the name of the codec; a key frame every second frame, as LeRobot has them."""
GROUP = 2
MOST_PIXELS = 89 * 2**20
"""Of a frame that is read, as of other pictures."""

TASKS = Path("/proc/self/task")


@contextlib.contextmanager
def own_scheduling() -> Iterator[None]:
    """Within it an encoder is opened; this thread, and those that it starts, are scheduled as this one was before.

    As root SVT-AV1 makes itself and its caller real-time, at the highest priority, for good; whatever the process
    starts later inherits that, and a camera or controller beside it gets no processor any more.
    """
    if not TASKS.is_dir():
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    before = {task.name for task in TASKS.iterdir()}
    try:
        yield
    finally:
        for task in {task.name for task in TASKS.iterdir()} - before | {str(threading.get_native_id())}:
            # It may have ended meanwhile.
            with contextlib.suppress(ProcessLookupError):
                os.sched_setscheduler(int(task), policy, parameters)


def _cannot(path: Path, error: object) -> ValueError:
    return ValueError(f"{path} cannot be read as a video{explain(path)}: {error}")


def codec_of(path: Path) -> str:
    """Name of the codec of a video: ``av1``, ``h264``, ...

    Raises:
        ValueError: it is no video.
    """
    try:
        with av.open(str(path)) as container:
            return str(container.streams.video[0].codec.canonical_name)
    except (av.error.FFmpegError, IndexError) as error:
        raise _cannot(path, error) from error


def read_frames(path: Path, first: int = 0, count: int | None = None) -> Iterator[NDArray[np.uint8]]:
    """Frames [H, W, 3] uint8 RGB of a video.

    Args:
        path: of the file.
        first: number of the first frame.
        count: frames; None: to the end.

    Raises:
        ValueError: it is no video, or ends before ``count`` frames.
    """
    given = 0
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "SLICE"
            for number, frame in _numbered(container, stream, path, first):
                if count is not None and given >= count:
                    return
                if number >= first:
                    if frame.width * frame.height > MOST_PIXELS:
                        raise _cannot(
                            path, f"its frames are {frame.width} x {frame.height}, at most {MOST_PIXELS} pixels"
                        )
                    given += 1
                    yield np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
    except (av.error.FFmpegError, IndexError) as error:
        raise _cannot(path, error) from error
    if count is not None and given < count:
        raise ValueError(f"{path} has {first + given} frames, {first + count} are needed")


def _numbered(container: Any, stream: Any, path: Path, first: int) -> Iterator[tuple[int, Any]]:
    """Decoded frames with their numbers, by their time stamps, from ``first`` or some before it on."""
    rate, start = stream.average_rate, stream.start_time or 0
    if rate is None or stream.time_base is None:
        raise _cannot(path, "it has no rate")

    def numbered() -> Iterator[tuple[int, Any]]:
        for frame in container.decode(stream):
            yield first if frame.pts is None else round((frame.pts - start) * stream.time_base * rate), frame

    if first:
        container.seek(int(first / rate / stream.time_base) + start, stream=stream)
        frames = numbered()
        found = next(frames, None)
        if found is not None and found[0] <= first:
            yield found
            yield from frames
            return
        # Frames that lean on some before the key frame are left out after seeking; from the start none is.
        container.seek(0)
    yield from numbered()


class VideoFile:
    """A new video file; used as a context manager, and a file that is not finished well is removed.

    Args:
        path: of the file, which must not be there.
        rate_hz: frames a second.
        codec: as :func:`codec_of` names it.

    Raises:
        ValueError: frames of that codec or size cannot be encoded here.
    """

    def __init__(self, path: Path, rate_hz: float, codec: str) -> None:
        if codec not in ENCODERS:
            raise ValueError(f"videos in {codec} cannot be written, only in {', '.join(ENCODERS)}")
        self._path, self._codec = path, codec
        self._rate = Fraction(rate_hz).limit_denominator(1001)
        self._size: tuple[int, int] | None = None
        self.count = 0

    def __enter__(self) -> VideoFile:
        self._container = av.open(str(self._path), "w", format="mp4")
        return self

    def write(self, rgb: NDArray[np.uint8]) -> None:
        """Add a frame [H, W, 3] uint8; all are of one size, with even sides."""
        height, width = rgb.shape[:2]
        if self._size is None:
            if height % 2 or width % 2:
                raise ValueError(f"frames are {width} x {height}, both must be even for {self._codec}")
            encoder, options = ENCODERS[self._codec]
            self._stream = self._container.add_stream(encoder, rate=self._rate, options={"g": str(GROUP), **options})
            self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
            self._stream.codec_context.thread_count = 1
            with own_scheduling():
                self._stream.codec_context.open()
            self._size = (height, width)
        if rgb.shape[:2] != self._size:
            raise ValueError(f"a frame is {width} x {height}, those before it {self._size[1]} x {self._size[0]}")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
        frame.pts, frame.time_base = self.count, 1 / self._rate
        self._container.mux(self._stream.encode(frame))
        self.count += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and self._size is not None:
                self._container.mux(self._stream.encode())
        finally:
            self._container.close()
            if kind is not None:
                self._path.unlink(missing_ok=True)
