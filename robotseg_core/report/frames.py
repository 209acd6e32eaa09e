# SPDX-License-Identifier: Apache-2.0
"""What a report knows of a recording: numbers of every frame, pictures of some."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from robotseg_core.types import PARTS

STRIP = 120
"""Pictures of the recording's course, at most."""
WORST = 3
"""Frames of each kind of badness that are shown."""
SIDE = 360
"""Longer side of pictures, pixels."""
UNKNOWN = ("STALE", "FAULT", "UNREADABLE")
"""States in which nothing is known of the robot."""

Picture = Callable[[], NDArray[np.uint8] | None]
"""Gives the frame with its masks drawn, [H, W, 3] uint8 RGB; None where there is none."""


@dataclass(frozen=True)
class Frame:
    """Numbers of one frame.

    Attributes:
        name: of the frame.
        seconds: since the first frame.
        state: of the stream, or ``UNREADABLE``.
        areas: share of the picture by part, 0 to 1; empty where nothing is known.
        scores: by part, 0 to 1.
        latency_ms: None where it is not known.
        dropped: frames lost between the frame before and this one.
    """

    name: str
    seconds: float
    state: str
    areas: dict[str, float] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    latency_ms: float | None = None
    dropped: int = 0


@dataclass(frozen=True)
class Shown:
    """A frame with its picture.

    Attributes:
        number: of the frame.
        jpeg: its picture.
        why: it is shown; empty for the course of the recording.
    """

    number: int
    jpeg: bytes
    why: str = ""


class Recording:
    """Frames as they come; keeps pictures of the course and of the worst frames only.

    Args:
        title: what is reported on.
        count: of frames, as far as it is known; pictures of the course are spread over so many.

    Attributes:
        frames: all of them.
        notes: lines for people: model, what could not be read, ...
        latency: what the latency is, in words.
    """

    def __init__(self, title: str, count: int | None) -> None:
        self.title = title
        self.frames: list[Frame] = []
        self.notes: list[str] = []
        self.latency = "latency"
        self._every = max(1, -(-(count or 1) // STRIP))
        self._strip: list[Shown] = []
        self._worst: dict[str, list[tuple[float, int, Shown]]] = {}

    def add(self, frame: Frame, picture: Picture) -> None:
        """The next frame; its picture is asked for only if it may be shown."""
        number, before = len(self.frames), self.frames[-1] if self.frames else None
        self.frames.append(frame)
        coded: bytes | None = None
        if number % self._every == 0:
            coded = _jpeg(picture())
            if coded:
                self._strip.append(Shown(number, coded))
        for kind, badness, why in _badness(frame, before):
            kept = self._worst.setdefault(kind, [])
            if len(kept) == WORST and badness <= kept[0][0]:
                continue
            coded = coded or _jpeg(picture())
            if not coded:
                return
            # The number decides between equals, so that no pictures are compared.
            heapq.heappush(kept, (badness, -number, Shown(number, coded, why)))
            if len(kept) > WORST:
                heapq.heappop(kept)

    @property
    def strip(self) -> tuple[Shown, ...]:
        """The course of the recording, at most twice :data:`STRIP`: where there are more frames than was said."""
        return tuple(self._strip[:: max(1, -(-len(self._strip) // (2 * STRIP)))])

    @property
    def worst(self) -> tuple[Shown, ...]:
        """The worst frames, each once, in the order of the recording; why, all reasons joined."""
        by_number: dict[int, Shown] = {}
        for kept in self._worst.values():
            for _, _, shown in kept:
                first = by_number.get(shown.number)
                why = f"{first.why}; {shown.why}" if first else shown.why
                by_number[shown.number] = Shown(shown.number, shown.jpeg, why)
        return tuple(by_number[number] for number in sorted(by_number))


def _badness(frame: Frame, before: Frame | None) -> list[tuple[str, float, str]]:
    """(kind, how bad, why in words) of all that may be wrong with a frame."""
    found = []
    if frame.state in UNKNOWN:
        return [("unknown", 0.0, f"nothing known: {frame.state}")]
    score = frame.scores.get("robot", 0.0)
    if frame.areas.get("robot"):
        found.append(("score", 1 - score, f"low score, {score:.2f}"))
    if before is not None and before.areas and frame.areas:
        if before.areas["robot"] and not frame.areas["robot"]:
            found.append(("gone", before.areas["robot"], "robot gone since the frame before"))
        jumps = []
        for part in PARTS:
            old, new = before.areas.get(part, 0.0), frame.areas.get(part, 0.0)
            if min(old, new) > 0:
                jumps.append((abs(old - new) / max(old, new), part, "grows" if new > old else "shrinks"))
        if jumps:
            jump, part, way = max(jumps)
            found.append(("jump", jump, f"{part} {way} by {jump:.0%} in one frame"))
    if frame.latency_ms is not None:
        found.append(("slow", frame.latency_ms, f"slow, {frame.latency_ms:.0f} ms"))
    if frame.dropped:
        found.append(("drop", float(frame.dropped), f"{frame.dropped} frames lost before it"))
    return found


def _jpeg(rgb: NDArray[np.uint8] | None) -> bytes | None:
    if rgb is None:
        return None
    scale = min(1.0, SIDE / max(rgb.shape[:2]))
    size = max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale))
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    good, coded = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 78])
    return coded.tobytes() if good else None
